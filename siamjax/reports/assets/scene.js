// One trace drawn as points in their cube, on a canvas that can be turned.
//   trace     see `page.trace_data`
//   state     {turn, lift, zoom, share}, degrees, and how far training is, 0 to 1
//   hidden    a set of "c condition" and "r role"
//   changed() is called when the hand has turned or zoomed
// Gives {canvas, draw, step}.
function scene(trace, state, hidden, changed) {
  const { steps, windows } = trace;
  const count = windows.condition.length;
  const raw = new Uint16Array(bytes(trace.points).buffer);
  const last = steps.length - 1;
  const size = count > 2000 ? 3 : count > 600 ? 4 : 5.2;
  const canvas = el("canvas", { tabindex: 0, role: "application",
    "aria-label": "points in the cube: arrow keys turn it, + and - zoom" });
  const stamps = new Map();
  let hover = -1, drawn = [], inked = 0;

  // The two traced steps that training lies between, and how far it is to the second.
  function place() {
    const frame = state.share * last, f = Math.min(Math.floor(frame), last);
    return [f, Math.min(f + 1, last), frame - f];
  }

  // Point i in the unit cube.
  function coordinates(i, [f, g, share]) {
    const a = 3 * (f * count + i), b = 3 * (g * count + i);
    return [0, 1, 2].map((k) => (raw[a + k] * (1 - share) + raw[b + k] * share) / 65535);
  }

  function camera(width, height) {
    const a = (state.turn * Math.PI) / 180, e = (state.lift * Math.PI) / 180;
    const [ca, sa, ce, se] = [Math.cos(a), Math.sin(a), Math.cos(e), Math.sin(e)];
    const scale = Math.min(width, height) * 0.64 * state.zoom;
    const middle = height / 2 - 0.16 * Math.sin(2 * e) * scale;     // as reports/camera.py
    return (p) => {
      const [x, y, z] = p.map((v) => v - 0.5);
      const near = 3.4 / (3.4 - (ce * ca * x + ce * sa * y + se * z));
      return [
        width / 2 + (-sa * x + ca * y) * near * scale,
        middle - (-se * ca * x - se * sa * y + ce * z) * near * scale,
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
      const spot = (u, v) => {
        const p = [0, 0, 0];
        [p[axis], p[k], p[m]] = [behind[axis], u, v];
        return project(p);
      };
      path(context, [spot(0, 0), spot(1, 0), spot(1, 1), spot(0, 1)]);
      context.closePath();
      context.fillStyle = colour("wall");
      context.fill();
      context.strokeStyle = colour("frame");
      context.stroke();
      context.strokeStyle = colour("grid");
      for (const q of [0.25, 0.5, 0.75]) {
        path(context, [spot(q, 0), spot(q, 1)]);
        context.stroke();
        path(context, [spot(0, q), spot(1, q)]);
        context.stroke();
      }
    }
  }

  function mark(context, x, y, name, r) {
    const { colour: fill, shape, novel } = look(name);
    const points = corners(shape, r);
    if (points) {
      path(context, points.map(([u, v]) => [x + u, y + v]));
      context.closePath();
    } else {
      context.beginPath();
      context.arc(x, y, r, 0, 7);
    }
    context.fillStyle = fill;
    context.fill();
    context.lineWidth = novel ? 1.3 : 0.8;
    context.strokeStyle = novel ? colour("ink") : colour("card");
    context.stroke();
  }

  // A mark drawn once for each condition and size: a picture of it costs less than a path.
  function stamp(i, r, ratio) {
    const key = 4096 * i + Math.round(4 * r);
    if (!stamps.has(key)) {
      const half = Math.ceil(1.2 * r + 2), side = 2 * half * ratio;
      const tile = el("canvas", { width: side, height: side });
      const context = tile.getContext("2d");
      context.scale(ratio, ratio);
      mark(context, half, half, trace.conditions[i], r);
      stamps.set(key, { tile, half });
    }
    return stamps.get(key);
  }

  function draw() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const project = camera(width, height), moment = place();
    walls(context, project);
    if (inked !== ratio) stamps.clear();
    inked = ratio;
    const shown = (list, tag) => list.map((name) => !hidden.has(tag + name));
    const [conditions, roles] = [shown(trace.conditions, "c "), shown(trace.roles, "r ")];
    drawn = [];
    for (let i = 0; i < count; i++) {
      if (!conditions[windows.condition[i]] || !roles[windows.role[i]]) continue;
      const [x, y, near] = project(coordinates(i, moment));
      drawn.push({ i, x, y, near, name: trace.conditions[windows.condition[i]] });
    }
    drawn.sort((p, q) => p.near - q.near);
    for (const { i, x, y, near } of drawn) {
      const { tile, half } = stamp(windows.condition[i], size * near, ratio);
      context.drawImage(tile, x - half, y - half, 2 * half, 2 * half);
    }
    const pointed = drawn.find((p) => p.i === hover);
    if (pointed) {
      path(context, steps.map((_, f) => project(coordinates(hover, [f, f, 0]))));
      context.strokeStyle = look(pointed.name).colour;
      context.lineWidth = 1.4;
      context.stroke();
      mark(context, pointed.x, pointed.y, pointed.name, 1.5 * size * pointed.near);
    }
  }

  function step() {
    const [f, g, share] = place();
    return steps[f] + (steps[g] - steps[f]) * share;
  }

  function lift(by) {
    state.lift = Math.max(-89, Math.min(89, state.lift + by));
  }

  function zoom(factor) {
    state.zoom = Math.max(0.5, Math.min(8, state.zoom * factor));
  }

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
      lift((event.clientY - before.clientY) * 0.4);
    } else {
      const other = [...fingers.values()].find((e) => e.pointerId !== event.pointerId);
      const apart = (e) => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY);
      zoom(apart(event) / Math.max(1, apart(before)));
    }
    fingers.set(event.pointerId, event);
    changed();
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"])
    canvas.addEventListener(name, (event) => {
      fingers.delete(event.pointerId);
      if (name === "pointerleave") point(event, true);
    });
  // Without the focus the wheel is the page's, and so is a finger that moves up or down.
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * 0.0012));
    changed();
  }, { passive: false });
  const keys = {
    ArrowLeft: () => (state.turn -= 4),
    ArrowRight: () => (state.turn += 4),
    ArrowUp: () => lift(4),
    ArrowDown: () => lift(-4),
    "+": () => zoom(1.15),
    "-": () => zoom(1 / 1.15),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") canvas.blur();
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    changed();
  });

  function point(event, leave) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = null, nearest = 144;
    for (const p of leave ? [] : drawn) {
      const d = (p.x - x) ** 2 + (p.y - y) ** 2;
      if (d <= nearest) [best, nearest] = [p, d];
    }
    const before = hover;
    hover = best ? best.i : -1;
    if (hover !== before) draw();
    showTip(event, best ? origin(best) : "");
  }

  function origin({ i, name }) {
    return `${name}${look(name).novel ? " (never seen in training)" : ""}\n` +
      `${trace.captures[windows.capture[i]]} at ${windows.time[i]} s\nfor ${trace.roles[windows.role[i]]}`;
  }

  new ResizeObserver(draw).observe(canvas);
  document.addEventListener("theme", () => {
    stamps.clear();
    draw();
  });
  return { canvas, draw, step };
}
