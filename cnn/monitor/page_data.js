// The document, its arrays, and how numbers are said. Loaded first; all files share one module.

const report = JSON.parse(document.getElementById("document").textContent);
const filters = report.filters;
const many = filters.layer.length;
const steps = report.step_axis;
const end = Math.max(report.forecast?.until ?? 0, report.steps ?? 0, report.step, 1);

/** Float32Array of what `pack` of packing.py made; NaN is kept. */
function unpack(packed) {
  const text = atob(packed.f32);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(bytes.length / 4);
  for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(4 * i, true);
  return values;
}

/** The same, on first use. */
function later(packed) {
  let values = null;
  return () => (values ??= unpack(packed));
}

const gamma = unpack(filters.gamma); // (filter, step), one row after the other
const beta = later(filters.beta);
const optional = (packed) => (packed ? unpack(packed) : new Float32Array(many).fill(NaN));
const chance = optional(filters.p_collapse);
const time = {
  lo: optional(filters.t_lo), median: optional(filters.t_median), hi: optional(filters.t_hi),
};
const level = gamma.map((value) => Math.log10(Math.abs(value))); // -Infinity where gamma is 0

const names = report.layers.map((layer) => layer.name);
const keys = new Set(names).size < names.length ? report.layers.map((layer) => layer.path) : names;
const everyFilter = Array.from({ length: many }, (_, i) => i);
const membersOf = new Map(keys.map((key) => [key, []]));
for (const i of everyFilter) membersOf.get(keys[filters.layer[i]]).push(i);

const row = (values, i) => values.subarray(i * steps.length, (i + 1) * steps.length);
const last = (values, i) => (steps.length ? values[(i + 1) * steps.length - 1] : NaN);
const verdictOf = (i) => report.verdicts[filters.verdict[i]].name;
const isGone = (i) => verdictOf(i) === "collapsed";
const isUnderWay = (i) => time.hi[i] <= report.forecast?.at; // what is forecast had begun by then

// Numbers in words ------------------------------------------------------------------------------

const whole = (value) => Math.round(value).toLocaleString("en");

function number(value) {
  if (Number.isNaN(value)) return "NaN";
  const size = Math.abs(value);
  if (value === 0 || (size >= 1e-3 && size < 1e5)) return String(Number(value.toPrecision(3)));
  return value.toExponential(2);
}

function percent(share) {
  if (Number.isNaN(share)) return "–";
  if (share > 0 && share < 0.005) return "<\u00a01\u00a0%";
  if (share < 1 && share > 0.995) return ">\u00a099\u00a0%";
  return `${Math.round(100 * share)}\u00a0%`;
}

/** Step of the collapse with its 80 % interval. */
function collapse(i) {
  if (isGone(i)) return "gone";
  if (!report.forecast || Number.isNaN(chance[i])) return "–";
  const { lo, median, hi } = time;
  if (!Number.isFinite(median[i])) return "not in this run";
  if (isUnderWay(i)) return "under way";
  if (!Number.isFinite(lo[i])) return whole(median[i]);
  const until = Number.isFinite(hi[i]) ? whole(hi[i]) : "after the end";
  return `${whole(median[i])} (${whole(lo[i])} to ${until})`;
}

// Elements --------------------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);

/** The data of the element within `id` that has the focus. */
function focusWithin(id) {
  return byId(id).contains(document.activeElement) ? document.activeElement.dataset : null;
}

/** A new HTML element. Text goes in as text, never as HTML. */
function element(tag, attributes = {}, ...inside) {
  return fill(document.createElement(tag), attributes, inside);
}

/** A new SVG element. */
function drawn(tag, attributes = {}, ...inside) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, inside);
}

function fill(made, attributes, inside) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...inside);
  return made;
}

function swatch(name) {
  const inside = drawn("rect", { class: name, width: 14, height: 14 });
  return drawn("svg", { class: "swatch", width: 14, height: 14, "aria-hidden": "true" }, inside);
}
