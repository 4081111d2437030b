// Tables that a click on a heading sorts, and intervals as bars.
//   head      texts
//   rows      `tr` elements; a cell's data-rank, else its text, is what it is sorted by
function table(head, rows, attributes = {}) {
  const headings = head.map((text, i) => {
    const button = el("button", { type: "button", onclick: () => sort(i) }, text);
    const about = meaning(text);
    return el("th", { scope: "col", class: about ? "term" : null },
      about ? tipped(button, about) : button);
  });
  const node = el("table", { class: "sortable", ...attributes }, el("tr", {}, ...headings), ...rows);
  const rank = (row, i) => row.cells[i].dataset.rank ?? row.cells[i].textContent;
  function sort(i) {
    const down = headings[i].getAttribute("aria-sort") !== "descending";
    headings.forEach((th) => th.removeAttribute("aria-sort"));
    headings[i].setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = rows.every((row) => rank(row, i) !== "" && Number.isFinite(+rank(row, i)));
    const order = (p, q) =>
      numeric ? rank(p, i) - rank(q, i) : rank(p, i).localeCompare(rank(q, i));
    node.append(...rows.sort((p, q) => (down ? -1 : 1) * order(p, q)));
  }
  return scrolling(node);
}

// A table in a box that scrolls sideways, and says so, where it is wider than the page.
function scrolling(table) {
  const box = el("div", { class: "scroll", role: "group", "aria-label": "table" }, table);
  const note = el("p", { class: "sideways", hidden: "" });
  const update = () => {
    const seen = box.getBoundingClientRect().right + 1;
    const cells = [...table.rows[0].cells];
    const more = cells.filter((cell) => cell.getBoundingClientRect().right > seen).length;
    note.hidden = box.scrollWidth <= box.clientWidth + 1;
    note.textContent = more
      ? `${more} more column${more > 1 ? "s" : ""}: scroll the table sideways →`
      : "← the table scrolls sideways";
    // The arrow keys scroll what has the focus.
    note.hidden ? box.removeAttribute("tabindex") : box.setAttribute("tabindex", 0);
  };
  new ResizeObserver(update).observe(box);
  box.addEventListener("scroll", update);
  return el("div", {}, note, box);
}

// A cell that sorts as x; what is no number comes last.
function value(x, attributes, ...children) {
  return el("td", { "data-rank": Number.isFinite(x) ? x : -1e9, ...attributes }, ...children);
}

// A value with its interval as a small picture, on an axis from `from` to `to`.
function interval(value, low, high, [from, to] = [0, 1]) {
  const width = 80, x = (v) => 5 + (70 * (v - from)) / (to - from);
  const tick = (v) => svg("line", { class: "axis", x1: x(v), x2: x(v), y1: 3, y2: 9 });
  const picture = svg("svg",
    { class: "bar", width, height: 12, viewBox: `0 0 ${width} 12`, "aria-hidden": "true" },
    svg("line", { class: "axis", x1: x(from), x2: x(to), y1: 6, y2: 6 }), tick(from), tick(to));
  if (value !== null)
    picture.append(
      svg("line", { x1: x(low), x2: x(high), y1: 6, y2: 6, stroke: "var(--accent)", "stroke-width": 2.5 }),
      svg("circle", { cx: x(value), cy: 6, r: 3.6, fill: "var(--accent)" }));
  return picture;
}

// The axis for intervals of shares [{low, high}]: the tenths round all of them.
function axisOf(intervals) {
  const ends = intervals.flatMap(({ low, high }) => [low, high]).filter(Number.isFinite);
  if (!ends.length) return [0, 1];
  const from = Math.max(0, Math.floor(10 * Math.min(...ends)) / 10);
  return [from, Math.max(from + 0.1, Math.min(1, Math.ceil(10 * Math.max(...ends)) / 10))];
}
