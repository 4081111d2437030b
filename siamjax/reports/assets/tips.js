// The tooltip, and the words of `TERMS` that have one.
const tip = document.getElementById("tip");

// Shows text below a place of the window, or above where there is no room; "": none.
function showTip({ clientX, clientY }, text) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  const left = Math.min(clientX + 14, innerWidth - box.width - 8);
  const below = clientY + 16 + box.height < innerHeight;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (below ? clientY + 16 : clientY - box.height - 12) + "px";
}

const hideTip = () => showTip({}, "");

// A node that shows text where the pointer is, or below itself when it has the focus.
function tipped(node, text) {
  node.addEventListener("pointermove", (event) => showTip(event, text));
  node.addEventListener("pointerleave", hideTip);
  node.addEventListener("focus", () => {
    const { left, bottom } = node.getBoundingClientRect();
    showTip({ clientX: left - 14, clientY: bottom - 10 }, text);
  });
  node.addEventListener("blur", hideTip);
  return node;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});

const TERM = new RegExp(`(?<![\\w-])(${Object.keys(TERMS).join("|")})(?:s|es)?(?![\\w-])`, "i");
const MEANING = new Map(Object.entries(TERMS).map(([term, text]) => [term.toLowerCase(), text]));

// The meaning of the first term of a text; undefined where it has none.
function meaning(text) {
  const match = TERM.exec(text);
  return match ? MEANING.get(match[1].toLowerCase()) : undefined;
}

// Text as nodes. The first time that a term occurs, pointer and keyboard reach its meaning.
function hinted(text, explained = new Set()) {
  const nodes = [];
  let rest = text;
  for (let match = TERM.exec(rest); match; match = TERM.exec(rest)) {
    const [word, term] = match, about = MEANING.get(term.toLowerCase());
    nodes.push(rest.slice(0, match.index));
    rest = rest.slice(match.index + word.length);
    nodes.push(explained.has(about) ? word
      : tipped(el("abbr", { tabindex: 0, "aria-describedby": "tip" }, word), about));
    explained.add(about);
  }
  return [...nodes, rest];
}
