// The table of filters: sorted, in pages, one row in the order of Tab at a time.

const PAGE = 20;
const COLUMNS = [
  { key: "filter", head: "filter", of: (i) => i, text: (i) => label(i) },
  { key: "gamma", head: "γ", number: true, of: (i) => Math.abs(last(gamma, i)), text: (i) => number(last(gamma, i)) },
  { key: "beta", head: "β", number: true, of: (i) => Math.abs(last(beta(), i)), text: (i) => number(last(beta(), i)) },
  { key: "verdict", head: "verdict", of: (i) => filters.verdict[i], text: verdictOf },
  { key: "chance", head: "chance to be gone", number: true, of: (i) => chance[i], text: (i) => percent(chance[i]) },
  { key: "collapse", head: "collapse at step (80\u00a0%)", number: true, of: (i) => (isGone(i) ? -1 : time.median[i]), text: collapse },
  { key: "prunable", head: "prunable now", of: (i) => -filters.prunable[i], text: (i) => (filters.prunable[i] ? "yes" : "no") },
  { key: "reason", head: "reason", of: (i) => filters.reason[i], text: (i) => report.reasons[filters.reason[i]] },
].filter(({ key }) => report.forecast || !["chance", "collapse"].includes(key));

/** What a filter is called: its channel, and its layer where several are shown. */
function label(i) {
  const channel = String(filters.channel[i]);
  return state.layer === null ? `${names[filters.layer[i]]} · ${channel}` : channel;
}

const fullName = (i) => `${names[filters.layer[i]]} filter ${filters.channel[i]}`;

/** `members` in the order of a column; unknown values come last, equal ones keep their order. */
function sorted(members, sort) {
  const column = COLUMNS.find(({ key }) => key === sort.replace("-", ""));
  if (!column) return members;
  const sign = sort.startsWith("-") ? -1 : 1;
  const values = new Map(members.map((i) => [i, column.of(i)]));
  return [...members].sort((a, b) => {
    const x = values.get(a), y = values.get(b);
    const unknown = Number.isNaN(x) - Number.isNaN(y);
    return unknown || (x === y || Number.isNaN(x) ? 0 : sign * (x < y ? -1 : 1));
  });
}

const table = { rows: [], page: 0 }; // filters in their order, and the page that is shown

/** Show `members`; the page is that of `chosen`, if it is among them. */
function showTable(members, chosen, sort) {
  table.rows = sorted(members, sort);
  const at = chosen === null ? -1 : table.rows.indexOf(chosen);
  table.page = at < 0 ? 0 : Math.floor(at / PAGE);
  showPage(chosen);
}

function showPage(chosen = state.filter) {
  const here = table.rows.slice(table.page * PAGE, (table.page + 1) * PAGE);
  const focused = focusWithin("table");
  const entry = here.includes(chosen) ? chosen : here[0]; // the row that Tab enters
  const body = element("tbody", {}, ...here.map((i) => tableRow(i, i === chosen, i === entry)));
  const head = element("thead", {}, element("tr", {}, ...COLUMNS.map(heading)));
  const all = { "aria-labelledby": "table-head", "aria-rowcount": table.rows.length + 1 };
  const none = element("p", { class: "soft" }, "No filter of this layer has this verdict.");
  byId("table").replaceChildren(here.length ? element("table", all, head, body) : none);
  if (focused?.filter) byId("table").querySelector(`[data-filter="${focused.filter}"]`)?.focus();
  else if (focused?.sort) byId("table").querySelector(`[data-sort="${focused.sort}"]`)?.focus();
  showPages(here.length);
}

function tableRow(i, isChosen, isEntry) {
  const cells = COLUMNS.map((column) => {
    if (column.key === "filter") {
      const current = isChosen ? "true" : null, tabindex = isEntry ? 0 : -1;
      const to = { href: address({ filter: i }), "data-filter": i, "aria-current": current, tabindex };
      return element("th", { scope: "row" }, element("a", to, column.text(i)));
    }
    const sign = column.key === "verdict" ? [swatch(verdictOf(i))] : [];
    return element("td", { class: column.number ? "n" : column.key }, ...sign, column.text(i));
  });
  const place = table.rows.indexOf(i) + 2; // the heading is row 1
  return element("tr", { class: isChosen ? "chosen" : null, "aria-rowindex": place }, ...cells);
}

function heading({ key, head, number: right }) {
  const [up, down] = [state.sort === key, state.sort === `-${key}`];
  const button = element("button", { "data-sort": key }, head + (up ? " ▲" : down ? " ▼" : ""));
  button.addEventListener("click", () => go({ sort: up ? `-${key}` : key }, { replace: true }));
  const order = up ? "ascending" : down ? "descending" : null;
  return element("th", { scope: "col", class: right ? "n" : null, "aria-sort": order }, button);
}

function showPages(shown) {
  const pages = Math.ceil(table.rows.length / PAGE), first = table.page * PAGE;
  if (byId("pages").children.length === 0) {
    const button = (text, to) => {
      const made = element("button", {}, text);
      made.addEventListener("click", () => turn(to()));
      return made;
    };
    byId("pages").append(
      button("First", () => 0),
      button("Previous", () => table.page - 1),
      element("span", { id: "range", "aria-live": "polite" }),
      button("Next", () => table.page + 1),
      button("Last", () => Infinity),
    );
  }
  const [from, to, of] = [first + 1, first + shown, table.rows.length].map(whole);
  byId("range").textContent = `${from} to ${to} of ${of}`;
  const [start, previous, next, final] = byId("pages").querySelectorAll("button");
  start.disabled = previous.disabled = table.page === 0;
  next.disabled = final.disabled = table.page >= pages - 1;
  byId("pages").hidden = pages < 2;
}

function turn(page) {
  table.page = Math.max(0, Math.min(page, Math.ceil(table.rows.length / PAGE) - 1));
  showPage();
}

/** Up and down through rows, over the edges of pages too; Page Up and Page Down through pages. */
function tableKeys(event) {
  const links = [...byId("table").querySelectorAll("tbody a")];
  const at = links.indexOf(document.activeElement);
  if (at < 0) return;
  const first = table.page * PAGE, here = first + at;
  const to = {
    ArrowDown: here + 1, ArrowUp: here - 1, PageDown: first + PAGE, PageUp: first - PAGE,
    Home: first, End: first + links.length - 1,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const wanted = Math.max(0, Math.min(to, table.rows.length - 1));
  if (Math.floor(wanted / PAGE) !== table.page) turn(Math.floor(wanted / PAGE));
  byId("table").querySelector(`[data-filter="${table.rows[wanted]}"]`).focus();
}

byId("table").addEventListener("keydown", tableKeys);
byId("table").addEventListener("click", (event) => {
  if (event.target.closest("a, button, thead")) return;
  event.target.closest("tr")?.querySelector("a").click();
});
