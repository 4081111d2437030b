// The page of a comparison: tables, who beats whom, the films side by side.
//   data.tables    [{title, notes, head, rows: [[{text, rank, interval}]]}]
//   data.matrices  [{title, text, names, cells: [[{verdict, tip}]]}], row against column
//   data.films     [{title, runs: [{name, trace}]}]
for (const { title, notes, head, rows } of data.tables) {
  const bars = rows.flat().filter(({ bar }) => bar);
  const axis = axisOf(bars.map(({ bar: [, low, high] }) => ({ low, high })));
  const scale = bars.length ? [`Bars run from ${axis[0]} to ${axis[1]}.`] : [];
  const root = section("results", title, "");
  root.append(...[...notes, ...scale].map(paragraph));
  // Only before a bracket may a number break its line.
  const unbroken = (text) => text.replace(" ± ", "\u00a0±\u00a0").replace("(no ", "(no\u00a0");
  const cell = ({ text, rank, bar }) => rank === undefined ? el("td", {}, text)
    : value(rank, { class: "text" }, bar ? interval(...bar, axis) : null, " " + unbroken(text));
  root.append(table(head, rows.map((row) => el("tr", {}, ...row.map(cell)))));
}

const VERDICTS = { "1": ["▲", "won"], "0": ["·", "tied"], "-1": ["▼", "lost"] };

for (const { title, text, names, cells } of data.matrices) {
  const root = section("pairs", title, text);
  const verdict = ({ verdict, tip }) => {
    const [mark, name] = VERDICTS[verdict];
    return tipped(el("td", { class: name }, mark), tip);
  };
  const head = el("tr", {}, el("th", {}), ...names.map((_, i) => el("th", { scope: "col" }, String(i + 1))));
  const rows = names.map((name, i) => el("tr", {}, el("th", { scope: "row" }, `${i + 1}  ${name}`),
    ...cells[i].map((pair) => pair === null ? el("td", {}) : verdict(pair))));
  root.append(scrolling(el("table", { class: "pairs" }, head, ...rows)));
}

for (const { title, text, runs } of data.films) cube(runs, title, text);

{
  const root = section("about", "Settings and versions", data.missing.join("; "));
  root.append(el("details", {}, el("summary", {}, "all of them"), el("pre", {}, data.about)));
}
