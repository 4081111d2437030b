// Small curves of the scalars over training, with the cube's step as a cursor.

// A share that stays below this in all of training is named, not drawn.
const QUIET = 0.05;

function curves() {
  const shown = [], quiet = [];
  for (const [title, names] of wanted(data.curves)) {
    const head = title.includes(": ") ? title.split(": ")[0] + "/" : "";
    const lines = names.map((name) => [name, data.curves[head + name]])
      .filter(([, curve]) => curve && curve[1].some(Number.isFinite));
    if (!lines.length) continue;
    const isQuiet = /tuples|saturated/.test(title) && Math.max(...finite(lines)) < QUIET;
    isQuiet ? quiet.push(title) : shown.push([title, lines]);
  }
  if (!shown.length) return;
  const dashed = data.results ? " The dashed line is the step of the results." : "";
  const root = section("curves", "How training went",
    "The red line is the step that the cube shows." + dashed);
  root.append(el("div", { class: "charts" }, ...shown.map(([title, lines]) => chart(title, lines))));
  if (quiet.length)
    root.append(el("p", { class: "quiet" },
      `Not drawn, below ${100 * QUIET} % at every step: ${quiet.join("; ")}.`));
}

// [title, names of its lines] of all charts that there can be.
function wanted(all) {
  const grouped = Object.keys(all).filter((n) => n.includes("/") && !n.startsWith("valid/"));
  const heads = new Set(grouped.map((name) => name.split("/")[0]));
  return [
    ["loss", ["loss"]],
    ["one-shot recall, validation", ["valid/known", "valid/novel"]],
    ["norm of the gradient", ["gradient_norm"]],
    ...[...heads].flatMap((head) => [
      [`${head}: loss`, ["loss"]],
      [`${head}: distances, quantiles`, ["pos_10", "pos_50", "pos_90", "neg_10", "neg_50", "neg_90"]],
      [`${head}: share of active tuples`, ["active_share"]],
      [`${head}: effective rank`, ["effective_rank"]],
      [`${head}: saturated outputs`, ["saturated"]],
    ]),
  ];
}

const finite = (lines) => lines.flatMap(([, [, values]]) => values.filter(Number.isFinite));

// Ends of an axis: those of the values, for a share rounded to what is read easily.
function limits(values, share) {
  const low = Math.min(...values), high = Math.max(...values);
  if (!share) return high > low ? [low, high] : [low - 0.5 || -0.5, high + 0.5 || 0.5];
  const span = Math.max(high - low, 0.01), power = 10 ** Math.floor(Math.log10(span / 2));
  const every = power * [1, 2, 5, 10].find((m) => m * power >= span / 4);
  const outward = (x, round) => Math.min(1, Math.max(0, +(round(x / every) * every).toFixed(9)));
  return [outward(low - 0.1 * span, Math.floor), outward(high + 0.1 * span, Math.ceil)];
}

// A text for a value of an axis of this span: enough digits to tell its ends apart.
function onAxis(value, span) {
  const digits = Math.ceil(-Math.log10(span)) + 2;
  return digits > 6 || Math.abs(value) >= 1e4 ? short(value) : String(+value.toFixed(Math.max(0, digits)));
}

// How a line is drawn: colour, width, dashes.
function strokeOf(name, i) {
  if (name.startsWith("pos")) return ["var(--less)", name.endsWith("50") ? 1.8 : 0.8, ""];
  if (name.startsWith("neg")) return ["var(--more)", name.endsWith("50") ? 1.8 : 0.8, ""];
  return ["var(--accent)", 1.6, i ? "5 3" : ""];
}

// Lines that the caption names.
const LINES = {
  pos_50: "same condition", neg_50: "different", "valid/known": "known", "valid/novel": "novel",
};

function chart(title, lines) {
  const [width, height, left, bottom] = [300, 130, 46, 18];
  const [low, high] = limits(finite(lines), /recall|share|saturated/.test(title));
  const end = Math.max(1, ...lines.map(([, [steps]]) => steps[steps.length - 1]));
  const x = (step) => left + ((width - left - 6) * Math.min(step, end)) / end;
  const y = (value) => 6 + ((height - bottom - 6) * (high - value)) / (high - low);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (const value of [low, (low + high) / 2, high])
    picture.append(
      svg("line", { class: "axis", x1: left, x2: width - 6, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: left - 5, y: y(value) + 4, "text-anchor": "end" },
        onAxis(value, high - low)));
  for (const [step, anchor] of [[0, "start"], [end / 2, "middle"], [end, "end"]])
    picture.append(svg("text", { x: x(step), y: height - 4, "text-anchor": anchor },
      String(Math.round(step))));
  const upright = (name, step) =>
    svg("line", { class: name, y1: 4, y2: height - bottom, x1: x(step), x2: x(step) });
  if (data.results && data.results.step) picture.append(upright("judged", data.results.step));
  const caption = el("figcaption", {}, el("b", {}, ...hinted(title)));
  lines.forEach(([name, [steps, values]], i) => {
    const [stroke, thick, dashes] = strokeOf(name, i);
    let path = "";
    values.forEach((value, j) => {
      if (!Number.isFinite(value)) return;
      path += `${path ? "L" : "M"}${x(steps[j]).toFixed(1)} ${y(value).toFixed(1)}`;
    });
    const style = { stroke, "stroke-dasharray": dashes };
    picture.append(svg("path",
      { d: path, fill: "none", "stroke-width": thick, "stroke-linejoin": "round", ...style }));
    if (!LINES[name]) return;
    const sample = svg("line", { x1: 0, x2: 22, y1: 4, y2: 4, "stroke-width": 2, ...style });
    caption.append(el("span", { class: "key" },
      svg("svg", { width: 22, height: 8 }, sample), el("span", {}, LINES[name])));
  });
  const cursor = upright("cursor", 0);
  picture.append(cursor);
  document.addEventListener("step", (event) => {
    cursor.setAttribute("x1", x(event.detail));
    cursor.setAttribute("x2", x(event.detail));
  });
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const inside = ((event.clientX - box.left) / box.width) * width;
    showTip(event, readings(lines, ((inside - left) / (width - left - 6)) * end));
  });
  picture.addEventListener("pointerleave", hideTip);
  return el("figure", {}, caption, picture);
}

// The values of all lines at the step of the first line that is nearest.
function readings(lines, step) {
  const [steps] = lines[0][1];
  const nearest = steps.reduce((best, s) => (Math.abs(s - step) < Math.abs(best - step) ? s : best));
  const texts = lines.map(([name, [logged, values]]) => {
    const value = values[logged.indexOf(nearest)];
    return value === undefined ? "" : `${name} ${value === null ? "no number" : short(value)}\n`;
  });
  return `step ${nearest}\n${texts.join("")}`.trim();
}
