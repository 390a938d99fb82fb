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
  const said = `|γ| of ${whole(members.length)} filters of ${title} over the steps, on a logarithmic axis from ${number(10 ** gammaRange[0])} to ${number(10 ** gammaRange[1])}. The table below holds the numbers.`;
  const frame = axes(place, { y: gammaRange, log: true, label: "|γ|", said });
  frame.svg.append(levelLine(frame, threshold), ...rug(frame, members), drawn("g", { class: "over" }));
  const inks = colours();
  crowd(place.querySelector("canvas"), frame, members, (i) => inks[filters.verdict[i]]);
  courses = { frame, members };
  const below = members.some((i) => row(level, i).some((value) => value < gammaRange[0]));
  byId("floor").textContent = ` ${number(report.threshold)}${below ? "; what is smaller than the axis is drawn on its edge" : ""}`;
}

/** Ticks at the foot: when each filter is expected to collapse. */
function rug(frame, members) {
  const going = members.filter((i) => !isGone(i) && time.median[i] >= 0 && time.median[i] <= end);
  byId("rug").textContent = going.length ? `Ticks at the foot: the step at which a filter is expected to collapse, if it does (${whole(going.length)}).` : "";
  const d = going.map((i) => `M${frame.atX(time.median[i]).toFixed(1)} ${frame.bottom}v-9`).join("");
  return d ? [drawn("path", { class: "rug", d, opacity: Math.max(0.25, Math.min(1, 60 / going.length)) })] : [];
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
  const when = report.forecast && !isGone(i) ? `; chance to be gone ${percent(chance[i])}` : "";
  byId("readout").textContent = `${fullName(i)}: ${verdictOf(i)}, γ ${number(last(gamma, i))}${when}`;
}

/** Band from t_lo to t_hi, line at t_median. */
function interval(frame, i) {
  if (!Number.isFinite(time.median[i]) || isUnderWay(i)) return [];
  const inside = (step) => frame.atX(Math.min(Math.max(step, frame.x[0]), frame.x[1]));
  const lo = inside(Number.isFinite(time.lo[i]) ? time.lo[i] : time.median[i]);
  const hi = inside(Number.isFinite(time.hi[i]) ? time.hi[i] : end);
  const height = frame.bottom - frame.top;
  const made = [drawn("rect", { class: "band", x: lo, width: Math.max(hi - lo, 1), y: frame.top, height })];
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
  const said = (what, values) => `${what} of ${fullName(i)}: ${number(values[0])} at step ${whole(steps[0])}, ${number(values.at(-1))} at step ${whole(steps.at(-1))}.`;
  if (!steps.length) return;
  const size = axes(plots[0], { y: gammaRange, log: true, label: "|γ|", said: said("γ", row(gamma, i)) });
  const shift = axes(plots[1], { y: padded(range(row(beta(), i))), label: "β", said: said("β", row(beta(), i)) });
  size.svg.append(levelLine(size, threshold));
  for (const frame of [size, shift]) if (!isGone(i)) frame.svg.append(...interval(frame, i));
  size.svg.append(course(size, steps, row(level, i)));
  shift.svg.append(course(shift, steps, row(beta(), i)));
}

/** As the table says it, within a sentence. */
const when = (i) => collapse(i).replace(/^(?=\d)/, "at step ");

/** No filter is chosen: those that are expected to go first, or that are smallest. */
function showNext(body) {
  const left = shown().filter((i) => !isGone(i));
  const doomed = sorted(left.filter((i) => verdictOf(i) === "doomed"), "gamma");
  const going = sorted(doomed, "collapse").slice(0, 5);
  const listed = going.length ? going : sorted(left.filter((i) => !Number.isNaN(last(gamma, i))), "gamma").slice(0, 5);
  byId("filter-head").textContent = going.length ? "Next to go" : listed.length ? "Smallest γ that is left" : "No filter is left";
  const text = (i) => `: γ ${number(last(gamma, i))}` + (report.forecast && going.length ? `, collapse ${when(i)}, chance ${percent(chance[i])}` : "");
  body.replaceChildren(
    ...(report.forecast && going.length ? [element("p", { class: "soft" }, "The step of the collapse, if there is one, with its 80\u00a0% interval, and the chance to be gone at the end.")] : []),
    element("ol", {}, ...listed.map((i) => element("li", {}, element("a", { href: address({ filter: i }) }, fullName(i)), text(i)))),
    element("p", { class: "soft" }, "Choose a filter here, in the plot or in the table to see its γ and β, what is expected of it and why."),
  );
}

const padded = ([lo, hi]) => [lo - 0.05 * (hi - lo), hi + 0.12 * (hi - lo)];

function says(i) {
  const parts = [`γ ${number(last(gamma, i))}, β ${number(last(beta(), i))} at step ${whole(report.step)}.`];
  if (isGone(i)) parts.push("It is gone.");
  else if (report.forecast && !Number.isNaN(chance[i])) {
    parts.push(`Chance to be gone at step ${whole(report.forecast.until)}: ${percent(chance[i])}.`);
    parts.push(Number.isFinite(time.median[i]) ? `Collapse, if there is one: ${when(i).replace("(", "(80\u00a0%: ")}.` : "No collapse is expected in this run.");
  } else parts.push("No forecast.");
  parts.push(`Reason: ${report.reasons[filters.reason[i]]}.`);
  parts.push(filters.prunable[i] ? "It can be pruned now." : "It cannot be pruned now.");
  return parts.join(" ").replaceAll("..", ".");
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
