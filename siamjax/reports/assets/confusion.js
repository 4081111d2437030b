// Who is taken for whom: the share of a condition's windows that get each name.
function confusion({ conditions, shots, main }) {
  const names = Object.keys(conditions), label = namer(names, 24);
  const [examples, part] = Object.entries(shots)[0];
  const root = section("confusion", "Who is taken for whom",
    `${main}, ${examples} example of each: % of a row's windows that are named as the column.`);
  const top = names.map((name) =>
    el("th", { class: "top", title: name }, el("div", {}, el("span", {}, label(name)))));
  const rows = part.confusion.map((shares, i) => el("tr", {},
    el("th", { class: "side" }, key(names[i])),
    ...shares.map((share, j) => cell(share, `${names[i]} named ${names[j]}`)),
    el("th", { class: "many" }, counted(conditions[names[i]]))));
  const head = el("tr", {}, el("th", {}), ...top, el("th", {}));
  root.append(scrolling(el("table", { class: "confusion" }, head, ...rows)));

  function cell(share, said) {
    const shade = `background: rgba(var(--shade), ${(0.04 + 0.9 * share).toFixed(3)});`;
    const style = shade + (share > 0.55 ? "color: var(--card)" : "");
    const node = el("td", { style }, share >= 0.005 ? (100 * share).toFixed(0) : "");
    return tipped(node, `${said}: ${number(share === null ? null : 100 * share, 1)} %`);
  }
}

const counted = ({ windows, captures }) => `${windows} windows, ${captures} captures`;
