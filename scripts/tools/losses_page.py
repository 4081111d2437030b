"""Writes the pages of docs/losses from docstrings and from measured figures.

  python -m scripts.tools.losses_page docs/losses

Each loss is measured as `siamjax.losses.check` does: memory of value and gradient at
B = 4096, and its value and gradient for rows that are equal or nearly equal. Times are
those that `scripts/benchmarks/losses.py` wrote into docs.
"""

import argparse
import csv
import inspect
import itertools
import pathlib
import re
import statistics
import textwrap

import jax
import numpy as np

from siamjax import losses
from siamjax.losses import (
    LOSSES,
    check,
    edge_cases,
    guard,
    measurements,
    registry,
    search,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]

GROUPS = {
    "pairs": "Pairs",
    "triplets": "Triplets",
    "lossless_triplet": "Triplets",
    "dynamic_triplet": "Triplets",
    "view_pairs": "Two views",
    "softmax": "Softmax over rows",
    "softmax_variants": "Softmax over rows",
    "graded": "Graded pairs",
    "spread": "Spread over the sphere",
    "weighted_pairs": "Weighted pairs",
    "ranking": "Rankings and distributions",
    "rank_surrogates": "Rankings and distributions",
    "learnt_pairs": "With a few weights",
    "proxies": "Proxies",
    "classifiers": "Classifiers",
    "adaptive_margins": "Classifiers",
    "learnt_points": "With learnt points",
    "regularisers": "Regularisers",
    "wrappers": "Around another loss",
}
HEAD = """\
# The losses

*Written by `python -m scripts.tools.losses_page docs/losses`, from the docstrings
and from what the proof grid measures. Do not edit.*

Every loss is a function of embeddings `[B, E]` and labels `[B]`, or makes a pair
`init, apply` where it has weights. In a config or on the command line it is one text:

```
--config.heads.match.loss=triplet:margin=0.2,mining=hard
--config.heads.match.loss="multi_similarity+0.1*koleo"
--config.heads.match.loss=my_module.my_loss:beta=3
```

{number} losses; each went through `python -m siamjax.losses.check NAME`: the paper as
plain loops in float64 on unsorted, unbalanced labels; finite differences; {batches}
batches that break losses (duplicates, one class, one row, all equal, a zero row, rows
equal to a proxy, sizes from 1e-12 to 1e15, a row of NaN); rows masked by `where` equal
to rows left out; float32 within 1e-5 of float64; batches of 0, 1 and 2 rows; bfloat16
and float16 embeddings, which are computed in float32. A loss with a memory takes steps
on its own state until all that it remembers was written over; one that draws at random
is compared in the mean over 400 keys. Where pytorch-metric-learning 2.9
has the loss, values and gradients are compared with it
([tests/test_losses_oracle.py](../../tests/test_losses_oracle.py)).

## What is not finite, and what is out of range

A row that counts and holds a NaN or an infinity makes the value of every loss NaN, and
so do weights that are not finite. What a loss remembers (`memory`, `center`) then stays
as it was. A row that `where` leaves out may hold anything. `losses.health` counts the
rows that are not finite (`not_finite`, logged for each head), and its other numbers are
those of the finite rows, NaN if there are none. Finite embeddings give no NaN, value or
gradient: where their squares overflow (from about 1e18 on) the value is held at a bound
or is inf. (The `original` form of `lossless` alone is NaN outside its domain.)

An index of `pairs`, `triplets` or `References.anchor_rows` that is no row is refused,
and makes the value NaN where it is traced; -1 is padding, and an anchor paired with
itself does not count. `References` need `anchor_rows`, for each anchor its row among
them: -1 if no anchor is among them, `jnp.arange(B)` if they are the batch. Labels
beyond 32 bits are refused. `jax.jit` cuts its own arguments to 32 bits before any check
can see them: number the classes 0, 1, 2, ... before. A loss with weights for each class
refuses a label of a row that counts that is none of its classes; a traced one makes the
value NaN. `where` is a mask of bools, or of 0 and 1; other numbers do the same.

## Derivatives

Every loss has derivatives of every order, forwards and backwards. The Hessian times a
direction, by all four orders of `jax.jvp` and `jax.grad`, agrees with differences of
the gradient in float64, and is finite where rows are equal or 0. Some hold a part
constant, as their papers do (weights, targets, remembered rows, running means); the
table names them, and their Hessian is that of what they do not hold. Only `contextual`,
its rows divided over the devices of a mesh, has no `jax.jvp`. A number among the
settings, such as a margin, may be traced and has a gradient; what decides the program
(a size, a text) may not, and the error says so. With gathered references the losses
work in `jax.shard_map` as it is, without `check_vma=False`.

## At a glance

*Paper* is the first source of the formula; the page of a family has all. *Work* is that
of value and gradient: B rows, P positives of a row, C classes, E dimensions.
*Derivatives* says where a part is held constant. *Oracle*: the paper's sum
as loops in float64, and values and gradients of pytorch-metric-learning. *Memory* is
temporary, by XLA's account at B = 4096, E = 128, in floats of B x B. *Equal* is the
value where all rows are one point; *push* the norm of the gradient there, and where all
lie 0.001 about one point (12 rows of 4 classes). A loss with push 0 at equal rows
cannot leave a collapse that is perfect; one with a large push near it does not get
there.

{table}
"""
WORK = {
    "triplet": "B² (E + log B)",
    "margin": "B² E",
    "angular": "B² P E",
    **dict.fromkeys(("smooth_ap", "recall_at_k", "sup_ap", "roadmap", "pnp"), "B² P"),
    "contextual": "B³",
    "gist": "pairs² E",
    "anti_collapse": "B E²",
    "potential_field": "(B + C)² E",
    "manifold": "(B + K)³",
    "softmax_classifier": "B C E",
    "ring": "B E",
    "regular_weights": "B C E",
    "fastap": "B² bins",
    "histogram": "B²",
    "npairs": "pairs² E",
    "infonce": "pairs² E",
    "covariance": "B E²",
    "vicreg": "pairs E²",
    "barlow_twins": "pairs E²",
    "memory": "B R E",
    **dict.fromkeys(
        ("variance", "zero_mean", "embedding_norm", "saturation", "center"), "B E"
    ),
}
PROXIES = ("proxies", "classifiers", "adaptive_margins")
# Distances are B² E each, and of most losses all there is.
USUAL = "B² E"
TAIL = """
## Reductions

{reductions}

## Distances

`distance=` takes `euclidean`, `squared`, `manhattan`, `l1`, `l1.5`, `l3`, `linf` ...,
`snr`, `geodesic` (the angle in radians), `poincare` (hyperbolic; rows are tangent
vectors at the origin), where small means alike, and the similarities `cosine` and
`dot`, where large means alike. A margin that no value of the distance can keep or break
is refused, as are limits the wrong way round. On a CPU Euclid's distance is computed in
float64 about a common centre, elsewhere from the differences: near duplicates and rows
far from the origin keep their digits, and equal rows are exactly 0 apart, with gradient
0.

## Mining

`mining=` of `triplet` and `margin`, `mined:by=...` around any pair loss. All are masks
of static shape; an anchor that misses a side gives nothing. `losses.health` says
beside every loss how many triplets there are, which share is active or semi-hard, the
two means, and the distances that hard mining takes.

## Speed

Value and gradient on one core of a machine with 2 cores and no GPU that had other work
at the time, E = 16, against pytorch-metric-learning 2.9. The two frameworks take turns
on the core, and of all turns the least time counts. A side that would take more than
60 s or 12 GB, as it grew from the sizes before, is left out. Measured by

```
python -m scripts.benchmarks.losses --out docs/bench_losses
```

After that run `proxy_nca` and `normalized_softmax` were made faster: with 8 rows of
each class and B = 4096 they are 4.3 and 1.4 times as fast as in
pytorch-metric-learning, by a run of these two (0.53 and 0.71 in the tables). Losses
that came later are not in the tables.

{speed}

## Where others go wrong

Each line has a test by its number (`pytest -k p4`).

{pitfalls}
"""
PITFALLS = {
    1: "Duplicates give NaN gradients (tuplet margin, ArcFace on its own centre), a "
    "crash (histogram) or inf (signal-to-noise) in pytorch-metric-learning 2.9.",
    2: "Nothing to learn from gives NaN in optax's `ntxent`, NCA there, semi-hard in "
    "TensorFlow Addons; here exactly 0, with gradient 0.",
    3: "Phantom partners: batch-hard that masks by multiplying gives an anchor without "
    "a positive a hardest positive at distance 0.",
    4: "Low temperatures: NT-Xent there loses a violated pair at 0.01 (44.0 for "
    "100.3); optax has a NaN gradient at 0.001. Here down to 1e-4 as the float64 "
    "sum.",
    5: "Queries against a gallery: the swap there reads the wrong distances (0.71 for "
    "0.76). Here every loss that takes references equals the brute force.",
    6: "Layouts: SmoothAP there is right only for as many classes as rows in each "
    "(0.29 for 0.36 at 4 x 2).",
    7: "State kept across steps: here an input and an output.",
    8: "Devices: 1 and 8 give the same value and gradients.",
    9: "Distances by matrix product: rows near 100 and 0.01 apart are off by a factor "
    "there.",
    10: "`log(1 + exp(x))` is inf at 100 in float32.",
    11: "Half precision: constants and squares that overflow.",
    12: "Masks that multiply keep NaN where a row is left out; maxima and bounds lose "
    "it where a row counts.",
    13: "Norms without an absolute value (optax's triplet at p = 3 is NaN); p < 1.",
    14: "The lossless triplet as published: NaN outside the cube, gradient 7e7 in the "
    "opposite corner.",
    15: "A collapse looks like convergence: `health` flags it.",
    16: "The mean over active terms hides progress: `health` gives both and the share.",
    17: "Memory of triplets: index lists take 5 GB at B = 1024 there.",
    18: "Similarities with margins of distances.",
    19: "Silent defaults: all settings are printed, and saved with the checkpoint and "
    "in results.json.",
    21: "Labels as floats merge above 2^24, as int64 above 2^32 under jit: refused.",
    25: "A memory that passes its end.",
    26: "What semi-hard means: D(a, p) < D(a, n) < D(a, p) + margin.",
}


# Of `scripts/benchmarks/losses.py`.
LAYOUTS = {"8_classes": "8 classes", "8_per_class": "8 rows of each class"}
ALL_TRIPLETS = "triplet:margin=0.2"


def write_pages(folder):
    """index.md with what holds for all losses, and a page for each family."""
    for name, text in family_pages().items():
        (folder / name).write_text(text)
    measured = {}
    for name in LOSSES:
        measured[name] = figures(name)
        print(name, *measured[name], flush=True)
    (folder / "index.md").write_text(index_page(measured))


def family_pages():
    """File name -> text of the page of each family of losses."""
    families = {}
    for name, function in LOSSES.items():
        families.setdefault(family_of(function), []).append(section(name, function))
    return {
        file_name(family): f"# {family}\n\n[All losses](index.md)\n\n"
        + "\n".join(parts)
        for family, parts in families.items()
    }


def index_page(measured):
    """The text of index.md; `measured` has the `figures` of each loss."""
    rows = []
    for name, function in LOSSES.items():
        link = f"[`{name}`]({file_name(family_of(function))}#{anchor(name)})"
        module = function.__module__.rpartition(".")[2]
        about = [paper(function), work(name, module), *proofs(name)]
        rows.append([link, *about, *measured[name]])
    head = ["loss", "paper", "work", "derivatives", "oracle", "memory", "equal"]
    head += ["push at 0", "push at 0.001"]
    batches = edge_cases.all_batches(proxies=np.ones((1, 4)))
    reductions = inspect.getdoc(losses.reductions).partition("\n\n")[2]
    text = HEAD.format(
        number=len(LOSSES), table=table(head, rows, numbers=4), batches=len(batches)
    )
    return text + TAIL.format(
        reductions=reductions,
        pitfalls="\n".join(f"- **P{n}** {text}" for n, text in PITFALLS.items()),
        speed="\n\n".join(speed(*layout) for layout in LAYOUTS.items()),
    )


def family_of(function):
    return GROUPS[function.__module__.rpartition(".")[2]]


def file_name(family):
    return f"{family.lower().replace(' ', '_')}.md"


def speed(layout, words):
    """Times with one layout of classes, by size of the batch, and their plot."""
    name = f"bench_losses_{layout}"
    with open(ROOT / "docs" / f"{name}.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["batch"]))
    lines = []
    for batch, group in itertools.groupby(rows, lambda row: row["batch"]):
        by_loss = {row["loss"]: row for row in group}
        ratios = {loss: float(row["ratio"]) for loss, row in by_loss.items()}
        ratios = {loss: ratio for loss, ratio in ratios.items() if ratio == ratio}
        median = f"{statistics.median(ratios.values()):.1f}"
        triplets_ms = f"{float(by_loss[ALL_TRIPLETS]['siamjax_ms']):.3g}"
        faster = f"{ratios[ALL_TRIPLETS]:.0f}" if ALL_TRIPLETS in ratios else "–"
        cells = [median, *least(ratios), triplets_ms, faster]
        lines.append([batch, str(len(ratios)), *cells])
    head = ["B", "losses in both", "median of times faster", "least", "of"]
    head += ["all triplets, ms", "times faster"]
    return f"""### {words} in a batch

{table(head, lines, numbers=len(head))}

![Times faster, by loss and size of the batch](../{name}.png)

All numbers: [table](../{name}.md), [CSV](../{name}.csv)."""


def least(ratios):
    loss = min(ratios, key=ratios.get)
    return f"{ratios[loss]:.2f}", f"`{loss}`"


def anchor(name):
    return name.lower()


def paper(function):
    """The first source that a docstring names, up to its year, without remarks."""
    source = one_line(inspect.getdoc(function).partition("\nReference:")[2])
    source = re.sub(r" \([^)]*\)", "", source)
    return re.match(r".*?\b(?:19|20)\d\d|[^.]*", source)[0]


def work(name, module):
    return WORK.get(name, "B C E" if module in PROXIES else USUAL)


def proofs(name):
    """Which derivatives a loss has, and what its values are compared with."""
    stored = np.load(ROOT / "tests/oracle_values.npz").files
    in_peer = {key.split("/")[1].partition(":")[0] for key in stored if "/" in key}
    held = "all, a part is held" if name in check.HELD else "all"
    return held, "loops, PML" if name in in_peer else "loops"


def figures(name):
    """Memory in B² floats, value at equal rows, push at 0 and at a spread of 0.001."""
    loss = registry.resolve("memory:size=4096" if name == "memory" else name)
    run, _ = measurements.compile_loss(loss, 4096, dim=128, classes=8)
    cube = name in measurements.CUBE
    given = edge_cases.all_batches(cube=cube)
    given = [given[place] for place in ("all equal", "collapse 0.001")]
    state = loss.init(jax.random.key(0), edge_cases.CLASSES, edge_cases.E)
    stacked = edge_cases.stack(given)
    stacked = stacked._replace(x=np.float32(stacked.x))
    evaluate = jax.jit(
        jax.vmap(lambda batch: measurements.evaluate(loss, state, batch))
    )
    value, (slope, _) = evaluate(stacked)
    held = measurements.temporary_bytes(run) / (4 * 4096**2)
    push = np.linalg.norm(slope, axis=(1, 2))
    return [f"{held:.1f}", *(f"{v:.3g}" for v in (value[0], *push))]


def table(head, rows, numbers=0):
    """Markdown; the last columns hold numbers."""
    rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section(name, function):
    """The section of a loss: its docstring as Markdown, and a table of its settings."""
    lines = inspect.getdoc(function)
    lines, _, reference = lines.partition("\nReference:")
    lines, _, raised = lines.partition("\nRaises:")
    lines, _, value = lines.partition("\nReturns:")
    text, _, arguments = lines.partition("\nArgs:")
    parts = [f"## {name}\n", markdown(text), f"*Data*: {data_arguments(name)}\n"]
    settings = registry.resolve(name).hyper
    if settings:
        said = described(arguments)
        ranges = search.space(name)
        rows = [
            [f"`{key}`", f"`{default}`", said.get(key, ""), spread(ranges.get(key))]
            for key, default in settings.items()
        ]
        rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        parts.append(table(["setting", "default", "", "searched"], rows) + "\n")
    why = guard.why_no_reduction(function)
    if why:
        parts.append(f"*No `reduce`*: {why}.\n")
    parts.append(f"*Value*: {one_line(value)}\n")
    if raised:
        parts.append(f"*Errors*: {one_line(raised)}\n")
    if reference:
        parts.append(f"*From*: {one_line(reference)}\n")
    return "\n".join(parts)


def data_arguments(name):
    uses = registry.resolve(name).uses
    names = ["embeddings", "labels", *(d for d in registry.DATA if d in uses)]
    return ", ".join(f"`{argument}`" for argument in names)


def markdown(text):
    """The indented lines of a docstring as blocks of code."""
    blocks, code = [], False
    for line in text.strip("\n").splitlines():
        indented = line.startswith("  ")
        if line and indented != code:
            gap = [] if code or not blocks or not blocks[-1] else [""]
            blocks += ["```", ""] if code else [*gap, "```"]
            code = indented
        if line or not blocks or blocks[-1]:
            blocks.append(line.removeprefix("  "))
    text = "\n".join(blocks + ["```"] * code) + "\n"
    return text.replace("\n\n```\n\n", "\n```\n\n")


def described(arguments):
    """Name -> what the docstring says of it; some share a line."""
    descriptions, names = {}, []
    for line in textwrap.dedent(arguments.strip("\n")).splitlines():
        if line.startswith(" "):
            for name in names:
                descriptions[name] += " " + line.strip()
        elif ":" in line:
            left, _, right = line.partition(":")
            names = [name.strip() for name in left.split(",")]
            descriptions |= dict.fromkeys(names, right.strip())
    return descriptions


def spread(values):
    if isinstance(values, search.Range):
        return f"{values.low:g} to {values.high:g}" + (", log" if values.log else "")
    return ", ".join(map(str, values)) if values else ""


def one_line(text):
    return " ".join(text.split())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="where the pages go")
    write_pages(parser.parse_args().folder)


if __name__ == "__main__":
    main()
