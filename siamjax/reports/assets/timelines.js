// What was in each capture and what identification said of it, over time.
function timelines() {
  const all = data.timelines, wrong = all.filter((row) => row.right === false);
  const judged = all.filter((row) => row.right !== null).length;
  const root = section("timelines", "Captures over time",
    all.some((row) => row.truth.length)
      ? "Above what was recorded, below what identification says with one example of each known " +
        "condition. What has no example should be unknown. Above, the time after a fault is blank: " +
        "the traffic may still be recovering, and nothing is judged."
      : "What identification says of each capture, in seconds after its first packet.");
  const end_s = Math.max(1, ...all.map((row) => row.end_s));
  const name = namer(all.map((row) => row.capture), 40), list = el("div", {});
  const only = el("button", { type: "button", class: "filter", "aria-pressed": "false", onclick: () => {
    const pressed = only.getAttribute("aria-pressed") !== "true";
    only.setAttribute("aria-pressed", pressed);
    fill(pressed ? wrong : all);
  } }, `only the ${wrong.length} wrong`);
  if (judged) root.append(el("p", {}, `${judged - wrong.length} of ${judged} captures right. `, only));
  root.append(el("p", { class: "keys" }, ...spoken(all).map(key)), list);
  fill(all);

  function fill(rows) {
    list.replaceChildren(...rows.flatMap((row, i) =>
      (i % 12 ? [] : [axis(end_s)]).concat(timeline(row, name(row.capture), end_s))));
  }
}

// All conditions of the captures, those of the page's list first.
function spoken(all) {
  const present = new Set(all.flatMap((row) => [...row.truth, ...row.found].map((span) => span.condition)));
  const listed = [...conditions.keys()].filter((name) => present.has(name));
  return [...new Set([...listed, ...present])];
}

// The time above the captures, at round seconds.
function axis(end_s) {
  const rough = end_s / 6, power = 10 ** Math.floor(Math.log10(rough));
  const every = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  const ticks = [];
  for (let s = 0; s <= 0.97 * end_s; s += every)
    ticks.push(el("span", { style: `left: ${(100 * s) / end_s}%` }, `${+s.toFixed(3)} s`));
  return el("div", { class: "lane" }, el("div", {}), el("div", { class: "ticks" }, ...ticks));
}

function timeline(row, label, end_s) {
  const mark = row.right === null ? "" : row.right ? "✓ " : "✗ ";
  const name = el("div", { class: row.right === false ? "name wrong" : "name" },
    tipped(el("div", {}, mark + label), row.capture),
    row.network ? el("small", {}, `network: ${row.network}`) : null,
    row.warning ? el("small", {}, row.warning) : null);
  const lanes = [["recorded", row.truth], ["identified", row.found]].filter(([, spans]) => spans.length);
  return el("div", { class: "lane" }, name, el("div", { class: "spans" },
    ...lanes.map(([who, spans]) => el("div", {}, ...spans.map((span) => stretch(who, span, end_s))))));
}

// A span as a bar. Its name is left out where it does not fit: the keys and the tooltip have it.
function stretch(who, { condition, start_s, end_s, distance, example, why }, whole_s) {
  const { colour, novel } = look(condition), calm = condition === "normal";
  const style = `left: ${(100 * start_s) / whole_s}%; width: ${(100 * (end_s - start_s)) / whole_s}%; ` +
    `background: ${colour}; color: ${isPale(colour) ? "#1f2430" : "#ffffff"}`;
  const near = distance === undefined ? "" : `\ndistance ${number(distance)}, nearest ${example}${why ? `\n${why}` : ""}`;
  const node = el("span", { class: `${calm ? "calm " : ""}${novel ? "novel" : ""}`, style },
    calm ? "" : el("b", {}, conditionLabel(condition)));
  return tipped(node, `${who}: ${condition}\n${number(start_s, 1)} to ${number(end_s, 1)} s${near}`);
}

// Whether dark letters read better on a colour than white ones (WCAG 2, luminance).
function isPale(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => (parseInt(colour.slice(i, i + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.22;
}
