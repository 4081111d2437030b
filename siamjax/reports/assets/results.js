// The tables: recall with intervals beside the baselines, and who is taken for whom.
function results() {
  const found = data.results;
  const groups = [...new Set(Object.values(found.conditions).map((c) => c.group))];
  const root = section("results", "Results on captures that training never saw",
    `Mean recall per condition among ${Object.keys(found.conditions).length} conditions, told apart by ` +
    `examples drawn ${found.draws} times; ${found.windows} windows of ${found.captures} captures. ` +
    "Brackets and bars: 95 % over captures. ▲ marks a baseline that is better.");
  for (const [shots, part] of Object.entries(found.shots)) {
    root.append(el("h3", {}, `${shots} example${shots === "1" ? "" : "s"} of each condition, chance ${number(part.chance)}`));
    const head = groups.flatMap((group) => ["window", "capture"].map((unit) => `${group}, per ${unit}`));
    const rows = Object.entries(found.methods).map(([method, baseline]) => {
      const cells = groups.flatMap((group) => ["window", "capture"].map((unit) => {
        const [mean, low, high] = part.recall[method][group][unit];
        const first = part.recall[found.main][group][unit][0];
        const better = baseline && mean !== null && (first === null || mean > first);
        return value(mean, { class: better ? "better" : null }, interval(mean, low, high),
          ` ${number(mean)} `, el("small", {}, `[${number(low)}, ${number(high)}]`), better ? " ▲" : "");
      }));
      const name = method + (baseline ? " (baseline)" : "");
      return el("tr", { class: method === found.main ? "main" : null }, el("td", {}, name), ...cells);
    });
    root.append(table(["", ...head], rows, { id: "recall-" + shots }));
    for (const [group, d] of Object.entries(part.difference))
      root.append(el("p", {}, `${found.main} less its best baseline (${d.baseline}), ${group}: ` +
        `${number(d.value)} [${number(d.low)}, ${number(d.high)}] over ${part.captures[group]} captures`));
    for (const line of part.notes) root.append(el("p", {}, "Note: " + line));
  }
  confusion(found);
}

const many = ({ windows, captures }) => el("th", { class: "many" }, `${windows} windows, ${captures} captures`);

function confusion(found) {
  const names = Object.keys(found.conditions);
  const shots = Object.keys(found.shots)[0];
  const root = section("confusion", "Who is taken for whom",
    `${found.main}, ${shots} example of each: % of a row's windows that are named as the column.`);
  const top = el("tr", {}, el("th", {}, ""), ...names.map((name) =>
    el("th", { class: "top", title: name }, el("div", {}, el("span", {}, name)))), el("th", {}, ""));
  const rows = found.shots[shots].confusion.map((row, i) => el("tr", {},
    el("th", { class: "side", title: names[i] }, key(names[i])),
    ...row.map((share, j) => {
      const value = share === null ? 0 : share;
      const cell = el("td", { style: `background: rgba(var(--shade), ${(0.04 + 0.9 * value).toFixed(3)});` +
        (value > 0.55 ? "color: var(--card)" : "") }, value >= 0.005 ? (100 * value).toFixed(0) : "");
      return tipped(cell, `${names[i]} named ${names[j]}: ${number(share === null ? null : 100 * share, 1)} %`);
    }), many(found.conditions[names[i]])));
  root.append(el("div", { class: "scroll" }, el("table", { class: "confusion" }, top, ...rows)));
}
