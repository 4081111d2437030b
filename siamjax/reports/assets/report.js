// The page of one run: its parts, as far as there is data for them.
function flat(tree, prefix = "") {
  return Object.entries(tree).flatMap(([name, value]) =>
    value && typeof value === "object" && !Array.isArray(value)
      ? flat(value, prefix + name + ".")
      : [[prefix + name, JSON.stringify(value)]]);
}

function about() {
  const root = section("about", "Config and provenance", "");
  const rows = (pairs) => pairs.map(([name, value]) =>
    el("tr", {}, el("td", { class: "text" }, name), el("td", { class: "long" }, value)));
  const facts = Object.entries(data.facts || {}).map(([name, value]) => [name, String(value)]);
  if (facts.length) root.append(scrolling(el("table", {}, ...rows(facts))));
  root.append(el("details", {}, el("summary", {}, "all fields of the config"),
    scrolling(el("table", {}, ...rows(flat(data.config))))));
  if (data.results_text)
    root.append(el("details", {}, el("summary", {}, "results as text"), el("pre", {}, data.results_text)));
}

if (data.trace)
  cube([{ trace: data.trace }], "Windows of traffic as points",
    "Each point is a window of a capture, as the view head sees it. Point at one for its origin " +
    "and its way through training. Drag to turn the cube; click it, and the wheel zooms. " +
    "Keys: arrows, + and -.",
    data.results && data.results.step);
if (data.curves) curves();
if (data.results) results();
if (data.out_of_fold)
  identification(data.out_of_fold, "out-of-fold", "Captures named out of fold",
    "What identify says of captures that were not trained on: each fold run judges those of its " +
    "fold, with its own examples and the rule of the run on all captures.");
if (data.timelines) timelines();
if (data.reasons) reasons();
if (data.pictures) traffic();
if (data.config) about();
