// State stands in the fragment, #layer=C5&filter=12, so that links, back and forward work.

const EMPTY = { layer: null, filter: null, show: null, sort: "" };
let state = EMPTY;

/** State from the fragment. What is not known is left out: an old link still opens the page. */
function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const layer = keys.includes(given.get("layer")) ? given.get("layer") : null;
  const known = report.verdicts.some(({ name }) => name === given.get("show"));
  const show = known ? given.get("show") : null;
  return { layer, filter: findFilter(given), show, sort: given.get("sort") ?? "" };
}

/** The filter that a fragment names: by its layer (of=, where all layers are shown) and channel. */
function findFilter(given) {
  const members = membersOf.get(given.get("of") ?? given.get("layer"));
  const wanted = given.get("filter");
  return members?.find((i) => String(filters.channel[i]) === wanted) ?? null;
}

/** Fragment of the present state with some `changes`. */
function address(changes) {
  const { layer, filter, show, sort } = { ...state, ...changes };
  const parts = new URLSearchParams();
  parts.set("layer", layer ?? "");
  if (filter !== null) {
    if (layer === null) parts.set("of", keys[filters.layer[filter]]);
    parts.set("filter", filters.channel[filter]);
  }
  if (show) parts.set("show", show);
  if (sort) parts.set("sort", sort);
  return `#${parts}`;
}

function go(changes, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", address(changes));
  else location.hash = address(changes);
  render();
}

/** Filters that the state shows. */
function shown() {
  const members = state.layer === null ? everyFilter : membersOf.get(state.layer);
  return state.show ? members.filter((i) => verdictOf(i) === state.show) : members;
}

function render({ all = false } = {}) {
  const before = state;
  state = readState();
  const changed = (...names) => all || names.some((name) => before[name] !== state[name]);
  if (changed("layer", "show")) {
    showHead();
    showCourses(shown(), state.layer ?? "all layers");
  }
  if (changed("layer", "show", "sort", "filter")) showTable(shown(), state.filter, state.sort);
  if (changed("filter") || state.filter === null) showFilter(state.filter);
  highlight(state.filter);
  if (all) return;
  if (changed("filter") && state.filter !== null) reveal("filter", "nearest");
  else if (changed("layer")) reveal("view-head", "start");
}

/** Scroll to what a choice has changed, if it is out of sight: on a phone it is far below. */
function reveal(id, block) {
  const { top, bottom } = byId(id).getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) byId(id).scrollIntoView({ block });
}

function showHead() {
  const layer = report.layers[keys.indexOf(state.layer)];
  const members = layer ? membersOf.get(state.layer) : everyFilter;
  byId("view-head").textContent = layer ? `Layer ${layer.name}` : "All layers";
  const where = layer ? `${layer.path}, ${layer.kind}` : `${keys.length} layers`;
  const size = `${whole(members.length)} filter${members.length === 1 ? "" : "s"}`;
  const prunable = whole(members.filter((i) => filters.prunable[i]).length);
  byId("view-about").textContent = `${where}, ${size}, of which ${prunable} can be pruned now.`;
  showVerdicts(members);
  for (const link of document.querySelectorAll("#layers tbody a")) {
    const key = link.dataset.layer || null, here = key === state.layer;
    link.setAttribute("aria-current", String(here));
    link.setAttribute("href", address({ layer: key, filter: null }));
    link.tabIndex = here ? 0 : -1;
    link.closest("tr").classList.toggle("chosen", here);
  }
}

/** A button for each verdict that shows its filters only. */
function showVerdicts(members) {
  const focused = focusWithin("verdicts")?.show;
  const choices = [{ name: null }, ...report.verdicts].map(({ name }) => {
    const count = name ? members.filter((i) => verdictOf(i) === name).length : members.length;
    const pressed = state.show === name;
    const button = element("button", {
      "aria-pressed": String(pressed), "data-show": name ?? "all", disabled: !count && !pressed,
    });
    button.append(...(name ? [swatch(name)] : []), `${name ?? "all"} ${whole(count)}`);
    button.addEventListener("click", () => go({ show: name }, { replace: true }));
    return button;
  });
  byId("verdicts").replaceChildren(...choices);
  if (focused) byId("verdicts").querySelector(`[data-show="${focused}"]`)?.focus();
}

// What the reader does --------------------------------------------------------------------------

/** Up and down go through the layers; Enter follows the link, as everywhere. */
function layerKeys(event) {
  const links = [...document.querySelectorAll("#layers tbody a")];
  const at = links.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  links[Math.max(0, Math.min(to, links.length - 1))].focus();
}

byId("layers").addEventListener("keydown", layerKeys);
byId("layers").addEventListener("click", (event) => {
  if (event.target.closest("a, summary")) return;
  event.target.closest("tbody tr")?.querySelector("a").click();
});
byId("table").addEventListener("focusin", ({ target }) => {
  if (target.dataset.filter) highlight(Number(target.dataset.filter));
});
byId("table").addEventListener("focusout", () => highlight(state.filter));
byId("table").addEventListener("pointerover", ({ target }) => {
  const link = target.closest("tbody tr")?.querySelector("a");
  if (link) highlight(Number(link.dataset.filter));
});
byId("table").addEventListener("pointerleave", () => highlight(state.filter));
byId("courses").addEventListener("pointermove", (event) => {
  highlight(nearest(event) ?? state.filter);
});
byId("courses").addEventListener("pointerleave", () => highlight(state.filter));
byId("courses").addEventListener("click", (event) => {
  const found = nearest(event);
  if (found !== null) go({ filter: found });
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // its fragment would be the state
  byId("view").focus();
});
addEventListener("hashchange", () => render());

/** Everything that has a size or a colour of its own is drawn again. */
function redraw() {
  render({ all: true });
  showLoss();
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) redraw();
  width = innerWidth;
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

redraw();
performance.mark("ready");
