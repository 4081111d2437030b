// Recall with intervals beside the baselines, and what identification says of captures.
function results() {
  const { results } = data;
  const axis = axisOf(Object.values(results.shots).flatMap((part) => intervals(part.recall)));
  const root = section("results", "Results on captures that training never saw",
    `Step ${results.step}. Mean recall per condition among ${Object.keys(results.conditions).length} ` +
    `conditions, in ${results.draws} draws of the examples; ${results.windows} windows of ` +
    `${results.captures} captures. Brackets and bars: 95 % over captures. Bars run from ` +
    `${axis[0]} to ${axis[1]}.`);
  for (const [shots, part] of Object.entries(results.shots)) {
    const examples = `${shots} example${shots === "1" ? "" : "s"}`;
    root.append(el("h3", {}, `${examples} of each condition, chance ${number(part.chance)}`));
    for (const group of Object.keys(part.captures))
      root.append(recalls(results, shots, part, group, axis));
    for (const line of marks(results, part)) root.append(el("p", {}, line));
    for (const line of part.notes) root.append(el("p", {}, "Note: " + line));
  }
  if (results.identification)
    identification(results.identification, "identification", "Test captures named",
      "What identify says of the test captures with the examples and the rule of the run.");
  confusion(results);
}

const UNITS = ["window", "capture"];
const signed = (x) => (x < 0 ? "" : "+") + number(x);
const isBetter = (difference) => difference.high < 0; // a baseline than the main method

// All intervals of {method or group: {group or method: {unit: interval}}}.
const intervals = (tree) => Object.values(tree)
  .flatMap((inner) => Object.values(inner))
  .flatMap((by) => UNITS.map((unit) => by[unit]));

// One group of conditions: recall of each method, and what the main one has over a baseline.
function recalls(results, shots, part, group, axis) {
  const head = [`${group}, ${part.captures[group]} captures`, ...UNITS.map((unit) => `per ${unit}`),
    ...UNITS.map((unit) => `${results.main} less it, per ${unit}`)];
  const explained = new Set([meaning(head[0])]);
  const rows = Object.entries(results.methods).map(([method, isBaseline]) => {
    const difference = (part.difference[group] || {})[method];
    const recall = UNITS.map((unit) => {
      const share = part.recall[method][group][unit];
      const better = difference && isBetter(difference[unit]);
      return value(share.value, { class: better ? "better" : null },
        interval(share.value, share.low, share.high, axis),
        ` ${number(share.value)} `, bracket(share, number), better ? " ▲" : "");
    });
    const apart = UNITS.map((unit) => {
      if (!difference) return el("td", {});
      const less = difference[unit];
      return value(less.value, {}, signed(less.value) + " ", bracket(less, signed));
    });
    const name = method + (isBaseline ? " (baseline)" : "");
    return el("tr", { class: method === results.main ? "main" : null },
      el("td", {}, ...hinted(name, explained)), ...recall, ...apart);
  });
  return table(head, rows, { id: `recall-${shots}-${group}` });
}

const bracket = ({ low, high, widened }, text) =>
  el("small", {}, `[${text(low)}, ${text(high)}]${widened ? " ~" : ""}`);

// What the marks of a table say, where it has some.
function marks(results, part) {
  const differences = intervals(part.difference), lines = [];
  if (differences.some(isBetter))
    lines.push(`▲ better than ${results.main}, in pairs: the interval of the difference excludes 0.`);
  if ([...intervals(part.recall), ...differences].some((x) => x.widened))
    lines.push("~ too few captures fail (or differ) to tell how often others will: the interval is " +
      "what none in so many captures allows (Clopper and Pearson).");
  return lines;
}

// A section of what `identify` says of captures whose truth is known.
function identification(counts, id, title, about) {
  const near = `${number(counts.near_s, 1)} s`;
  const root = section(id, title, `${about} A fault that has no example should be called unknown. ` +
    `A capture is right where the name is and the onset within ${near}.`);
  const faults = [
    ["known faults", "named right", counts.known],
    ["unseen faults", "called unknown", counts.unseen],
  ];
  const seconds = ({ median, p90 }) => `${number(median, 1)} s, ${number(p90, 1)} s`;
  const rows = faults.filter(([, , fault]) => fault.captures).map(([name, right, fault]) => row(name,
    `${fault.named_right} of ${fault.captures} ${right}, ${fault.right} with the onset within ${near}`,
    wrongly(fault.wrong),
    fault.onset_error_s ? seconds(fault.onset_error_s) : "–"));
  if (counts.normal.captures)
    rows.push(row("normal",
      `${counts.normal.false_alarms} of ${counts.normal.captures} with a false alarm`, "–", "–"));
  const head = ["", "captures", "named wrongly", "error of the onset: median, 90 %"];
  root.append(table(head, rows, { id: `${id}-verdicts` }));
}

const row = (name, ...texts) =>
  el("tr", {}, el("td", {}, name), ...texts.map((text) => el("td", { class: "text" }, text)));

// {condition: {name: captures}} in words.
function wrongly(wrong) {
  const parts = Object.entries(wrong).flatMap(([condition, names]) =>
    Object.entries(names).map(([name, count]) => `${condition} as ${name}: ${count}`));
  return parts.join("; ") || "none";
}
