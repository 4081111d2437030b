"""From a fault's onset to its right name, with one example of each condition.

    python -m scripts.experiments.onset --workdir=runs/final

reads the cells that quality.py --novalid has left there. Windows of the test
captures slide over the onset; each is named by its nearest example out of another
capture. Printed: the share that is named right by the time since the onset, and when
the answer becomes right and stays so.
"""

import json
import pathlib

import numpy as np
from absl import flags

from scripts.experiments import quality_cells
from siamjax import cli
from siamjax.data import features
from siamjax.evaluation import baselines, cross_fit, one_shot, pairwise
from siamjax.types import Windows

_WORKDIR = flags.DEFINE_string("workdir", "runs/final", "Where cells are kept.")
_SETTING = flags.DEFINE_string("setting", "default", "As the cells were asked for.")
_DRAWS = flags.DEFINE_integer("draws", 20, "Draws of the examples.")
EVERY_S, AFTER_S = 1.0, 24.0  # between windows; after the onset
STAYS = 4  # windows, so many seconds, for which a right answer must stay right
BASELINE = "mean and deviation, cosine"


def main(argv):
    cli.no_arguments(argv)
    workdir = pathlib.Path(_WORKDIR.value)
    found = {}  # (method, role) -> condition -> [draws x captures, times]
    for cell in quality_cells.read_final(workdir, _SETTING.value):
        if cell["conditions"] == quality_cells.ALL:
            for role, condition, method, right in onsets(cell, workdir):
                of = found.setdefault((method, role), {}).setdefault(condition, [])
                of.append(right)
    ends_s = times()
    curves = [[*key, share(of).tolist()] for key, of in sorted(found.items())]
    text = json.dumps(dict(ends_s=ends_s.tolist(), curves=curves))
    (workdir / "onset.json").write_text(text + "\n")
    for line in report(found, ends_s):
        print(line)


def onsets(cell, workdir):
    """Yields (role, condition, method, `[draws, times]` bool; NaN: not judged)."""
    embed_windows, config, splits = quality_cells.trained(cell, workdir)
    bin_s, length = config.data.bin_s, config.data.bins

    def points(windows):
        inputs = splits.inputs(windows)
        counts, baseline, _ = inputs
        x = np.asarray(features.to_features(counts, baseline, splits.scaler))
        return {
            config.deciding_head: embed_windows(*inputs)[config.deciding_head],
            BASELINE: baselines.BASELINES[BASELINE](x),
        }

    library = splits.windows_of("test", splits.conditions.names)
    classes = np.unique(library.condition)
    of_library = points(library)
    sets = one_shot.draw_examples(
        library.condition, library.session, classes, shots=1, draws=_DRAWS.value, seed=0
    )
    ends_s = times()
    for s in np.unique(library.session):
        for label in splits.sessions.labels[s]:
            ends = np.round((label.onset_s + ends_s) / bin_s).astype(int)
            inside = (ends * bin_s <= label.clear_s) & (ends <= splits.sessions.bins[s])
            starts = np.clip(ends - length, 0, splits.sessions.bins[s] - length)
            own = points(Windows(np.full(len(starts), s), starts, None))
            c = splits.conditions.names.index(label.condition)
            role = "novel" if label.condition in splits.conditions.novel else "known"
            for method, x in own.items():
                right = np.full((len(sets), len(ends_s)), np.nan)
                for draw, chosen in enumerate(sets):
                    rows = np.concatenate(chosen)
                    if s not in library.session[rows]:
                        d2 = pairwise.squared(x, of_library[method][rows])
                        named = classes[d2.argmin(1)]
                        right[draw, inside] = (named == c)[inside]
                yield role, label.condition, method, right


def times():
    """Ends of windows in seconds since the onset."""
    return np.arange(EVERY_S, AFTER_S + 0.01, EVERY_S)


def share(of):
    """`[times]` share named right: the mean over conditions."""
    return np.mean([np.nanmean(np.concatenate(r), 0) for r in of.values()], 0)


def report(found, ends_s):
    """Lines: the share named right after so many seconds, and when it stays right."""
    told = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 20.0, 24.0]
    at = [int(np.flatnonzero(np.isclose(ends_s, t))[0]) for t in told]
    yield "share named right, seconds after the onset (mean over conditions)"
    yield " " * 34 + " ".join(f"{t:4.0f}" for t in told) + "   right for good after"
    for (method, role), of in sorted(found.items()):
        mean, late = share(of), {}
        for condition, right in of.items():
            judged = np.concatenate(right)
            judged = judged[np.isfinite(judged).any(1)]
            late[condition] = cross_fit.settling_times(judged, ends_s, STAYS)
        whole = np.median(np.concatenate(list(late.values())))
        slow = ", ".join(
            f"{name} {np.median(after):g}"
            for name, after in late.items()
            if np.median(after) > whole + 2
        )
        yield (
            f"{role} {method:26s}  "
            + " ".join(f"{mean[i]:4.2f}" for i in at)
            + f"   {whole:g} s (median); slower: {slow or 'none'}"
        )


if __name__ == "__main__":
    cli.run(main)
