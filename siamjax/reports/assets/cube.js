// The points in their cube, with a slider over training.
function cube() {
  const trace = data.trace;
  const { steps, windows, low, high } = trace;
  const count = windows.condition.length;
  const raw = new Uint16Array(bytes(trace.points).buffer);
  const last = steps.length - 1;
  const names = [...new Set(windows.condition)].map((i) => trace.conditions[i]);
  const hidden = new Set(memory.get("hidden", []));
  const state = { turn: -50, lift: 20, zoom: 1, frame: last, ...memory.get("cube", {}) };
  state.frame = data.follow ? last : Math.min(state.frame, last);
  let playing = 0, hover = -1, drawn = [];

  const root = section("embedding", "Windows of traffic as points",
    "Each point is a window of a capture, as the view head sees it. Drag to turn, scroll to " +
    "zoom, point at one for its origin and its way through training.");
  const canvas = el("canvas", { tabindex: 0, "aria-label": "points in the cube" });
  const slider = el("input", { type: "range", min: 0, max: last * 50, value: state.frame * 50, "aria-label": "step of training" });
  const output = el("output", {});
  const play = el("button", { type: "button", "aria-label": "play", onclick: toggle }, "▶");
  const legend = el("div", { class: "legend" });
  root.append(el("div", { class: "cube" },
    el("div", {}, canvas, el("div", { class: "player" }, play, slider, output)), legend));

  function toggles(heading, list, text, many, picture) {
    if (!list.length) return;
    legend.append(el("h3", {}, heading));
    for (const name of list) {
      const button = el("button", { type: "button", "aria-pressed": !hidden.has(text(name)), title: name,
        onclick: () => {
          hidden.has(text(name)) ? hidden.delete(text(name)) : hidden.add(text(name));
          button.setAttribute("aria-pressed", !hidden.has(text(name)));
          memory.set("hidden", [...hidden]);
          draw();
        } }, picture ? icon(name) : "", el("span", {}, name), el("small", {}, String(many(name))));
      legend.append(button);
    }
  }
  const ofCondition = (name) => windows.condition.filter((i) => trace.conditions[i] === name).length;
  const order = data.conditions.map((c) => c.name).filter((name) => names.includes(name));
  toggles("in training", order.filter((n) => !look(n).novel), (n) => "c " + n, ofCondition, true);
  toggles("never seen in training", order.filter((n) => look(n).novel), (n) => "c " + n, ofCondition, true);
  toggles("captures for", trace.roles, (n) => "r " + n, (n) => windows.role.filter((i) => trace.roles[i] === n).length);

  // Point i in the unit cube at a frame between two of the trace.
  function at(i, frame) {
    const f = Math.min(Math.floor(frame), last), g = Math.min(f + 1, last), share = frame - f;
    const a = 3 * (f * count + i), b = 3 * (g * count + i);
    return [0, 1, 2].map((k) => (raw[a + k] * (1 - share) + raw[b + k] * share) / 65535);
  }

  function camera(width, height) {
    const a = (state.turn * Math.PI) / 180, e = (state.lift * Math.PI) / 180;
    const [ca, sa, ce, se] = [Math.cos(a), Math.sin(a), Math.cos(e), Math.sin(e)];
    const scale = Math.min(width, height) * 0.57 * state.zoom;
    return (p) => {
      const [x, y, z] = p.map((v) => v - 0.5);
      const near = 3.4 / (3.4 - (ce * ca * x + ce * sa * y + se * z));
      return [
        width / 2 + (-sa * x + ca * y) * near * scale,
        height / 2 - (-se * ca * x - se * sa * y + ce * z) * near * scale,
        near,
      ];
    };
  }

  function path(context, places) {
    context.beginPath();
    places.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  }

  function walls(context, project) {
    const a = (state.turn * Math.PI) / 180;
    const behind = [Math.cos(a) < 0 ? 1 : 0, Math.sin(a) < 0 ? 1 : 0, state.lift < 0 ? 1 : 0];
    for (let axis = 0; axis < 3; axis++) {
      const [k, m] = [0, 1, 2].filter((i) => i !== axis);
      const place = (u, v) => {
        const p = [0, 0, 0];
        [p[axis], p[k], p[m]] = [behind[axis], u, v];
        return project(p);
      };
      path(context, [place(0, 0), place(1, 0), place(1, 1), place(0, 1)]);
      context.closePath();
      context.fillStyle = colour("wall");
      context.fill();
      context.strokeStyle = colour("frame");
      context.stroke();
      context.strokeStyle = colour("grid");
      for (const q of [0.25, 0.5, 0.75]) {
        path(context, [place(q, 0), place(q, 1)]);
        context.stroke();
        path(context, [place(0, q), place(1, q)]);
        context.stroke();
      }
    }
  }

  function mark(context, x, y, name, r, faint) {
    const { colour: fill, shape, novel } = look(name);
    const points = corners(shape, r);
    if (points) {
      path(context, points.map(([u, v]) => [x + u, y + v]));
      context.closePath();
    } else {
      context.beginPath();
      context.arc(x, y, r, 0, 7);
    }
    context.globalAlpha = faint ? 0.25 : 1;
    context.fillStyle = fill;
    context.fill();
    context.lineWidth = novel ? 1.3 : 0.8;
    context.strokeStyle = novel ? colour("ink") : colour("card");
    context.stroke();
    context.globalAlpha = 1;
  }

  function draw() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const project = camera(width, height);
    walls(context, project);
    drawn = [];
    for (let i = 0; i < count; i++) {
      const name = trace.conditions[windows.condition[i]];
      if (hidden.has("c " + name) || hidden.has("r " + trace.roles[windows.role[i]])) continue;
      const [x, y, near] = project(at(i, state.frame));
      drawn.push({ i, x, y, near, name });
    }
    drawn.sort((p, q) => p.near - q.near);
    const size = count > 2000 ? 3 : count > 600 ? 4 : 5.2;
    for (const p of drawn) mark(context, p.x, p.y, p.name, size * p.near, false);
    const found = drawn.find((p) => p.i === hover);
    if (found) {
      const way = steps.map((_, f) => project(at(hover, f)));
      path(context, way);
      context.strokeStyle = look(found.name).colour;
      context.lineWidth = 1.4;
      context.stroke();
      mark(context, found.x, found.y, found.name, 1.5 * size * found.near, false);
    }
    const f = Math.min(Math.floor(state.frame), last), g = Math.min(f + 1, last);
    const step = steps[f] + (steps[g] - steps[f]) * (state.frame - f);
    output.textContent = "step " + Math.round(step);
    slider.value = state.frame * 50;
    signal("step", step);
  }

  function toggle() {
    playing = playing ? 0 : performance.now();
    play.textContent = playing ? "❚❚" : "▶";
    if (!playing) return;
    if (state.frame >= last) state.frame = 0;
    const speed = Math.max(last / 9000, 1e-9);              // the whole way in nine seconds
    const tick = (now) => {
      if (!playing) return;
      state.frame = Math.min(last, state.frame + Math.max(0, now - playing) * speed);
      playing = Math.max(now, 1);
      draw();
      if (state.frame >= last) toggle();
      else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  const keep = () => memory.set("cube", { turn: state.turn, lift: state.lift, zoom: state.zoom, frame: state.frame });
  slider.addEventListener("input", () => {
    state.frame = slider.value / 50;
    keep();
    draw();
  });

  const fingers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return point(event);
    if (fingers.size === 1) {
      state.turn -= (event.clientX - before.clientX) * 0.4;
      state.lift = Math.max(-89, Math.min(89, state.lift + (event.clientY - before.clientY) * 0.4));
    } else {
      const other = [...fingers.values()].find((e) => e.pointerId !== event.pointerId);
      const apart = (e) => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY);
      zoom(apart(event) / Math.max(1, apart(before)));
    }
    fingers.set(event.pointerId, event);
    draw();
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"])
    canvas.addEventListener(name, (event) => {
      fingers.delete(event.pointerId);
      if (name === "pointerleave") point(event, true);
      keep();
    });
  const zoom = (factor) => (state.zoom = Math.max(0.5, Math.min(8, state.zoom * factor)));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * 0.0012));
    keep();
    draw();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-4, 0], ArrowRight: [4, 0], ArrowUp: [0, 4], ArrowDown: [0, -4] }[event.key];
    if (!move) return;
    event.preventDefault();
    state.turn += move[0];
    state.lift = Math.max(-89, Math.min(89, state.lift + move[1]));
    draw();
  });

  function point(event, leave) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = null, nearest = 144;
    for (const p of leave ? [] : drawn) {
      const d = (p.x - x) ** 2 + (p.y - y) ** 2;
      if (d <= nearest) [best, nearest] = [p, d];
    }
    const now = best ? best.i : -1;
    if (now !== hover) {
      hover = now;
      draw();
    }
    showTip(event, best ? `${best.name}${look(best.name).novel ? " (never seen in training)" : ""}\n` +
      `${trace.captures[windows.capture[now]]} at ${windows.time[now]} s\nfor ${trace.roles[windows.role[now]]}` : "");
  }

  new ResizeObserver(draw).observe(canvas);
  document.addEventListener("theme", draw);
}
