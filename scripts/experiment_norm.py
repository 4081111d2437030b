"""Each cause of a gap against each cure, and how often an audit names the cause.

    python scripts/experiment_norm.py --workdir=runs/norm
    python scripts/experiment_norm.py --workdir=runs/norm --data=testbed \
        --dir=runs/testbed --seeds=6

Small encoders, each made to suffer from one cause, on the packaged generator (sessions
of different level and gain) or on recorded data (norm_sets.py). The same weights are
then read with each kind of statistics: paired gap, loss and one-shot recall on sessions
that training never saw. What is done is not done again; --table only prints.
"""

import json
import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from siamjax import cli

_WORKDIR = flags.DEFINE_string("workdir", "runs/norm", "Where results are kept.")
_DATA = flags.DEFINE_enum(
    "data", "generator", ["generator", "testbed", "vowels", "kddi"], "Trained on."
)
_DIR = flags.DEFINE_string("dir", "", "The prepared data set, where data is recorded.")
_SEEDS = flags.DEFINE_integer("seeds", 20, "Encoders of each kind.")
_PLANTS = flags.DEFINE_list("plants", [], "Of those of the data; all by default.")
_TABLE = flags.DEFINE_bool("table", False, "Only print what is there.")
_OUT = flags.DEFINE_string("out", "", "Also draw gap and recall: PNG.")

TOGETHER = 10  # seeds in one program
CURED = 6  # seeds whose cures are judged on new sessions too
# Statistics that prediction can have on a new session.
CURES = ("moving", "debiased", "precise", "pooled", "per-session")


def main(argv):
    cli.no_arguments(argv)
    names = _PLANTS.value or plants()
    path = pathlib.Path(_WORKDIR.value) / f"{_DATA.value}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    for first in range(0, 0 if _TABLE.value else _SEEDS.value, TOGETHER):
        for name in names:
            done = {(row["plant"], row["seed"]) for row in read(path)}
            seeds = range(first, min(first + TOGETHER, _SEEDS.value))
            seeds = [seed for seed in seeds if (name, seed) not in done]
            if seeds:
                with path.open("a") as file:
                    for row in rows(name, seeds):
                        file.write(json.dumps(row) + "\n")
                print(f"{name}: seeds {seeds[0]} to {seeds[-1]}", flush=True)
    found = [row for row in read(path) if row["plant"] in names]
    found.sort(key=lambda row: (names.index(row["plant"]), row["seed"]))
    print("\n".join((*diagnoses(found), "", *cures(found))))
    if _OUT.value:
        draw(found, _OUT.value)


def plants():
    """Names of what can be trained on the data."""
    import norm_sets

    from siamjax.auditing import planted

    if _DATA.value == "generator":
        return list(planted.PLANTS)
    return [
        name for name in norm_sets.ARMS if name not in norm_sets.CANNOT[_DATA.value]
    ]


def rows(name, seeds):
    """One row of results for each seed."""
    import norm_sets

    from siamjax.auditing import examine, statistics, verdict

    if _DATA.value == "generator":
        each = norm_sets.generator(name, seeds)
    else:
        each = norm_sets.recorded(_DATA.value, _DIR.value, name, seeds)
    for seed, (subject, batches, new) in zip(seeds, each):
        gaps = examine.gaps(subject, batches)
        made = statistics.candidates(subject, batches)
        yield dict(
            plant=name,
            seed=seed,
            cause=verdict.decide(subject.norm, gaps).cause,
            train_loss=gaps["moving"].train_loss,
            low=gaps["moving"].low,
            gaps={key: gap.share for key, gap in gaps.items()},
            new={
                key: norm_sets.judge(subject, new, made[key].final, key)
                for key in CURES
                if key in gaps and seed < CURED
            },
        )


def diagnoses(found):
    """How often each plant was given each verdict."""
    yield "planted      seeds  verdicts"
    for plant in dict.fromkeys(row["plant"] for row in found):
        causes = [row["cause"] for row in found if row["plant"] == plant]
        count = ", ".join(f"{c} {causes.count(c)}" for c in dict.fromkeys(causes))
        yield f"{plant:12s} {len(causes):5d}  {count}"


def cures(found):
    """Means over seeds with 95 % intervals of the difference to what predictions read.

    The gap's interval is its own; that of loss and recall is of the paired difference.
    """
    yield (
        "planted      statistics   gap                  loss, new sessions    "
        "recall, seen          recall, unseen"
    )
    for plant in dict.fromkeys(row["plant"] for row in found):
        of = [row for row in found if row["plant"] == plant and row["new"]]
        for name in of[0]["gaps"]:
            cells = [_with_interval([row["gaps"][name] for row in of])]
            for key in ("loss", "seen", "unseen") if name in of[0]["new"] else ():
                values = [row["new"][name][key] for row in of]
                own = [row["new"]["moving"][key] for row in of]
                cells.append(_against(values, own, name == "moving"))
            yield f"{plant:12s} {name:12s} " + " ".join(f"{c:21s}" for c in cells)


def draw(found, path):
    """Gap and recall of each plant with each statistics of a new session."""
    import numpy as np

    from siamjax.reports import drawing

    drawn = drawing.figure(9.6, 3.0)
    plants = [p for p in dict.fromkeys(row["plant"] for row in found) if p != "none"]
    shades = ("#d62728", "#9ecae1", "#6baed6", "#3182bd", "#2ca02c")
    panels = drawn.subplots(1, 2)
    for axes, kind in zip(panels, ("gap", "seen")):
        for i, (name, colour) in enumerate(zip(CURES, shades)):
            for x, plant in enumerate(plants):
                of = [row for row in found if row["plant"] == plant and row["new"]]
                values = [
                    row["gaps"][name] if kind == "gap" else row["new"][name][kind]
                    for row in of
                ]
                at, (mean, half) = x + 0.16 * (i - 2), _mean(values)
                label = name if x == 0 and kind == "gap" else None
                axes.bar(at, mean, width=0.15, color=colour, label=label)
                axes.plot(
                    [at, at], [mean - half, mean + half], color=drawing.INK, lw=0.8
                )
        axes.set_xticks(np.arange(len(plants)), plants)
        axes.tick_params(labelsize=8, length=0, labelcolor=drawing.INK)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(drawing.LINE)
        axes.grid(axis="y", color=drawing.LINE, linewidth=0.5)
        axes.set_axisbelow(True)
    for axes, title in zip(
        panels,
        (
            "gap; 0: none, 1: chance",
            "one-shot recall, conditions of training, new sessions",
        ),
    ):
        axes.set_title(title, fontsize=9, color=drawing.INK, loc="left")
    drawn.legend(
        loc="upper center", ncols=len(CURES), frameon=False, fontsize=8.5,
        bbox_to_anchor=(0.5, 1.09), labelcolor=drawing.INK,
    )  # fmt: skip
    drawn.tight_layout()
    drawing.as_text(drawn)
    drawn.savefig(path, dpi=160, bbox_inches="tight")


def _with_interval(values):
    mean, half = _mean(values)
    return f"{mean:.2f} ± {half:.2f}"


def _against(values, own, itself):
    mean, _ = _mean(values)
    if itself:
        return f"{mean:.3f}"
    apart, half = _mean([a - b for a, b in zip(values, own)])
    return f"{mean:.3f} ({apart:+.2f} ± {half:.2f})"


def _mean(values):
    import numpy as np
    from scipy import stats

    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5 if n > 1 else 0
    return float(np.mean(values)), float(half)


def read(path):
    """The rows of a file of JSON lines."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    cli.run(main)
