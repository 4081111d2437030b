// The page of a comparison: tables, who beats whom, the films side by side.
//   data.tables    [{title, notes, head, rows: [[{text, rank, interval}]]}]
//   data.matrices  [{title, text, names, cells: [[{verdict, tip}]]}], row against column
//   data.films     [{title, runs: [{name, trace}]}]
function drawn(bar) {
  const picture = interval(...bar);
  picture.style.minWidth = "80px";   // or the column is as wide as the text alone
  return picture;
}

for (const { title, notes, head, rows } of data.tables) {
  const root = section("results", title, "");
  root.append(...notes.map((text) => el("p", {}, text)));
  const cell = ({ text, rank, bar }) =>
    rank === undefined ? el("td", {}, text)
      : value(rank, {}, bar ? drawn(bar) : null, " " + text);
  root.append(table(head, rows.map((row) => el("tr", {}, ...row.map(cell)))));
}

for (const { title, text, names, cells } of data.matrices) {
  const root = section("pairs", title, text);
  const mark = { "1": "▲", "0": "·", "-1": "▼" };
  const look = { "1": "color: light-dark(#0b7a4b, #5fd19a)", "0": "color: var(--pale)", "-1": "color: light-dark(#b3261e, #ff8a80)" };
  const head = el("tr", {}, el("th", {}), ...names.map((_, i) => el("th", { scope: "col" }, String(i + 1))));
  const rows = names.map((name, i) => el("tr", {},
    el("th", { scope: "row", style: "text-align: left" }, `${i + 1}  ${name}`),
    ...cells[i].map((c) => c === null ? el("td", {}, "")
      : tipped(el("td", { style: `text-align: center; ${look[c.verdict]}` }, mark[c.verdict]), c.tip))));
  root.append(el("div", { class: "scroll" }, el("table", {}, head, ...rows)));
}

for (const { title, text, runs } of data.films) cube(runs, title, text);

{
  const root = section("about", "Settings and versions", data.missing.join("; "));
  root.append(el("details", {}, el("summary", {}, "all of them"), el("pre", {}, data.about)));
}
