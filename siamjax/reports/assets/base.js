// Elements, numbers, the head of the page, its sections and contents: what all parts use.
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

// A card with a title, and its line in the contents. A second one of an id becomes id-2.
function section(id, title, text) {
  let unique = id;
  for (let i = 2; document.getElementById(unique); i++) unique = `${id}-${i}`;
  const node = el("section", { id: unique }, el("h2", {}, title), text ? paragraph(text) : null);
  document.getElementById("main").append(node);
  document.getElementById("contents").append(el("a", { href: "#" + unique }, title));
  return node;
}

const paragraph = (text) => el("p", {}, ...hinted(text));

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

const colour = (variable) =>
  getComputedStyle(document.documentElement).getPropertyValue("--" + variable).trim();
const number = (x, digits = 2) =>
  x === null || x === undefined ? "–" : x.toFixed(digits).replace(/^-(0\.?0*)$/, "$1");

// Three digits, fewer for small numbers, as 0.981, 0.018 and 4.3e-5.
function short(x) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e4 || size < 1e-3) return x.toExponential(1);
  return String(+x.toPrecision(size < 0.1 ? 2 : 3));
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
document.getElementById("theme").addEventListener("click", () =>
  theme(!document.documentElement.classList.contains("dark")));
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
