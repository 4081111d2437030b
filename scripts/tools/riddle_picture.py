"""One picture of the three riddles, before and after the cure, and its numbers.

    python -m scripts.tools.riddle_picture --runs=runs --out=docs/riddle.png

Reads the runs of docs/norm.md in the folder RUNS. For each run three losses of the last
checkpoint are measured: on its last batches in training mode; on the same batches in
prediction mode; and on batches that the same sampler draws from validation captures.
"""

import dataclasses
import json
import pathlib

from absl import flags

from siamjax import cli

_RUNS = flags.DEFINE_string("runs", "runs", "The folder of the runs.")
_OUT = flags.DEFINE_string("out", "docs/riddle.png", "The picture.")

TITLES = dict(
    lag="lag: the average has not arrived",
    session="session: every batch from one capture",
    branch="branch: a pass for each branch",
)
RUNS = dict(
    lag={"as trained": "", "--cure=debias": "-debias"},
    session={
        "as trained": "",
        "--cure=per-session": "-per-session",
        "mixed batches,\ntrained again": "-mixed",
    },
    branch={"as trained": "", "one pass,\ntrained again": "-batch"},
)
BARS = dict(
    train=("training", "#0072b2"),
    predict=("the same windows, predicted", "#e69f00"),
    valid=("validation captures, predicted", "#d62728"),
)


def main(argv):
    cli.no_arguments(argv)
    kept = pathlib.Path(_RUNS.value) / "riddles.json"
    losses_of = json.loads(kept.read_text()) if kept.exists() else {}
    for cause, runs in RUNS.items():
        for name in (f"riddle_{cause}{end}" for end in runs.values()):
            if name not in losses_of:
                losses_of[name] = losses(pathlib.Path(_RUNS.value) / name)
                kept.write_text(json.dumps(losses_of, indent=1) + "\n")
            numbers = losses_of[name].items()
            print(name, " ".join(f"{part} {value:.3f}" for part, value in numbers))
    draw(losses_of, _OUT.value)
    print(_OUT.value)


def losses(workdir):
    """`train`, `predict` and `valid` loss of a run, and its gap."""
    import numpy as np

    from siamjax.auditing import from_run
    from siamjax.auditing.subject import encode_batches, measure_gap
    from siamjax.training import checkpoints
    from siamjax.types import TRAIN, VALID

    run, splits = from_run.open_with_data(workdir, checkpoints.LAST)
    judged = from_run.make_subject(run)
    roles = {TRAIN: VALID, VALID: TRAIN}
    role = np.array([roles.get(role, role) for role in splits.sessions.role])
    swapped = splits._replace(sessions=dataclasses.replace(splits.sessions, role=role))
    ours, theirs = (from_run.last_batches(run, data) for data in (splits, swapped))
    train = encode_batches(judged, ours)
    gap = measure_gap(train, _predicted(judged, ours))
    valid = _predicted(judged, theirs).loss.mean()
    return dict(
        train=gap.train_loss,
        predict=gap.predict_loss,
        valid=float(valid),
        chance=gap.chance_loss,
        gap=gap.share,
        low=gap.low,
        high=gap.high,
    )


def _predicted(judged, batches):
    from siamjax.auditing import statistics
    from siamjax.auditing.subject import encode_batches

    return encode_batches(
        judged, batches, *statistics.candidates(judged, batches)["moving"]
    )


def draw(losses_of, path):
    """The bars of each riddle, all on one scale."""
    from siamjax.reports import drawing

    drawn = drawing.make_figure(9.6, 3.0)
    top = 1.12 * max(run[bar] for run in losses_of.values() for bar in BARS)
    widths = [len(runs) for runs in RUNS.values()]
    panels = drawn.subplots(1, len(RUNS), width_ratios=widths, sharey=True)
    for axes, (cause, runs) in zip(panels, RUNS.items()):
        for x, end in enumerate(runs.values()):
            run = losses_of[f"riddle_{cause}{end}"]
            for i, (bar, (_, colour)) in enumerate(BARS.items()):
                middle = x + 0.26 * (i - 1)
                axes.bar(middle, run[bar], width=0.24, color=colour)
                number = f"{run[bar]:.3f}"
                above = dict(xytext=(0, 2), textcoords="offset points", ha="center")
                small = dict(fontsize=6.5, color=drawing.INK)
                axes.annotate(number, (middle, run[bar]), **above, **small)
        axes.set_title(TITLES[cause], fontsize=9, color=drawing.INK, loc="left")
        axes.set_xticks(range(len(runs)), list(runs))
        axes.tick_params(labelsize=8, length=0, labelcolor=drawing.INK)
        axes.set_ylim(0, top)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(drawing.LINE)
        axes.grid(axis="y", color=drawing.LINE, linewidth=0.5)
        axes.set_axisbelow(True)
    panels[0].set_ylabel("loss", fontsize=8, color=drawing.INK)
    squares = [panels[0].bar(0, 0, color=colour) for _, colour in BARS.values()]
    labels = [label for label, _ in BARS.values()]
    place = dict(loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.09))
    look = dict(frameon=False, fontsize=8.5, labelcolor=drawing.INK)
    drawn.legend(squares, labels, **place, **look)
    drawn.tight_layout()
    drawing.disable_formulas(drawn)
    drawn.savefig(path, dpi=160, bbox_inches="tight")


if __name__ == "__main__":
    cli.run(main)
