// Windows as heat maps of their columns over time, against the session's own normal.
function traffic() {
  if (data.pictures && data.pictures.length) {
    const root = section("traffic", "What the conditions look like",
      "One window of each: columns that deviate from the session's normal time, blue for less, red for more.");
    const grid = el("div", { class: "pictures" });
    root.append(grid);
    for (const window of data.pictures) grid.append(heat(window, rowsOf([window])));
  }
  if (!data.mistakes) return;
  const root = section("mistakes", "The worst mistakes, and why",
    "Test windows that were named wrong, each beside the example it was taken for; both show the same columns.");
  if (!data.mistakes.length) root.append(el("p", {}, "No test window was named wrong."));
  for (const mistake of data.mistakes) {
    const rows = rowsOf([mistake.window, mistake.example]);
    root.append(el("div", { class: "pair" },
      el("p", {}, key(mistake.window.condition), " was named ", key(mistake.named),
        `, ${number(mistake.distance)} from this example of `, key(mistake.example.condition),
        look(mistake.window.condition).novel ? ": it has no example and should be unknown" : ""),
      heat(mistake.window, rows), heat(mistake.example, rows)));
  }
}

function values(window) {
  if (!window.values) {
    const { shape, largest } = window.traffic;
    const raw = new Int8Array(bytes(window.traffic.data).buffer);
    window.values = (t, f) => (raw[t * shape[1] + f] / 127) * largest;
  }
  return window.values;
}

// The columns that deviate most in any of some windows, in the order of the table.
function rowsOf(windows, most = 14) {
  const [bins, count] = windows[0].traffic.shape;
  const score = (f) => Math.max(...windows.map((window) => {
    let sum = 0;
    for (let t = 0; t < bins; t++) sum += Math.abs(values(window)(t, f));
    return sum / bins;
  }));
  const scored = [...Array(count).keys()].map((f) => [score(f), f]).sort((a, b) => b[0] - a[0]);
  return scored.slice(0, most).filter(([s], i) => s > 0.05 || i < 3).map(([, f]) => f).sort((a, b) => a - b);
}

function heat(window, rows) {
  const [bins] = window.traffic.shape;
  const [left, cell, tall] = [150, 6.4, 13];
  const [width, height] = [left + bins * cell + 4, rows.length * tall + 18];
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": window.condition });
  rows.forEach((f, r) => {
    picture.append(svg("text", { x: left - 6, y: r * tall + 10, "text-anchor": "end" }, data.columns[f]));
    picture.append(svg("rect", { x: left, y: r * tall, width: bins * cell, height: tall - 1, fill: "var(--wall)" }));
    for (let t = 0; t < bins; t++) {
      const value = values(window)(t, f), share = Math.min(1, Math.abs(value) / data.clip);
      if (share < 0.04) continue;
      const box = svg("rect", { x: left + t * cell, y: r * tall, width: cell - 0.4, height: tall - 1,
        fill: value < 0 ? "var(--less)" : "var(--more)", "fill-opacity": share.toFixed(2) });
      picture.append(tipped(box, `${data.columns[f]}\n${number(t * data.bin_s, 1)} s: ${value > 0 ? "+" : ""}${number(value, 1)} deviations`));
    }
  });
  const seconds = bins * data.bin_s;
  for (const s of [0, seconds / 2, seconds])
    picture.append(svg("text", { x: left + (s / data.bin_s) * cell, y: height - 4, "text-anchor": s === seconds ? "end" : s ? "middle" : "start" }, s + " s"));
  return el("figure", {}, el("figcaption", {}, key(window.condition), el("span", {}, `${window.capture} at ${window.start_s} s`)), picture);
}
