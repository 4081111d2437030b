// Puts the parts together, as far as there is data for them.
function flat(tree, prefix = "") {
  return Object.entries(tree).flatMap(([name, value]) =>
    value && typeof value === "object" && !Array.isArray(value)
      ? flat(value, prefix + name + ".")
      : [[prefix + name, JSON.stringify(value)]]);
}

function about() {
  const root = section("about", "Config and provenance", "");
  const rows = (pairs) => pairs.map(([name, value]) => el("tr", {}, el("td", {}, name), el("td", { class: "long" }, value)));
  const facts = Object.entries(data.facts || {}).map(([name, value]) => [name, String(value)]);
  if (facts.length) root.append(el("div", { class: "scroll" }, el("table", {}, ...rows(facts))));
  root.append(el("details", {}, el("summary", {}, "all fields of the config"),
    el("div", { class: "scroll" }, el("table", {}, ...rows(flat(data.config))))));
  if (data.results_text) root.append(el("details", {}, el("summary", {}, "results as text"), el("pre", {}, data.results_text)));
}

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
if (data.trace) cube();
if (data.curves) curves();
if (data.results) results();
if (data.timelines) timelines();
if (data.pictures) traffic();
if (data.config) about();
if (data.follow) {
  scrollTo(0, memory.get("scroll", 0));
  setTimeout(() => {
    memory.set("scroll", scrollY);
    location.reload();
  }, 1000 * data.follow);
}
