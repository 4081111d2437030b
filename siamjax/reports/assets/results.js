// The tables: recall with intervals beside the baselines, what identification says of
// captures, and who is taken for whom.
function results() {
  const found = data.results;
  const root = section("results", "Results on captures that training never saw",
    `Mean recall per condition among ${Object.keys(found.conditions).length} conditions, told apart by ` +
    `examples drawn ${found.draws} times; ${found.windows} windows of ${found.captures} captures. ` +
    "Brackets and bars: 95 % over captures.");
  for (const [shots, part] of Object.entries(found.shots)) {
    root.append(el("h3", {}, `${shots} example${shots === "1" ? "" : "s"} of each condition, chance ${number(part.chance)}`));
    for (const group of Object.keys(part.captures)) root.append(recalls(found, shots, part, group));
    for (const line of legend(found, part)) root.append(el("p", {}, line));
    for (const line of part.notes) root.append(el("p", {}, "Note: " + line));
  }
  if (found.identification) identification(found.identification, "identification", "Test captures named",
    "What identify says of the test captures with the examples and the rule of the run.");
  confusion(found);
}

const UNITS = ["window", "capture"];
const signed = (x) => (x < 0 ? "" : "+") + number(x);
const isBetter = (difference) => difference.high < 0; // a baseline than the main method

// One group of conditions: recall of each method, and what the main one has over a baseline.
function recalls(found, shots, part, group) {
  const head = [`${group}, ${part.captures[group]} captures`, ...UNITS.map((unit) => `per ${unit}`),
    ...UNITS.map((unit) => `${found.main} less it, per ${unit}`)];
  const rows = Object.entries(found.methods).map(([method, baseline]) => {
    const difference = (part.difference[group] || {})[method];
    const cells = UNITS.map((unit) => {
      const own = part.recall[method][group][unit];
      const better = difference && isBetter(difference[unit]);
      return value(own.value, { class: better ? "better" : null }, interval(own.value, own.low, own.high),
        ` ${number(own.value)} `, bracket(own, number), better ? " ▲" : "");
    });
    const apart = UNITS.map((unit) => difference
      ? value(difference[unit].value, {}, signed(difference[unit].value) + " ", bracket(difference[unit], signed))
      : el("td", {}));
    const name = method + (baseline ? " (baseline)" : "");
    return el("tr", { class: method === found.main ? "main" : null }, el("td", {}, name), ...cells, ...apart);
  });
  return table(head, rows, { id: `recall-${shots}-${group}` });
}

const bracket = ({ low, high, widened }, text) =>
  el("small", {}, `[${text(low)}, ${text(high)}]${widened ? " ~" : ""}`);

// What the marks of a table say, where it has some.
function legend(found, part) {
  const units = (of) => Object.values(of).flatMap((inner) => Object.values(inner)).flatMap((by) => UNITS.map((unit) => by[unit]));
  const differences = units(part.difference), lines = [];
  if (differences.some(isBetter)) lines.push(`▲ better than ${found.main}, in pairs: the interval of the difference excludes 0.`);
  if ([...units(part.recall), ...differences].some((x) => x.widened))
    lines.push("~ too few captures fail (or differ) to tell how often others will: the interval is what none in so many " +
      "captures allows (Clopper and Pearson).");
  return lines;
}

// A section of what `identify` says of captures whose truth is known.
function identification(found, id, title, about) {
  const root = section(id, title, `${about} A fault that has no example should be called unknown. ` +
    `A capture is right where the name is and the onset within ${number(found.near_s, 1)} s.`);
  const faults = [["known faults", "named right", found.known], ["unseen faults", "called unknown", found.unseen]];
  const rows = faults.filter(([, , count]) => count.captures).map(([name, right, count]) => el("tr", {}, el("td", {}, name),
    el("td", {}, `${count.named_right} of ${count.captures} ${right}, ${count.right} with the onset within ${number(found.near_s, 1)} s`),
    el("td", {}, wrongly(count.wrong)),
    el("td", {}, count.onset_error_s ? `${number(count.onset_error_s.median, 1)} s, ${number(count.onset_error_s.p90, 1)} s` : "–")));
  if (found.normal.captures)
    rows.push(el("tr", {}, el("td", {}, "normal"),
      el("td", {}, `${found.normal.false_alarms} of ${found.normal.captures} with a false alarm`), el("td", {}, "–"), el("td", {}, "–")));
  root.append(table(["", "captures", "named wrongly", "error of the onset: median, 90 %"], rows, { id: `${id}-verdicts` }));
}

// {condition: {name: captures}} in words.
function wrongly(wrong) {
  const parts = Object.entries(wrong).flatMap(([condition, names]) =>
    Object.entries(names).map(([name, count]) => `${condition} as ${name}: ${count}`));
  return parts.join("; ") || "none";
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
