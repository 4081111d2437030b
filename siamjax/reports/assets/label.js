// The page of labels: lines of traffic, stretches taken by mouse or written, rows of labels.csv.
const HEIGHT = 44;
const rows = data.labels.map((x) => ({ ...x }));
const root = section("timeline", "Traffic over time",
  "Drag over the lines with the mouse to take a stretch, then name its condition below. " +
  "Point at a line for its value.");
const bands = el("div", { class: "bands" }), plots = el("div", { class: "plots" }, bands);
const fields = el("tbody", {}), output = el("textarea", { rows: 6, readonly: "", "aria-label": "rows of labels.csv" });

root.append(axis(data.end_s), plots, axis(data.end_s));
for (const line of data.lines) plots.append(plot(line));
document.getElementById("title").textContent = data.title;
document.getElementById("subtitle").textContent = data.subtitle;

// Seconds as they are shown; those of a table are at its rows.
const every = data.form.step_s || (data.end_s < 100 ? 0.01 : 0.1);
const second = (x) => +(Math.round(x / every) * every).toPrecision(12);
const editor = section("stretches", "Stretches",
  "Times are in seconds after the first packet or row. Without a stretch, the capture is normal throughout.");
editor.append(
  el("datalist", { id: "names" }, ...[...conditions.keys()].map((name) => el("option", { value: name }))),
  scrolling(el("table", {}, el("thead", {}, el("tr", {},
    ...["condition", "from, s", "to, s", ""].map((name) => el("th", {}, name)))), fields)),
  el("p", {}, el("button", { type: "button", id: "add", onclick: () => add(0, data.end_s) }, "add a stretch")));
const copied = el("output", {});
section("rows", "Rows for labels.csv").append(output, el("p", {},
  el("button", { type: "button", id: "copy", onclick: copy }, "copy"), " ",
  el("button", { type: "button", id: "download", onclick: download }, "download"), " ", copied));

// One line of values in equal bins, from its smallest to its largest value.
function plot({ name, values }) {
  const known = values.filter((v) => v !== null);
  const low = known.length ? Math.min(...known) : 0, high = Math.max(...known, low + 1e-9);
  const x = (i) => (1000 * (i + 0.5)) / values.length, y = (v) => HEIGHT - 2 - ((HEIGHT - 4) * (v - low)) / (high - low);
  let path = "", open = false;
  values.forEach((v, i) => {
    if (v !== null) path += `${open ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    open = v !== null;
  });
  const picture = svg("svg", { viewBox: `0 0 1000 ${HEIGHT}`, preserveAspectRatio: "none", height: HEIGHT },
    svg("path", { d: path, fill: "none", stroke: "var(--accent)", "vector-effect": "non-scaling-stroke" }));
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect(), part = (event.clientX - box.left) / box.width;
    const value = values[Math.min(values.length - 1, Math.max(0, Math.floor(part * values.length)))];
    showTip(event, `${name}\n${second(part * data.end_s)} s: ${value === null ? "not measured" : short(value)}`);
  });
  picture.addEventListener("pointerleave", hideTip);
  return el("div", { class: "lane" }, el("div", { class: "name" }, el("div", {}, name),
    el("small", {}, `${short(low)} to ${short(high)}`)), picture);
}

// The mouse takes a stretch: from where it goes down to where it goes up.
let start = null;
plots.addEventListener("pointerdown", (event) => {
  if (event.button || !event.target.closest("svg")) return;
  start = at(event);
  plots.setPointerCapture(event.pointerId);
  event.preventDefault();
});
plots.addEventListener("pointermove", (event) => {
  if (start !== null) draw([...rows, { condition: "", start_s: Math.min(start, at(event)), end_s: Math.max(start, at(event)) }]);
});
plots.addEventListener("pointerup", (event) => {
  if (start === null) return;
  const [from, to] = [start, at(event)].sort((a, b) => a - b);
  start = null;
  if (to - from > data.end_s / 500) add(from, to);
  else draw(rows);
});

function at(event) {
  const box = plots.querySelector("svg").getBoundingClientRect();
  return second(data.end_s * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
}

function add(from, to) {
  rows.push({ condition: "", start_s: second(from), end_s: second(to) });
  rows.sort((a, b) => a.start_s - b.start_s);
  show();
  [...fields.querySelectorAll("input[list]")].find((input) => !input.value)?.focus();
}

function show() {
  fields.replaceChildren(...rows.map((row) => {
    const field = (name, type, more = {}) => el("input", { type, value: row[name], ...more, "aria-label": name,
      oninput: (event) => {
        row[name] = type === "number" ? +event.target.value : event.target.value.trim();
        write();
      } });
    return el("tr", {}, el("td", {}, field("condition", "text", { list: "names" })),
      el("td", {}, field("start_s", "number", { step: "any", min: 0, max: data.end_s })),
      el("td", {}, field("end_s", "number", { step: "any", min: 0, max: data.end_s })),
      el("td", {}, el("button", { type: "button", onclick: () => {
        rows.splice(rows.indexOf(row), 1);
        show();
      } }, "remove")));
  }));
  write();
}

function write() {
  draw(rows);
  output.value = [data.form.columns, ...cells()].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
}

// Cells of each row; a stretch without a name has none.
function cells() {
  const named = rows.filter((row) => row.condition).sort((a, b) => a.start_s - b.start_s);
  if (!rows.length) return [row("normal", "", "")];
  return named.map(({ condition, start_s, end_s }) =>
    row(condition, written(start_s), end_s >= data.end_s ? "" : written(end_s - data.form.step_s)));
}

function row(condition, from, to) {
  const [first, last] = data.form.columns.filter((name) => name !== "file" && name !== "condition");
  const values = { file: data.file, condition, [first]: from, [last]: to };
  return data.form.columns.map((name) => values[name]);
}

const written = (s) => String(+(data.form.zero + s / data.form.unit_s).toPrecision(15));
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function draw(stretches) {
  bands.replaceChildren(...stretches.map(({ condition, start_s, end_s }) => {
    const left = (100 * start_s) / data.end_s, width = (100 * (end_s - start_s)) / data.end_s;
    return el("span", { style: `left: ${left}%; width: ${width}%; --colour: ${look(condition).colour}` },
      el("b", {}, condition || "?"));
  }));
}

function copy() {
  output.select();
  const done = () => (copied.textContent = "copied");
  if (navigator.clipboard) navigator.clipboard.writeText(output.value).then(done, () => document.execCommand("copy") && done());
  else if (document.execCommand("copy")) done();
}

function download() {
  const url = URL.createObjectURL(new Blob([output.value], { type: "text/csv" }));
  el("a", { href: url, download: "labels.csv" }).click();
  URL.revokeObjectURL(url);
}

show();
