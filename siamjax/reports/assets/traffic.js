// Windows as heat maps of their columns over time, against the session's own normal.
function traffic() {
  if (data.pictures && data.pictures.length) {
    const root = section("traffic", "What the conditions look like",
      "One window of each, with the columns that deviate most from the session's normal time.");
    const grid = el("div", { class: "pictures" });
    root.append(scale(), grid);
    for (const window of data.pictures) grid.append(heat(window, window.rows));
  }
  if (!data.mistakes) return;
  const root = section("mistakes", "The worst mistakes, and why",
    "Test windows that were named wrong, the most confident first, each beside the example it was " +
    "compared with and, where there is one, the example it should have been nearest to. " +
    "All show the same columns.");
  if (!data.mistakes.length) root.append(el("p", {}, "No test window was named wrong."));
  else root.append(scale());
  for (const mistake of data.mistakes) {
    const shown = [mistake.window, mistake.example, mistake.own].filter((window) => window);
    root.append(el("div", { class: "pair" }, el("p", {}, ...reason(mistake)),
      ...shown.map((window) => heat(window, mistake.rows))));
  }
}

// Why a window got a wrong name, as nodes of a sentence.
function reason({ window, named, distance, example, own, own_distance, windows, captures }) {
  const many = `${windows} window${windows > 1 ? "s" : ""} of ${captures} capture${captures > 1 ? "s" : ""}`;
  const should = own_distance === null
    ? `away; ${conditionLabel(window.condition)} has no example and should be unknown`
    : own ? `away, its own example ${number(own_distance)}` : "away and its own";
  return [key(window.condition), " was named ", key(named), ` (${many}): the nearest example, of `,
    key(example.condition), `, is ${number(distance)} ${should}. Beyond ${number(data.unknown)} is unknown.`];
}

// What the colours mean.
function scale() {
  return el("div", { class: "scale" }, `${-data.clip}`, el("i", {}),
    `+${data.clip} deviations from the session's normal time`);
}

function values({ traffic: { data: text, shape, largest } }) {
  const raw = new Int8Array(bytes(text).buffer);
  return (t, f) => (raw[t * shape[1] + f] / 127) * largest;
}

function heat(window, rows) {
  const [bins] = window.traffic.shape, valueOf = values(window), label = namer(data.columns, 22);
  const [left, width, tall] = [150, 360, 13];
  const [cell, height] = [(width - left - 4) / bins, rows.length * tall + 18];
  const picture = svg("svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": window.condition });
  rows.forEach((f, r) => {
    const name = data.columns[f], y = r * tall;
    picture.append(
      tipped(svg("text", { x: left - 6, y: y + 10, "text-anchor": "end" }, label(name)), name),
      svg("rect", { x: left, y, width: bins * cell, height: tall - 1, fill: "var(--wall)" }));
    for (let t = 0; t < bins; t++) {
      const value = valueOf(t, f), share = Math.min(1, Math.abs(value) / data.clip);
      if (share < 0.04) continue;
      const box = svg("rect", { x: left + t * cell, y, width: cell - 0.4, height: tall - 1,
        fill: value < 0 ? "var(--less)" : "var(--more)", "fill-opacity": share.toFixed(2) });
      const deviations = `${value > 0 ? "+" : ""}${number(value, 1)} deviations`;
      picture.append(tipped(box, `${name}\n${number(t * data.bin_s, 1)} s: ${deviations}`));
    }
  });
  const seconds = bins * data.bin_s;
  for (const [s, anchor] of [[0, "start"], [seconds / 2, "middle"], [seconds, "end"]])
    picture.append(svg("text",
      { x: left + (s / data.bin_s) * cell, y: height - 4, "text-anchor": anchor }, s + " s"));
  const origin = el("span", {}, `${captureLabel()(window.capture)} at ${window.start_s} s`);
  return el("figure", {}, el("figcaption", {}, key(window.condition), origin), picture);
}

// Names of the captures that are drawn.
function captureLabel() {
  const compared = [...(data.mistakes || []), ...(data.reasons || [])];
  const all = [...(data.pictures || []), ...compared.flatMap(({ window, example, own }) => [window, example, own])];
  return namer(all.filter((window) => window).map(({ capture }) => capture), 40);
}
