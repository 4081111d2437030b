// Why stretches of captures got their names: a window beside the nearest example.
function reasons() {
  const root = section("reasons", "Why",
    "One window of each stretch that is not normal, beside the nearest example. Both show the same " +
    "columns. The threshold is the distance beyond which the stretch would be unknown; p says how " +
    "often known traffic is as far from that of the training.");
  root.append(scale());
  for (const { condition, capture, network, start_s, end_s, distance, why, window, example, rows } of data.reasons)
    root.append(el("div", { class: "pair" },
      el("p", {}, key(condition), ` in ${capture}${network ? ` (${network})` : ""} from ${number(start_s, 1)} to ${number(end_s, 1)} s: `,
        `the nearest example, of `, key(example.condition), `, is ${number(distance)} away. ${why}.`),
      heat(window, rows), heat(example, rows)));
}
