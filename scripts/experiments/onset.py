"""How soon after its onset a fault is named right, with one example of each condition.

    python -m scripts.experiments.onset --workdir=runs/final

Reads the cells that quality.py --novalid wrote into the folder. Windows of the test
captures slide over the onset. Each window gets the name of the nearest example from
another capture. Prints the share of windows that are named right, by the time since the
onset, and the time from which on the name stays right.
"""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from scripts.experiments import quality_cells
from siamjax import cli
from siamjax.evaluation import baselines, cross_fit, one_shot, pairwise, spaces
from siamjax.inference import deciding
from siamjax.training.whitening import learn_whitening
from siamjax.types import Windows

_WORKDIR = flags.DEFINE_string("workdir", "runs/final", "Where cells are kept.")
_SETTING = flags.DEFINE_string("setting", "default", "As the cells were asked for.")
_DRAWS = flags.DEFINE_integer("draws", 20, "Draws of the examples.")
EVERY_S = 1.0  # from the end of one window to the next
AFTER_S = 24.0  # the end of the last window, after the onset
STAYS = 4  # windows in a row that are named right before the answer counts as settled
BASELINE = "mean and deviation, cosine"


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    workdir = _WORKDIR.value
    # (method, role) -> condition -> list of [draws, times], one for each fault.
    right_of: dict[tuple[str, str], dict[str, list[np.ndarray]]] = {}
    for cell in quality_cells.read_final(workdir, _SETTING.value):
        if cell["conditions"] == quality_cells.ALL:
            for role, condition, method, right in onsets(cell, workdir):
                by_condition = right_of.setdefault((method, role), {})
                by_condition.setdefault(condition, []).append(right)
    ends_s = times()
    curves = [
        [*key, share(by_condition).tolist()]
        for key, by_condition in sorted(right_of.items())
    ]
    text = json.dumps(dict(ends_s=ends_s.tolist(), curves=curves))
    (pathlib.Path(workdir) / "onset.json").write_text(text + "\n")
    for line in report(right_of, ends_s):
        print(line)


def onsets(
    cell: Mapping[str, Any], workdir: str
) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Judges the windows after each fault of the test captures of a cell.

    Args:
      cell: that `quality.py` ran.
      workdir: where it is kept.
    Yields:
      Role of the condition, its name, the method, and `[draws, times]`: 1 where the
      window is named right, 0 where it is not, NaN where it is not judged.
    """
    embed_windows, config, splits = quality_cells.trained(cell, workdir)
    bin_s, length = config.data.bin_s, config.data.bins
    default = deciding.default_deciding(config)._replace(
        whitening=learn_whitening(splits)
    )

    def points(windows):
        x = splits.features(windows)
        embedded = embed_windows(*splits.inputs(windows))
        return {
            spaces.describe_space(default.space): deciding.to_points(
                default, config, embedded, x
            ),
            spaces.WCCN: baselines.wccn_points(x, default.whitening),
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
            points_of_fault = points(Windows(np.full(len(starts), s), starts, None))
            c = splits.conditions.names.index(label.condition)
            role = "novel" if label.condition in splits.conditions.novel else "known"
            for method, x in points_of_fault.items():
                right = np.full((len(sets), len(ends_s)), np.nan)
                for draw, chosen in enumerate(sets):
                    rows = np.concatenate(chosen)
                    if s not in library.session[rows]:
                        d2 = pairwise.squared(x, of_library[method][rows])
                        named = classes[d2.argmin(1)]
                        right[draw, inside] = (named == c)[inside]
                yield role, label.condition, method, right


def times() -> np.ndarray:
    """`[times]` ends of the windows, in seconds since the onset."""
    return np.arange(EVERY_S, AFTER_S + 0.01, EVERY_S)


def share(by_condition: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
    """`[times]` share of windows named right: the mean over conditions."""
    return np.mean([np.nanmean(np.concatenate(r), 0) for r in by_condition.values()], 0)


def report(
    right_of: Mapping[tuple[str, str], Mapping[str, Sequence[np.ndarray]]],
    ends_s: np.ndarray,
) -> Iterator[str]:
    """Lines: the share named right by time, and from when on the name stays right.

    Args:
      right_of: `{(method, role): {condition: [what `onsets` gives, ...]}}`.
      ends_s: of `times`.
    """
    told = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 20.0, 24.0]
    columns = [int(np.flatnonzero(np.isclose(ends_s, t))[0]) for t in told]
    yield "share named right, seconds after the onset (mean over conditions)"
    yield " " * 34 + " ".join(f"{t:4.0f}" for t in told) + "   stays right after"
    for (method, role), by_condition in sorted(right_of.items()):
        mean, late = share(by_condition), {}
        for condition, right in by_condition.items():
            judged = np.concatenate(right)
            judged = judged[np.isfinite(judged).any(1)]
            late[condition] = cross_fit.settling_times(judged, ends_s, STAYS)
        median_s = np.median(np.concatenate(list(late.values())))
        slow = ", ".join(
            f"{name} {np.median(after):g}"
            for name, after in late.items()
            if np.median(after) > median_s + 2
        )
        yield (
            f"{role} {method:26s}  "
            + " ".join(f"{mean[i]:4.2f}" for i in columns)
            + f"   {median_s:g} s (median); slower: {slow or 'none'}"
        )


if __name__ == "__main__":
    cli.run(main)
