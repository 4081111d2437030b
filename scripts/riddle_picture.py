"""One picture of the three riddles: python scripts/riddle_picture.py --runs=runs

Reads the audit.json of RUNS/riddle_lag, riddle_session and riddle_branch.
"""

import json
import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from siamjax import cli

_RUNS = flags.DEFINE_string("runs", "runs", "The folder of the three runs.")
_OUT = flags.DEFINE_string("out", "docs/riddle.png", "The picture.")

TITLES = dict(
    lag="lag: the average has not arrived",
    session="session: batches of one capture",
    branch="branch: a pass for each branch",
)
GOOD, BAD = "#2ca02c", "#d62728"


def main(argv):
    cli.no_arguments(argv)
    from siamjax.auditing import text, verdict
    from siamjax.reports import drawing

    runs = pathlib.Path(_RUNS.value)
    audits = {
        cause: json.loads((runs / f"riddle_{cause}" / "audit.json").read_text())
        for cause in TITLES
    }
    names = list(text.NAMES)
    drawn = drawing.figure(11.0, 3.4)
    for i, (cause, title) in enumerate(TITLES.items()):
        gaps, axes = audits[cause]["gaps"], drawn.add_subplot(1, 3, i + 1)
        for y, name in enumerate(names):
            if name in gaps:
                gap = gaps[name]
                colour = BAD if gap["low"] > verdict.TOLERATED else GOOD
                axes.barh(y, gap["share"], height=0.6, color=colour, alpha=0.75)
                axes.plot(
                    [gap["low"], gap["high"]], [y, y], color=drawing.INK, linewidth=1
                )
        own = gaps["moving"]
        axes.set_title(
            f"{title}\ntraining loss {own['train_loss']:.3f}, the same weights and "
            f"batches in prediction {own['predict_loss']:.3f}",
            fontsize=7.5, color=drawing.INK, loc="left",
        )  # fmt: skip
        labels = [text.NAMES[name] for name in names] if i == 0 else [""] * len(names)
        axes.set_yticks(range(len(names)), labels)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.axvline(verdict.TOLERATED, color=drawing.PALE, linewidth=0.8, ls=":")
        axes.tick_params(labelsize=7.5, length=0, labelcolor=drawing.INK)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(drawing.LINE)
        axes.set_xlabel("gap; 0: none, 1: chance", fontsize=7.5, color=drawing.INK)
    drawing.as_text(drawn)
    drawn.tight_layout()
    drawn.savefig(_OUT.value, dpi=160, bbox_inches="tight")
    print(_OUT.value)


if __name__ == "__main__":
    cli.run(main)
