// Small curves of the scalars over training, with the cube's step as a cursor.
function curves() {
  const all = data.curves;
  const heads = [...new Set(Object.keys(all).filter((n) => n.includes("/") && !n.startsWith("valid/")).map((n) => n.split("/")[0]))];
  const charts = [["loss", ["loss"]], ["one-shot recall, validation", ["valid/known", "valid/novel"]], ["norm of the gradient", ["gradient_norm"]]];
  for (const head of heads)
    charts.push(
      [`${head}: loss`, ["loss"]],
      [`${head}: distances, quantiles`, ["pos_10", "pos_50", "pos_90", "neg_10", "neg_50", "neg_90"]],
      [`${head}: share of active tuples`, ["active_share"]],
      [`${head}: effective rank`, ["effective_rank"]],
      [`${head}: saturated outputs`, ["saturated"]],
    );
  const named = ([title, list]) => {
    const head = title.includes(": ") ? title.split(": ")[0] + "/" : "";
    return [title, list.map((n) => [n, all[head + n]]).filter((pair) => pair[1] && pair[1][1].some(Number.isFinite))];
  };
  const shown = charts.map(named).filter(([, lines]) => lines.length);
  if (!shown.length) return;
  const root = section("curves", "How training went", "The red line is the step that the cube shows.");
  const grid = el("div", { class: "charts" });
  root.append(grid);
  for (const [title, lines] of shown) grid.append(chart(title, lines));
}

function chart(title, lines) {
  const [width, height, left, bottom] = [300, 130, 46, 18];
  const finite = lines.flatMap(([, [, values]]) => values.filter(Number.isFinite));
  const share = /recall|share|saturated/.test(title);
  let low = share ? 0 : Math.min(...finite), high = share ? 1 : Math.max(...finite);
  if (!(high > low)) [low, high] = [low - 0.5 || -0.5, high + 0.5 || 0.5];
  const end = Math.max(1, ...lines.map(([, [steps]]) => steps[steps.length - 1]));
  const x = (step) => left + ((width - left - 6) * step) / end;
  const y = (value) => 6 + ((height - bottom - 6) * (high - value)) / (high - low);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (const value of [low, (low + high) / 2, high])
    picture.append(
      svg("line", { class: "axis", x1: left, x2: width - 6, y1: y(value), y2: y(value) }),
      svg("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  for (const step of [0, end / 2, end])
    picture.append(svg("text", { x: x(step), y: height - 4, "text-anchor": step === end ? "end" : step ? "middle" : "start" }, String(Math.round(step))));
  const style = (name, i) => {
    if (name.startsWith("pos")) return ["var(--less)", name.endsWith("50") ? 1.8 : 0.8, ""];
    if (name.startsWith("neg")) return ["var(--more)", name.endsWith("50") ? 1.8 : 0.8, ""];
    return ["var(--accent)", 1.6, i ? "5 3" : ""];
  };
  const caption = el("figcaption", {}, el("b", {}, title));
  lines.forEach(([name, [steps, values]], i) => {
    const [stroke, thick, dashes] = style(name, i);
    let d = "";
    values.forEach((value, j) => {
      if (Number.isFinite(value)) d += `${d ? "L" : "M"}${x(steps[j]).toFixed(1)} ${y(value).toFixed(1)}`;
    });
    picture.append(svg("path", { d, fill: "none", stroke, "stroke-width": thick, "stroke-dasharray": dashes, "stroke-linejoin": "round" }));
    if (/^valid/.test(name) || /50$/.test(name)) {
      const text = { pos_50: "same condition", neg_50: "different", "valid/known": "known", "valid/novel": "novel" }[name] || name;
      const line = svg("svg", { width: 22, height: 8 }, svg("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke, "stroke-width": 2, "stroke-dasharray": dashes }));
      caption.append(el("span", { class: "key" }, line, el("span", {}, text)));
    }
  });
  const cursor = svg("line", { class: "cursor", y1: 4, y2: height - bottom, x1: -9, x2: -9 });
  picture.append(cursor);
  document.addEventListener("step", (event) => {
    const place = x(Math.min(event.detail, end));
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
  });
  const first = lines[0][1];
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const step = (((event.clientX - box.left) / box.width) * width - left) / (width - left - 6) * end;
    let best = 0;
    first[0].forEach((s, j) => (best = Math.abs(s - step) < Math.abs(first[0][best] - step) ? j : best));
    showTip(event, `step ${first[0][best]}\n` + lines.map(([name, [steps, values]]) => {
      const j = steps.indexOf(first[0][best]);
      return j < 0 ? "" : `${name} ${values[j] === null ? "no number" : short(values[j])}\n`;
    }).join("").trim());
  });
  picture.addEventListener("pointerleave", (event) => showTip(event, ""));
  return el("figure", {}, caption, picture);
}
