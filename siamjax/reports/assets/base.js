// Elements, numbers, colours, the tooltip, the head of the page: what all parts use.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

// el("td", {class: "x", onclick: f}, "text", child): text is never read as markup.
function el(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function section(id, title, text) {
  const node = el("section", { id }, el("h2", {}, title), text ? el("p", {}, text) : null);
  document.getElementById("main").append(node);
  return node;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

const colour = (variable) =>
  getComputedStyle(document.documentElement).getPropertyValue("--" + variable).trim();
const number = (x, digits = 2) =>
  x === null || x === undefined ? "–" : x.toFixed(digits).replace(/^-(0\.?0*)$/, "$1");
const short = (x) => (x === 0 ? "0" : Math.abs(x) >= 1e4 || Math.abs(x) < 1e-3 ? x.toExponential(1) : String(+x.toPrecision(Math.abs(x) < 0.1 ? 2 : 3)));

// Conditions: {name, colour, shape, novel}; what is not in the list is grey.
const conditions = new Map(data.conditions.map((c) => [c.name, c]));
const look = (name) => conditions.get(name) || { name, colour: "#8c8c8c", shape: "circle", novel: false };

// Corners of a shape round (0, 0), of radius r; null for a circle.
function corners(shape, r) {
  const s = 0.86 * r;
  if (shape === "square") return [[-s, -s], [s, -s], [s, s], [-s, s]];
  if (shape === "triangle") return [[0, -r], [r, 0.85 * r], [-r, 0.85 * r]];
  if (shape === "down") return [[0, r], [r, -0.85 * r], [-r, -0.85 * r]];
  if (shape === "diamond") return [[0, -1.2 * r], [1.2 * r, 0], [0, 1.2 * r], [-1.2 * r, 0]];
  return null;
}

function icon(name, size = 14) {
  const { colour: fill, shape, novel } = look(name);
  const points = corners(shape, 0.36 * size);
  const edge = novel ? { stroke: "var(--ink)", "stroke-width": 1 } : {};
  const mark = points
    ? svg("polygon", { points: points.map((p) => p.join(",")).join(" "), fill, ...edge })
    : svg("circle", { r: 0.36 * size, fill, ...edge });
  const box = `${-size / 2} ${-size / 2} ${size} ${size}`;
  return svg("svg", { width: size, height: size, viewBox: box, "aria-hidden": "true" }, mark);
}

// A condition's icon and name.
function key(name) {
  return el("span", { class: "key", title: name }, icon(name), el("span", {}, name));
}

const tip = document.getElementById("tip");
function showTip(event, text) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, innerWidth - box.width - 8);
  const under = event.clientY + 16 + box.height < innerHeight;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (under ? event.clientY + 16 : event.clientY - box.height - 12) + "px";
}

function tipped(node, text) {
  node.addEventListener("pointermove", (event) => showTip(event, text));
  node.addEventListener("pointerleave", (event) => showTip(event, ""));
  return node;
}

// What a refresh of a growing page should not forget.
const memory = {
  key: (name) => `siamjax${location.pathname}/${name}`,
  get(name, otherwise) {
    try {
      return JSON.parse(sessionStorage.getItem(memory.key(name))) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      sessionStorage.setItem(memory.key(name), JSON.stringify(value));
    } catch {
      // A browser may keep nothing for a local file: then a refresh starts anew.
    }
  },
};

// Parts that draw with colours of the theme listen to "theme"; the cursor to "step".
const signal = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));

function theme(dark) {
  document.documentElement.classList.toggle("dark", dark);
  memory.set("dark", dark);
  signal("theme");
}

document.title = data.title + " – siamjax";
document.getElementById("title").textContent = data.title;
document.getElementById("subtitle").textContent = data.subtitle || "";
document.getElementById("theme").addEventListener("click", () => theme(!document.documentElement.classList.contains("dark")));
theme(memory.get("dark", matchMedia("(prefers-color-scheme: dark)").matches));

// A page that grows loads itself again, and stays where it was.
if (data.follow)
  addEventListener("load", () => {
    scrollTo(0, memory.get("scroll", 0));
    setTimeout(() => {
      memory.set("scroll", scrollY);
      location.reload();
    }, 1000 * data.follow);
  });
