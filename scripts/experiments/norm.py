"""Each cause of a gap against each cure, and how often an audit names the cause.

    python -m scripts.experiments.norm --workdir=runs/norm
    python -m scripts.experiments.norm --workdir=runs/norm --data=testbed \
        --dir=runs/testbed --seeds=6

Trains small encoders that each have one cause of a gap, on the packaged generator
(sessions of different level and gain) or on recorded data (norm_sets.py). The same
weights are then judged with each kind of statistics: paired gap, loss and one-shot
recall on sessions that training never saw. Seeds that are done are not run again;
--table only prints.
"""

import json
import pathlib

from absl import flags

from siamjax import cli

TOGETHER = 10  # seeds in one program
CURED = 6  # seeds whose cures are judged on new sessions too
# Statistics that prediction can have on a new session.
CURES = ("moving", "debiased", "precise", "pooled", "per-session")
# Those that are shown for encoders without a gap.
SOUND = {"moving", "per-session"}
# Each cause, and the encoder that is trained without it on the same data.
CAUSES = dict(lag="", session="mixed", branch="one_pass", lost="")
TITLES = dict(
    generator="generator", testbed="test bed", vowels="JapaneseVowels", kddi="KDDI"
)
SHADES = {
    "as trained": "#d62728",
    "debiased": "#c6dbef",
    "precise": "#6baed6",
    "pooled": "#2171b5",
    "per-session": "#2ca02c",
    "trained again": "#525252",
}

_WORKDIR = flags.DEFINE_string("workdir", "runs/norm", "Where results are kept.")
_DATA = flags.DEFINE_enum("data", "generator", list(TITLES), "Trained on.")
_DIR = flags.DEFINE_string("dir", "", "The prepared data set, where data is recorded.")
_SEEDS = flags.DEFINE_integer("seeds", 20, "Encoders of each kind.")
_PLANTS = flags.DEFINE_list("plants", [], "Of those of the data; all by default.")
_TABLE = flags.DEFINE_bool("table", False, "Only print what is there.")
_OUT = flags.DEFINE_string("out", "", "Also draw all data that is there: PNG.")


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
    kept = [row for row in read(path) if row["plant"] in names]
    kept.sort(key=lambda row: (names.index(row["plant"]), row["seed"]))
    print("\n".join((*diagnoses(kept), "", *cures(kept))))
    if _OUT.value:
        draw(path.parent, _OUT.value)


def plants():
    """Names of the encoders that can be trained on the data."""
    from scripts.experiments import norm_sets, planted

    if _DATA.value == "generator":
        return list(planted.PLANTS)
    return [
        name for name in norm_sets.ARMS if name not in norm_sets.CANNOT[_DATA.value]
    ]


def rows(name, seeds):
    """One row of results for each seed."""
    from scripts.experiments import norm_sets
    from siamjax.auditing import report, statistics, verdict

    if _DATA.value == "generator":
        encoders = norm_sets.generator(name, seeds)
    else:
        encoders = norm_sets.recorded(_DATA.value, _DIR.value, name, seeds)
    for seed, (subject, batches, new) in zip(seeds, encoders):
        gaps = report.measure_gaps(subject, batches)
        candidates = statistics.candidates(subject, batches)
        yield dict(
            plant=name,
            seed=seed,
            cause=verdict.decide(subject.norm, gaps).cause,
            train_loss=gaps["moving"].train_loss,
            low=gaps["moving"].low,
            gaps={key: gap.share for key, gap in gaps.items()},
            new={
                key: norm_sets.judge(subject, new, candidates[key].final, key)
                for key in CURES
                if key in gaps
                and seed < CURED
                and (subject.norm != "session" or key == "moving")
            },
        )


def diagnoses(rows):
    """How often each plant was given each verdict, and how large the gaps were."""
    yield "| planted | seeds | verdicts | gap, least to largest |\n|---|---|---|---|"
    for plant in dict.fromkeys(row["plant"] for row in rows):
        members = [row for row in rows if row["plant"] == plant]
        causes, gaps = zip(*((row["cause"], row["gaps"]["moving"]) for row in members))
        count = ", ".join(f"{c} {causes.count(c)}" for c in dict.fromkeys(causes))
        apart = f"{min(gaps):z.3f} to {max(gaps):z.3f}"
        yield f"| {plant} | {len(members)} | {count} | {apart} |"


def cures(rows):
    """Lines of a table: means over seeds with intervals of 95 %.

    The interval of the gap is that of its mean. The interval of loss and recall is that
    of the difference, in pairs, to the statistics that predictions use.
    """
    yield (
        "| planted | statistics | gap | loss, new sessions | recall, seen conditions | "
        "recall, unseen conditions |\n|---|---|---|---|---|---|"
    )
    judged = [row for row in rows if row["new"]]
    for plant in dict.fromkeys(row["plant"] for row in judged):
        members = [row for row in judged if row["plant"] == plant]
        first = members[0]
        names = first["gaps"] if plant in CAUSES else first["new"].keys() & SOUND
        for name in sorted(names, key=list(first["gaps"]).index):
            yield _line(plant, name, members, members, name)
        again = [row for row in judged if row["plant"] == CAUSES.get(plant)]
        if again:
            yield _line(
                plant, f"trained again: {CAUSES[plant]}", again, members, "moving"
            )


def _line(plant, label, rows, as_trained, name):
    """A line of the table: rows with statistics `name` against those `as_trained`."""
    cells = [_with_interval([row["gaps"][name] for row in rows])]
    for key in ("loss", "seen", "unseen"):
        if name not in rows[0]["new"]:
            cells.append("")
            continue
        values, before = (
            [row["new"][kind][key] for row in members]
            for members, kind in ((rows, name), (as_trained, "moving"))
        )
        cells.append(_against(values, before, label == "moving"))
    return f"| {' | '.join((plant, label, *cells))} |"


def draw(folder, path):
    """Gap and recall of each cause with each statistics, of all data that is there."""
    from siamjax.reports import drawing

    sets = {name: read(folder / f"{name}.jsonl") for name in TITLES}
    sets = {name: rows for name, rows in sets.items() if rows}
    drawn = drawing.make_figure(2.6 * len(sets), 4.4)
    panels = drawn.subplots(2, len(sets), sharey="row", squeeze=False)
    for column, (name, rows) in zip(panels.T, sets.items()):
        causes = [c for c in CAUSES if any(row["plant"] == c for row in rows)]
        for axes, kind in zip(column, ("gap", "seen")):
            _bars(axes, rows, causes, kind)
            axes.set_xticks(range(len(causes)), causes)
            axes.tick_params(labelsize=8, length=0, labelcolor=drawing.INK)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.spines["bottom"].set_color(drawing.LINE)
            axes.grid(axis="y", color=drawing.LINE, linewidth=0.5)
            axes.set_axisbelow(True)
        column[0].set_title(TITLES[name], fontsize=9, color=drawing.INK, loc="left")
    for axes, label in zip(
        panels[:, 0],
        ("gap; 0: none, 1: chance", "one-shot recall, new\nsessions, known conditions"),
    ):
        axes.set_ylabel(label, fontsize=8, color=drawing.INK)
    squares = [panels[0, 0].bar(0, 0, color=colour) for colour in SHADES.values()]
    drawn.legend(
        squares,
        list(SHADES),
        loc="upper center",
        ncols=len(SHADES),
        frameon=False,
        fontsize=8.5,
        bbox_to_anchor=(0.5, 1.05),
        labelcolor=drawing.INK,
    )
    drawn.tight_layout()
    drawing.disable_formulas(drawn)
    drawn.savefig(path, dpi=160, bbox_inches="tight")


def _bars(axes, rows, causes, kind):
    """The bars of each cause: one for each statistics, and one for training again."""
    from siamjax.reports import drawing

    for x, cause in enumerate(causes):
        kinds = [(cause, name) for name in CURES] + [(CAUSES[cause], "moving")]
        for i, ((plant, name), colour) in enumerate(zip(kinds, SHADES.values())):
            members = [row for row in rows if row["plant"] == plant and row["new"]]
            if not members:
                continue
            values = [
                row["gaps"][name] if kind == "gap" else row["new"][name][kind]
                for row in members
            ]
            place, (mean, half) = x + 0.14 * (i - 2.5), _mean(values)
            axes.bar(place, mean, width=0.13, color=colour)
            axes.plot(
                [place, place], [mean - half, mean + half], color=drawing.INK, lw=0.8
            )


def _with_interval(values):
    mean, half = _mean(values)
    return f"{mean:z.2f} ± {half:.2f}"


def _against(values, before, itself):
    mean, _ = _mean(values)
    if itself:
        return f"{mean:.3f}"
    apart, half = _mean([a - b for a, b in zip(values, before)])
    return f"{mean:.3f} ({apart:+z.2f} ± {half:.2f})"


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
