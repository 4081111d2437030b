// Tables that a click on a heading sorts, and intervals as bars.
//   head      texts
//   rows      `tr` elements; a cell's data-rank, else its text, is what it is sorted by
function table(head, rows, attributes = {}) {
  const headings = head.map((text, i) => el("th", { scope: "col" }, el("button", { type: "button", onclick: () => sort(i) }, text)));
  const node = el("table", { class: "sortable", ...attributes }, el("tr", {}, ...headings), ...rows);
  const rank = (row, i) => row.cells[i].dataset.rank ?? row.cells[i].textContent;
  function sort(i) {
    const down = headings[i].getAttribute("aria-sort") !== "descending";
    headings.forEach((th, j) => (j === i ? th.setAttribute("aria-sort", down ? "descending" : "ascending") : th.removeAttribute("aria-sort")));
    const numeric = rows.every((row) => rank(row, i) !== "" && Number.isFinite(+rank(row, i)));
    const order = (p, q) => numeric ? rank(p, i) - rank(q, i) : rank(p, i).localeCompare(rank(q, i));
    node.append(...rows.sort((p, q) => (down ? -1 : 1) * order(p, q)));
  }
  return el("div", { class: "scroll" }, node);
}

// A cell that sorts as x; what is no number comes last.
function value(x, attributes, ...children) {
  return el("td", { "data-rank": Number.isFinite(x) ? x : -1e9, ...attributes }, ...children);
}

// A value in 0 to 1 with its interval, as a small picture.
function interval(value, low, high) {
  const [width, x] = [80, (v) => 5 + 70 * v];
  const picture = svg("svg", { class: "bar", width, height: 12, viewBox: `0 0 ${width} 12`, "aria-hidden": "true" },
    svg("line", { class: "axis", x1: x(0), x2: x(1), y1: 6, y2: 6 }));
  if (value !== null)
    picture.append(
      svg("line", { x1: x(low), x2: x(high), y1: 6, y2: 6, stroke: "var(--accent)", "stroke-width": 2.5 }),
      svg("circle", { cx: x(value), cy: 6, r: 3.6, fill: "var(--accent)" }));
  return picture;
}
