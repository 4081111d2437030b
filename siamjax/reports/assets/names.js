// Conditions as icons, and names that are short enough to be shown and still differ.

// Conditions: {name, colour, shape, novel}; what is not in the list is grey.
const conditions = new Map(data.conditions.map((c) => [c.name, c]));
const look = (name) =>
  conditions.get(name) || { name, colour: "#8c8c8c", shape: "circle", novel: false };

// Gives name -> a text of at most `most` characters, another one for each of the names.
// The middle is left out; where that is all in which names differ, it is shown.
function namer(names, most) {
  const cut = (name) => {
    const letters = [...name];
    if (letters.length <= most) return name;
    const start = Math.ceil((most - 1) / 2);
    return letters.slice(0, start).join("") + "…" + letters.slice(start + 1 - most).join("");
  };
  const alike = new Map();
  for (const name of new Set(names)) alike.set(cut(name), [...(alike.get(cut(name)) || []), name]);
  const labels = new Map();
  for (const [label, group] of alike) {
    if (group.length === 1) labels.set(group[0], label);
    else unlike(group, most).forEach((text, i) => labels.set(group[i], text));
  }
  return (name) => labels.get(name) ?? cut(name);
}

// For names that begin alike: the beginning, from where they differ, and their number.
function unlike(names, most) {
  const start = Math.floor(most / 3);
  let same = 0;
  while (names.every((name) => name[same] === names[0][same])) same++;
  const rest = (name) => name.slice(same, same + most - start - 6);
  return names.map((name, i) => `${name.slice(0, start)}…${rest(name)}… ${i + 1}`);
}

const conditionLabel = namer(conditions.keys(), 40);

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
  return el("span", { class: "key", title: name }, icon(name), el("span", {}, conditionLabel(name)));
}
