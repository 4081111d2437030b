// What was in each test capture and what identification said of it, over time.
function timelines() {
  const all = data.timelines;
  const root = section("timelines", "Captures over time",
    all.some((row) => row.truth.length)
      ? "Above what was recorded, below what identification says with one example of each known " +
        "condition. What has no example should be unknown."
      : "What identification says of each capture.");
  const wrong = all.filter((row) => row.right === false);
  const list = el("div", { class: "scroll lane" });
  const only = el("button", { type: "button", class: "filter", "aria-pressed": "false", onclick: () => {
    const pressed = only.getAttribute("aria-pressed") !== "true";
    only.setAttribute("aria-pressed", pressed);
    fill(pressed ? wrong : all);
  } }, `only the ${wrong.length} wrong`);
  const judged = all.filter((row) => row.right !== null).length;
  if (judged) root.append(el("p", {}, `${judged - wrong.length} of ${judged} captures of known conditions right. `, only));
  root.append(list);
  function fill(rows) {
    list.replaceChildren(...rows.map((row, i) => timeline(row, i % 12 === 0)));
  }
  fill(all);
}

function timeline(row, scale) {
  const [width, label] = [1100, 210];
  const x = (s) => label + ((width - label - 8) * s) / row.end_s;
  const top = scale ? 14 : 0;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${top + 34}`, role: "img", "aria-label": row.capture });
  const mark = row.right === null ? "" : row.right ? "✓ " : "✗ ";
  const name = row.capture.length > 26 ? row.capture.slice(0, 25) + "…" : row.capture;
  const text = svg("text", { class: "name", x: 2, y: top + 14 }, mark + name);
  if (row.right === false) text.style.fill = "var(--bad)";
  picture.append(tipped(text, row.capture));
  picture.append(svg("text", { x: 2, y: top + 28 }, row.warning || ""));
  const lanes = [[row.truth, top, "recorded"], [row.found, top + (row.truth.length ? 15 : 4), "identified"]];
  for (const [spans, y, who] of lanes)
    for (const span of spans) {
      const wide = Math.max(1, x(span.end_s) - x(span.start_s) - 1);
      const box = svg("rect", { x: x(span.start_s), y, width: wide, height: 13, rx: 2, fill: look(span.condition).colour,
        "fill-opacity": span.condition === "normal" ? 0.45 : 1, stroke: look(span.condition).novel ? "var(--ink)" : "none" });
      const distance = span.distance === undefined ? "" : `\ndistance ${number(span.distance)}, nearest ${span.example}`;
      picture.append(tipped(box, `${who}: ${span.condition}\n${number(span.start_s, 1)} to ${number(span.end_s, 1)} s${distance}`));
      const fits = span.condition.length * 6.4 < wide - 8;
      if (fits && span.condition !== "normal") {
        const dark = ["#e3c800", "#f49ac2", "#7fb2ff", "#17becf", "#c8a27a", "#ff7f0e"].includes(look(span.condition).colour);
        const note = svg("text", { x: x(span.start_s) + 5, y: y + 10.5, "pointer-events": "none" }, span.condition);
        note.style.fill = dark ? "#1f2430" : "#ffffff";
        picture.append(note);
      }
    }
  if (scale)
    for (let s = 0, every = 10 ** Math.ceil(Math.log10(row.end_s / 12)); s <= row.end_s; s += every)
      picture.append(svg("text", { x: x(s), y: 10 }, s + " s"));
  return picture;
}
