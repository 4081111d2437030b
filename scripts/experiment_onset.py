"""From a fault's onset to its right name, with one example of each condition.

    python scripts/experiment_onset.py --workdir=runs/final

reads the cells that experiment_quality.py --novalid has left there. Windows of the test
captures slide over the onset; each is named by its nearest example out of another
capture. Printed: the share that is named right by the time since the onset, and when
the answer becomes right and stays so.
"""

import pathlib
import sys

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import experiment_quality
import quality_cells

from siamjax import cli
from siamjax.data import features
from siamjax.evaluation import baselines, one_shot
from siamjax.identification import enrol
from siamjax.types import Windows

_DRAWS = flags.DEFINE_integer("draws", 20, "Draws of the examples.")
EVERY, AFTER_S = 2, 24.0  # bins between windows; seconds after the onset
STAYS = 4  # windows, so many seconds, for which a right answer must stay right
BASELINE = "mean and deviation"


def main(argv):
    cli.no_arguments(argv)
    workdir = pathlib.Path(flags.FLAGS.workdir)
    found = {}  # (method, role) -> condition -> [draws x captures, times]
    for cell in experiment_quality.read(workdir).values():
        if cell["setting"] == flags.FLAGS.setting[0] and not cell["valid"]:
            for role, condition, method, right in onsets(cell, workdir):
                of = found.setdefault((method, role), {}).setdefault(condition, [])
                of.append(right)
    for line in report(found):
        print(line)


def onsets(cell, workdir):
    """Yields (role, condition, method, `[draws, times]` bool; NaN: not judged)."""
    embed_windows, config, splits = quality_cells.trained(cell, workdir)
    bin_s, length = config.data.bin_s, config.data.bins

    def points(windows):
        counts, baseline = enrol.inputs(splits, windows, length)
        x = np.asarray(features.features(counts, baseline, splits.scaler))
        return {
            config.decide_with: embed_windows(counts, baseline)[config.decide_with],
            BASELINE: baselines.BASELINES[BASELINE](x),
        }

    library = splits.of("test", splits.conditions)
    classes = np.unique(library.condition)
    of_library = points(library)
    sets = one_shot.examples(
        library.condition, library.session, classes, shots=1, draws=_DRAWS.value, seed=0
    )
    ends_s = times(bin_s)
    for s in np.unique(library.session):
        for label in splits.labels[s]:
            ends = np.round((label.onset_s + ends_s) / bin_s).astype(int)
            inside = (ends * bin_s <= label.clear_s) & (ends <= splits.bins[s])
            starts = np.clip(ends - length, 0, splits.bins[s] - length)
            own = points(Windows(np.full(len(starts), s), starts, None))
            c = splits.conditions.index(label.condition)
            role = "novel" if label.condition in splits.novel else "known"
            for method, x in own.items():
                right = np.full((len(sets), len(ends_s)), np.nan)
                for draw, chosen in enumerate(sets):
                    rows = np.concatenate(chosen)
                    if s not in library.session[rows]:
                        gap = x[:, None] - of_library[method][rows][None]
                        named = classes[(gap**2).sum(-1).argmin(1)]
                        right[draw, inside] = (named == c)[inside]
                yield role, label.condition, method, right


def times(bin_s):
    """Ends of windows in seconds since the onset."""
    return np.arange(EVERY * bin_s, AFTER_S + 0.01, EVERY * bin_s)


def settled(right, ends_s):
    """`[N]` seconds until `right [N, times]` is right and stays; inf: never."""
    runs = np.lib.stride_tricks.sliding_window_view(right == 1, STAYS, axis=1).all(-1)
    return np.where(runs.any(1), ends_s[runs.argmax(1)], np.inf)


def report(found):
    """Lines: the share named right after so many seconds, and when it stays right."""
    ends_s = times(0.5)
    told = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 20.0, 24.0]
    at = [int(np.flatnonzero(np.isclose(ends_s, t))[0]) for t in told]
    yield "share named right, seconds after the onset (mean over conditions)"
    yield " " * 28 + " ".join(f"{t:4.0f}" for t in told) + "   right for good after"
    for (method, role), of in sorted(found.items()):
        each = {c: np.concatenate(right) for c, right in of.items()}
        mean = np.mean([np.nanmean(right, 0) for right in each.values()], 0)
        judged = [r[np.isfinite(r).any(1)] for r in each.values()]
        late = {c: np.median(settled(r, ends_s)) for c, r in zip(each, judged)}
        whole = np.median(np.concatenate([settled(r, ends_s) for r in judged]))
        slow = ", ".join(f"{c} {t:g}" for c, t in late.items() if t > whole + 2)
        yield (
            f"{role} {method:20s}  "
            + " ".join(f"{mean[i]:4.2f}" for i in at)
            + f"   {whole:g} s (median); slower: {slow or 'none'}"
        )


if __name__ == "__main__":
    cli.run(main)
