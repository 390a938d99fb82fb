// What is drawn: the courses of a layer, one filter, the loss.

const threshold = Math.log10(report.threshold);
const topLevel = range(level)[1];
const gammaRange = [
  Math.max(Math.min(range(level, [threshold, 0])[0], threshold - 0.5), threshold - 3),
  Math.max(Number.isFinite(topLevel) ? topLevel : 0, threshold + 0.5) + 0.15,
];
let courses = null; // { frame, members }: what the plot of the layer shows

const colours = () => {
  const style = getComputedStyle(document.documentElement);
  return report.verdicts.map(({ name }) => style.getPropertyValue(`--${name}`).trim());
};

/** Courses of |gamma| of `members`, coloured by verdict. */
function showCourses(members, title) {
  const place = byId("courses");
  const said = `|γ| of ${whole(members.length)} filters of ${title} over the steps, on a logarithmic axis. The table below holds the numbers.`;
  const frame = axes(place, { y: gammaRange, log: true, label: "|γ|", said });
  frame.svg.append(levelLine(frame, threshold), ...rug(frame, members));
  frame.svg.append(drawn("g", { class: "over" }));
  const inks = colours();
  crowd(place.querySelector("canvas"), frame, members, (i) => inks[filters.verdict[i]]);
  courses = { frame, members };
  const below = members.some((i) => row(level, i).some((value) => value < gammaRange[0]));
  const floor = below ? "; what is smaller than the axis is drawn on its edge" : "";
  byId("floor").textContent = ` ${number(report.threshold)}${floor}`;
}

/** Ticks at the foot: when each filter is expected to collapse. */
function rug(frame, members) {
  const going = members.filter((i) => !isGone(i) && time.median[i] >= 0 && time.median[i] <= end);
  byId("rug").textContent = "";
  if (!going.length) return [];
  byId("rug").textContent = `Ticks at the foot: the step at which a filter is expected to collapse, if it does (${whole(going.length)}).`;
  const ticks = going.map((i) => `M${frame.atX(time.median[i]).toFixed(1)} ${frame.bottom}v-9`);
  const opacity = Math.max(0.25, Math.min(1, 60 / going.length));
  return [drawn("path", { class: "rug", d: ticks.join(""), opacity })];
}

/** Filter `i` stands out in the plot, with the interval of its collapse; null: none. */
function highlight(i) {
  const over = byId("courses").querySelector(".over");
  over.replaceChildren();
  if (i === null) {
    byId("readout").textContent = "Point at a line, or choose a filter in the table.";
    return;
  }
  const { frame } = courses;
  if (!isGone(i)) over.append(...interval(frame, i));
  over.append(course(frame, steps, row(level, i)));
  const end = report.forecast && !isGone(i) ? `; chance to be gone ${percent(chance[i])}` : "";
  const now = number(last(gamma, i));
  byId("readout").textContent = `${fullName(i)}: ${verdictOf(i)}, γ ${now}${end}`;
}

/** Band from t_lo to t_hi, line at t_median. */
function interval(frame, i) {
  if (!Number.isFinite(time.median[i]) || isUnderWay(i)) return [];
  const inside = (step) => frame.atX(Math.min(Math.max(step, frame.x[0]), frame.x[1]));
  const lo = inside(Number.isFinite(time.lo[i]) ? time.lo[i] : time.median[i]);
  const hi = inside(Number.isFinite(time.hi[i]) ? time.hi[i] : end);
  const height = frame.bottom - frame.top, width = Math.max(hi - lo, 1);
  const made = [drawn("rect", { class: "band", x: lo, y: frame.top, width, height })];
  if (time.median[i] <= frame.x[1]) {
    const at = inside(time.median[i]);
    made.push(drawn("line", { class: "median", x1: at, x2: at, y1: frame.top, y2: frame.bottom }));
  }
  return made;
}

/** The filter whose course is nearest to a point of the plot, or null. */
function nearest(event) {
  const { frame, members } = courses;
  const box = byId("courses").getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  let k = 0;
  steps.forEach((step, j) => {
    if (Math.abs(frame.atX(step) - x) < Math.abs(frame.atX(steps[k]) - x)) k = j;
  });
  let found = null, least = 30; // pixels
  for (const i of members) {
    const away = Math.abs(frame.atY(level[i * steps.length + k]) - y);
    if (away < least) [found, least] = [i, away];
  }
  return found;
}

/** One filter: what is known of it, its gamma and beta, its forecast. */
function showFilter(i) {
  const body = byId("filter-body");
  if (i === null) return showNext(body);
  byId("filter-head").textContent = `${fullName(i)}: ${verdictOf(i)}`;
  const plots = [element("div", { class: "plot" }), element("div", { class: "plot" })];
  body.replaceChildren(
    element("p", { id: "filter-says" }, says(i)),
    element("div", { class: "pair" }, ...plots.map((plot) => element("figure", {}, plot))),
  );
  if (!steps.length) return;
  const scale = row(gamma, i), offset = row(beta(), i);
  const size = axes(plots[0], { y: gammaRange, log: true, label: "|γ|", said: courseSaid("γ", i, scale) });
  const shift = axes(plots[1], { y: padded(range(offset)), label: "β", said: courseSaid("β", i, offset) });
  size.svg.append(levelLine(size, threshold));
  for (const frame of [size, shift]) if (!isGone(i)) frame.svg.append(...interval(frame, i));
  size.svg.append(course(size, steps, row(level, i)));
  shift.svg.append(course(shift, steps, offset));
}

/** A course in words. */
function courseSaid(what, i, values) {
  const [from, to] = [0, values.length - 1].map((k) => `${number(values[k])} at step ${whole(steps[k])}`);
  return `${what} of ${fullName(i)}: ${from}, ${to}.`;
}

/** As the table says it, within a sentence. */
const when = (i) => collapse(i).replace(/^(?=\d)/, "at step ");

/** No filter is chosen: those that are expected to go first, or that are smallest. */
function showNext(body) {
  const left = shown().filter((i) => !isGone(i));
  const doomed = sorted(left.filter((i) => verdictOf(i) === "doomed"), "gamma");
  const over = report.steps !== null && report.step >= report.steps;
  const going = over ? [] : sorted(doomed, "collapse").slice(0, 5);
  const known = left.filter((i) => !Number.isNaN(last(gamma, i)));
  const listed = going.length ? going : sorted(known, "gamma").slice(0, 5);
  const head = listed.length ? "Smallest γ that is left" : "No filter is left";
  byId("filter-head").textContent = going.length ? "Next to go" : head;
  const dated = report.forecast && going.length > 0;
  const text = (i) => {
    const fate = dated ? `, collapse ${when(i)}, chance ${percent(chance[i])}` : "";
    return `: γ ${number(last(gamma, i))}${fate}`;
  };
  const link = (i) => element("a", { href: address({ filter: i }) }, fullName(i));
  const soft = (words) => element("p", { class: "soft" }, words);
  body.replaceChildren(
    ...(dated ? [soft("The step of the collapse, if there is one, with its 80\u00a0% interval, and the chance to be gone at the end.")] : []),
    element("ol", {}, ...listed.map((i) => element("li", {}, link(i), text(i)))),
    soft("Choose a filter here, in the plot or in the table to see its γ and β, what is expected of it and why."),
  );
}

const padded = ([lo, hi]) => [lo - 0.05 * (hi - lo), hi + 0.12 * (hi - lo)];

/** What is known of filter `i`, in sentences. */
function says(i) {
  const [size, shift] = [last(gamma, i), last(beta(), i)].map(number);
  const parts = [`γ ${size}, β ${shift} at step ${whole(report.step)}.`, ...fateSaid(i)];
  parts.push(`Reason: ${report.reasons[filters.reason[i]].replace(/\.$/, "")}.`);
  parts.push(filters.prunable[i] ? "It can be pruned now." : "It cannot be pruned now.");
  return parts.join(" ");
}

function fateSaid(i) {
  if (isGone(i)) return ["It is gone."];
  if (!report.forecast || Number.isNaN(chance[i])) return ["No forecast."];
  const end = `Chance to be gone at step ${whole(report.forecast.until)}: ${percent(chance[i])}.`;
  if (!Number.isFinite(time.median[i])) return [end, "No collapse is expected in this run."];
  return [end, `Collapse, if there is one: ${when(i).replace("(", "(80\u00a0%: ")}.`];
}

/** The loss, on a logarithmic axis where it falls by more than a factor of ten. */
function showLoss() {
  const place = byId("loss");
  const values = report.loss ? unpack(report.loss.value) : new Float32Array(0);
  const known = values.filter(Number.isFinite);
  if (!known.length) {
    place.classList.remove("plot");
    place.replaceChildren(element("p", { class: "soft" }, "No loss was given to the monitor."));
    return;
  }
  const [lo, hi] = range(known), log = lo > 0 && hi > 10 * lo;
  const shown = log ? values.map(Math.log10) : values;
  const said = `Loss: ${number(known[0])} first, ${number(known.at(-1))} last, ${number(lo)} at least.`;
  const frame = axes(place, { y: padded(range(shown)), log, label: "loss", said });
  frame.svg.append(course(frame, report.loss.step, shown));
}
