// The points of one run, or of several beside one another, with one slider, one camera
// and one legend for all.
//   runs      [{name, trace}], the name a caption, left out where there is one run
//   judged    the step of the results, which the slider marks; left out: none
const PLAY_MS = 9000;

function cube(runs, title, text, judged) {
  const { steps } = runs.map(({ trace }) => trace).sort((p, q) => q.steps.length - p.steps.length)[0];
  const frames = steps.length - 1;
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
  const figures = runs.map(({ name }, i) => el("figure", {},
    name === undefined ? null : el("figcaption", {}, el("b", {}, name)), scenes[i].canvas));
  const track = el("div", { class: "track" }, slider, judged === undefined ? null : mark());
  root.append(el("div", { class: runs.length > 1 ? "cube many" : "cube" },
    el("div", {}, el("div", { class: "scenes" }, ...figures),
      el("div", { class: "player" }, play, track, output)), legend));

  const names = data.conditions.map((c) => c.name);
  toggles("in training", names.filter((n) => !look(n).novel), "c", "conditions");
  toggles("never seen in training", names.filter((n) => look(n).novel), "c", "conditions");
  toggles("captures for", [...new Set(runs.flatMap(({ trace }) => trace.roles))], "r", "roles");

  function toggles(heading, names, tag, part) {
    const present = names.filter((name) => runs.some(({ trace }) => trace[part].includes(name)));
    if (!present.length) return;
    legend.append(el("h3", {}, heading));
    for (const name of present) {
      const label = tag + " " + name;
      const button = el("button", { type: "button", "aria-pressed": !hidden.has(label), title: name },
        tag === "c" ? icon(name) : "", el("span", {}, conditionLabel(name)),
        el("small", {}, String(count(name, part))));
      button.addEventListener("click", () => {
        hidden.has(label) ? hidden.delete(label) : hidden.add(label);
        button.setAttribute("aria-pressed", !hidden.has(label));
        memory.set("hidden", [...hidden]);
        show();
      });
      legend.append(button);
    }
  }

  // Windows of a name, in the run that has most of them.
  function count(name, part) {
    const key = { conditions: "condition", roles: "role" }[part];
    return Math.max(...runs.map(({ trace }) =>
      trace.windows[key].filter((i) => trace[part][i] === name).length));
  }

  // How far the slider is at a step, 0 to 1: traced steps are equally far apart on it.
  function shareOf(step) {
    const after = steps.findIndex((s) => s >= step);
    if (after < 0) return 1;
    if (after === 0) return 0;
    return (after - (steps[after] - step) / (steps[after] - steps[after - 1])) / frames;
  }

  // A button below the slider where the results' checkpoint is.
  function mark() {
    const share = shareOf(judged);
    const left = `left: calc(8px + ${share.toFixed(4)} * (100% - 16px))`;      // the thumb is 16 px wide
    return el("button", { type: "button", class: share > 0.5 ? "mark after" : "mark", style: left,
      onclick: () => move(share) }, el("span", {}, `results: step ${judged}`));
  }

  function move(share) {
    state.share = share;
    show();
  }

  function show() {
    for (const { draw } of scenes) draw();
    const said = "step " + Math.round(scenes[0].step());
    output.textContent = said;
    slider.value = state.share * frames * 50;
    slider.setAttribute("aria-valuetext", said);
    memory.set("cube", state);
    signal("step", scenes[0].step());
  }

  function toggle() {
    playing = playing ? 0 : performance.now();
    play.textContent = playing ? "❚❚" : "▶";
    play.setAttribute("aria-label", playing ? "pause" : "play");
    if (!playing) return;
    if (state.share >= 1) state.share = 0;
    const tick = (time) => {
      if (!playing) return;
      state.share = Math.min(1, state.share + Math.max(0, time - playing) / PLAY_MS);
      playing = Math.max(time, 1);
      show();
      if (state.share >= 1) toggle();
      else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  slider.addEventListener("input", () => move(frames ? slider.value / (frames * 50) : 1));
  requestAnimationFrame(show);       // once the curves are there to listen to the step
}
