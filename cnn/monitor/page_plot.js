// Axes and lines. Axes are SVG, so that the style sheet colours them; many lines are a canvas.

const MARGIN = { left: 52, right: 26, top: 18, bottom: 36 };
const DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** The lowest and highest finite value, or `fallback`; never one and the same. */
function range(values, fallback = [0, 1]) {
  let lo = Infinity, hi = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < lo) lo = value;
    if (value > hi) hi = value;
  }
  if (lo > hi) return fallback;
  return lo < hi ? [lo, hi] : [lo - (Math.abs(lo) || 1) / 2, hi + (Math.abs(hi) || 1) / 2];
}

/** Round numbers from lo to hi, about `wanted` of them. */
function ticks([lo, hi], wanted) {
  const rough = (hi - lo) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const by = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  const found = [];
  for (let k = Math.ceil(lo / by); k * by <= hi + 1e-9 * by; k++) {
    found.push(Number((k * by).toPrecision(12)));
  }
  return found;
}

/** Powers of ten, of which not more than `wanted` are named. */
function decades([lo, hi], wanted) {
  const by = Math.max(1, Math.ceil((Math.floor(hi) - Math.ceil(lo) + 1) / wanted));
  const found = [];
  for (let k = Math.ceil(lo / by) * by; k <= hi; k += by) found.push(k);
  return found;
}

/** 10 to the k, as it is written. */
function power(k) {
  return k === 0 ? "1" : "10" + String(k).replace("-", "⁻").replace(/\d/g, (digit) => DIGITS[digit]);
}

/**
 * Empty axes in `place`: an SVG and the functions that place a step and a value in it.
 * On a logarithmic axis, `y` and all values are decimal logarithms.
 */
function axes(place, { x = [0, end], y, log = false, label, said }) {
  const width = Math.max(place.clientWidth, 160), height = Math.max(place.clientHeight, 120);
  const inner = { right: width - MARGIN.right, bottom: height - MARGIN.bottom };
  const atX = (step) => MARGIN.left + ((step - x[0]) / (x[1] - x[0])) * (inner.right - MARGIN.left);
  const atY = (value) => {
    const inside = Math.min(Math.max(value, y[0]), y[1]);
    return inner.bottom - ((inside - y[0]) / (y[1] - y[0])) * (inner.bottom - MARGIN.top);
  };
  const svg = drawn("svg", { role: "img", "aria-label": said, viewBox: `0 0 ${width} ${height}` });
  const wanted = Math.max(2, Math.floor(height / 45)), low = inner.bottom;
  for (const tick of log ? decades(y, wanted) : ticks(y, wanted)) {
    const at = atY(tick);
    const said = log ? power(tick) : number(tick);
    svg.append(drawn("line", { class: "grid", x1: MARGIN.left, x2: inner.right, y1: at, y2: at }));
    svg.append(drawn("text", { x: MARGIN.left - 6, y: at + 4, "text-anchor": "end" }, said));
  }
  for (const tick of ticks(x, Math.max(2, Math.floor(width / 110)))) {
    const at = atX(tick);
    svg.append(drawn("line", { class: "axis", x1: at, x2: at, y1: low, y2: low + 4 }));
    svg.append(drawn("text", { x: at, y: low + 17, "text-anchor": "middle" }, whole(tick)));
  }
  svg.append(drawn("line", { class: "axis", x1: MARGIN.left, x2: inner.right, y1: low, y2: low }));
  svg.append(drawn("text", { x: inner.right, y: height - 4, "text-anchor": "end" }, "step"));
  svg.append(drawn("text", { x: MARGIN.left, y: 11 }, label));
  if (report.step < x[1] && x[0] === 0) {
    const now = atX(report.step);
    svg.append(drawn("line", { class: "now", x1: now, x2: now, y1: MARGIN.top, y2: low }));
  }
  place.querySelector("svg")?.remove();
  place.append(svg);
  return { svg, atX, atY, width, height, top: MARGIN.top, bottom: inner.bottom, x, y };
}

/** SVG path through the finite values; a value below the axis (gamma 0) is drawn on its edge. */
function path(frame, at, values) {
  let text = "", pen = "M", alone = false;
  values.forEach((value, k) => {
    if (Number.isNaN(value)) {
      pen = "M";
    } else {
      text += `${pen}${frame.atX(at[k]).toFixed(1)} ${frame.atY(value).toFixed(1)}`;
      alone = pen === "M";
      pen = "L";
    }
  });
  return alone ? `${text}h1` : text; // a single point has no line, but is seen
}

/** A line with a halo, that stands out from what is below it. */
function course(frame, at, values) {
  const d = path(frame, at, values);
  return drawn("g", {}, drawn("path", { class: "halo", d }), drawn("path", { class: "course", d }));
}

function levelLine(frame, value) {
  const at = frame.atY(value), x2 = frame.width - MARGIN.right;
  return drawn("line", { class: "threshold", x1: MARGIN.left, x2, y1: at, y2: at });
}

let drawing = 0; // number of the newest drawing on the canvas; an older one stops

/** Courses of many filters' `level`, a few milliseconds per frame, so that the page stays quick. */
function crowd(canvas, frame, members, colourOf) {
  const mine = ++drawing, scale = window.devicePixelRatio || 1;
  canvas.width = frame.width * scale;
  canvas.height = frame.height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.lineWidth = members.length > 100 ? 1 : 1.5;
  pen.globalAlpha = Math.max(0.12, Math.min(0.9, 12 / Math.sqrt(members.length)));
  const at = steps.map(frame.atX);
  let next = 0;
  (function some() {
    const until = performance.now() + 10;
    while (mine === drawing && next < members.length && performance.now() < until) {
      line(pen, frame, at, row(level, members[next]), colourOf(members[next]));
      next++;
    }
    canvas.dataset.drawn = next;
    if (mine === drawing && next < members.length) requestAnimationFrame(some);
  })();
}

function line(pen, frame, at, values, colour) {
  pen.strokeStyle = colour;
  pen.beginPath();
  let begun = false;
  for (let k = 0; k < at.length; k++) {
    if (Number.isNaN(values[k])) {
      begun = false;
    } else if (begun) {
      pen.lineTo(at[k], frame.atY(values[k]));
    } else {
      pen.moveTo(at[k], frame.atY(values[k]));
      if (at.length === 1) pen.lineTo(at[k] + 2, frame.atY(values[k]));
      begun = true;
    }
  }
  pen.stroke();
}
