// The points of one run, or of several beside one another, with one slider, one camera
// and one legend for all.
//   runs      [{name, trace}], the name a caption, left out where there is one run
function cube(runs, title, text) {
  const frames = Math.max(...runs.map(({ trace }) => trace.steps.length)) - 1;
  const hidden = new Set(memory.get("hidden", []));
  const state = { turn: -50, lift: 20, zoom: 1, share: 1, ...memory.get("cube", {}) };
  if (data.follow) state.share = 1;
  let playing = 0;

  const root = section("embedding", title, text);
  const scenes = runs.map(({ trace }) => scene(trace, state, hidden, show));
  const slider = el("input", { type: "range", min: 0, max: frames * 50, "aria-label": "step of training" });
  const output = el("output", {});
  const play = el("button", { type: "button", "aria-label": "play", onclick: toggle }, "▶");
  const legend = el("div", { class: "legend" });
  const figures = runs.map(({ name }, i) =>
    el("figure", {}, name === undefined ? null : el("figcaption", {}, el("b", {}, name)), scenes[i].canvas));
  root.append(el("div", { class: runs.length > 1 ? "cube many" : "cube" },
    el("div", {}, el("div", { class: "scenes" }, ...figures), el("div", { class: "player" }, play, slider, output)), legend));

  function toggles(heading, names, tag, part) {
    const known = names.filter((name) => runs.some(({ trace }) => trace[part].includes(name)));
    if (!known.length) return;
    legend.append(el("h3", {}, heading));
    for (const name of known) {
      const label = tag + " " + name;
      const button = el("button", { type: "button", "aria-pressed": !hidden.has(label), title: name, onclick: () => {
        hidden.has(label) ? hidden.delete(label) : hidden.add(label);
        button.setAttribute("aria-pressed", !hidden.has(label));
        memory.set("hidden", [...hidden]);
        show();
      } }, tag === "c" ? icon(name) : "", el("span", {}, name), el("small", {}, String(many(name, part))));
      legend.append(button);
    }
  }
  // Windows of a name, in the run that has most of them.
  function many(name, part) {
    const key = { conditions: "condition", roles: "role" }[part];
    return Math.max(...runs.map(({ trace }) =>
      trace.windows[key].filter((i) => trace[part][i] === name).length));
  }
  const names = data.conditions.map((c) => c.name);
  toggles("in training", names.filter((n) => !look(n).novel), "c", "conditions");
  toggles("never seen in training", names.filter((n) => look(n).novel), "c", "conditions");
  toggles("captures for", [...new Set(runs.flatMap(({ trace }) => trace.roles))], "r", "roles");

  function show() {
    for (const { draw } of scenes) draw();
    output.textContent = "step " + Math.round(scenes[0].step());
    slider.value = state.share * frames * 50;
    memory.set("cube", state);
    signal("step", scenes[0].step());
  }

  function toggle() {
    playing = playing ? 0 : performance.now();
    play.textContent = playing ? "❚❚" : "▶";
    if (!playing) return;
    if (state.share >= 1) state.share = 0;
    const tick = (now) => {
      if (!playing) return;
      state.share = Math.min(1, state.share + Math.max(0, now - playing) / 9000);   // in 9 s
      playing = Math.max(now, 1);
      show();
      if (state.share >= 1) toggle();
      else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  slider.addEventListener("input", () => {
    state.share = frames ? slider.value / (frames * 50) : 1;
    show();
  });
  requestAnimationFrame(show);       // once the curves are there to listen to the step
}
