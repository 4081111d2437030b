"""Windows of traffic to look at: each condition, and the worst mistakes and why."""

import base64

import numpy as np

from siamjax.data import features
from siamjax.evaluation import pairwise
from siamjax.identification import enrol
from siamjax.identification.timeline import UNKNOWN
from siamjax.types import TEST

# Mistakes shown, the worst first; and of one condition under one wrong name.
MISTAKES, ALIKE = 12, 2
# Columns of a picture, and what they deviate at least in the mean of a window.
COLUMNS, LEAST = 14, 0.05
# The deviation that has the full colour.
FULL_COLOUR = 3.0


def gather_pictures(run, splits, chosen, rule):
    """Traffic of each condition, and of the worst mistakes beside their examples.

    Returns:
      The page's `pictures`, `mistakes` and what they share: see `reports.page`.
    """
    windows = splits.of(TEST)
    counts, baseline = enrol.inputs(splits, windows, run.config.data.bins)
    points = run.embed(counts, baseline)[run.config.decide_with]
    z = np.asarray(features.to_features(counts, baseline, run.scaler))
    of_examples = run.embed(chosen.counts, chosen.baseline)[run.config.decide_with]
    z_examples = np.asarray(
        features.to_features(chosen.counts, chosen.baseline, run.scaler)
    )
    gap = pairwise.distances(points, of_examples)  # [N, X]
    names = [splits.conditions[c] for c in windows.condition]

    def window(i):
        return dict(
            condition=names[i],
            capture=splits.sessions[windows.session[i]],
            start_s=float(windows.start[i] * run.config.data.bin_s),
            traffic=_bytes(z[i]),
            rows=deviating_columns(z[i][None]),
        )

    examples = [
        dict(place._asdict(), traffic=_bytes(one), rows=deviating_columns(one[None]))
        for place, one in zip(chosen.places, z_examples)
    ]

    def mistake(i, named, alike):
        own = [j for j, name in enumerate(chosen.names) if name == names[i]]
        nearest, best = int(gap[i].argmin()), min(own, key=gap[i].item, default=None)
        beside = [nearest, nearest if best is None else best]
        return dict(
            window=window(i),
            named=named,
            distance=float(gap[i, nearest]),
            example=examples[nearest],
            own=None if best in (None, nearest) else examples[best],
            own_distance=None if best is None else float(gap[i, best]),
            rows=deviating_columns(np.stack([z[i], *z_examples[beside]])),
            windows=len(alike),
            captures=len(set(windows.session[alike].tolist())),
        )

    shown = list(examples)
    for name in dict.fromkeys(names):
        if name not in chosen.names:  # novel: its most typical window
            rows = np.flatnonzero(np.array(names) == name)
            among = pairwise.distances(points[rows], points[rows])
            shown.append(window(rows[among.sum(1).argmin()]))
    found = find_mistakes(gap, names, chosen.names, rule.unknown)
    return dict(
        columns=[column.name for column in splits.columns],
        clip=FULL_COLOUR,
        bin_s=float(run.config.data.bin_s),
        unknown=float(rule.unknown),
        pictures=shown,
        mistakes=[
            mistake(*each) for each in choose_mistakes(found, names, windows.session)
        ],
    )


def deviating_columns(z):
    """The columns that deviate most in any of some windows `[N, T, F]`, in order."""
    score = np.abs(z).mean(1).max(0)
    most = np.argsort(-score, kind="stable")[:COLUMNS]
    kept = [f for place, f in enumerate(most) if place < 3 or score[f] > LEAST]
    return sorted(int(f) for f in kept)


def find_mistakes(gap, names, of_examples, unknown):
    """`[(window, what it was named)]` of wrong decisions, the most confident first.

    A window of a condition with an example is wrong when it is named otherwise, one of
    another condition when it is not named unknown.

    Args:
      gap: `[N, X]` distances of windows to examples.
      names: N true conditions.
      of_examples: X conditions.
      unknown: the distance beyond which a window is named unknown.
    """
    found = []
    for i, row in enumerate(gap):
        nearest = row.min()
        named = of_examples[int(row.argmin())] if nearest <= unknown else UNKNOWN
        true = names[i] if names[i] in of_examples else UNKNOWN
        if named != true:
            own = [d for d, name in zip(row, of_examples) if name == true] or [unknown]
            margin = min(*own, np.inf) - min(nearest, unknown)
            found.append((-float(margin), i, named))
    return [(i, named) for _, i, named in sorted(found)]


def choose_mistakes(found, names, sessions):
    """`[(window, what it was named, all windows of its kind)]`, the worst first.

    Mistakes are of one kind that name one condition alike; of each kind the worst few
    are given, of different sessions.

    Args:
      found: what `wrong` gives.
      names: N true conditions.
      sessions: `[N]` int.
    """
    kinds, out = {}, []
    for i, named in found:
        kinds.setdefault((names[i], named), []).append(i)
    shown = {kind: [] for kind in kinds}
    for i, named in found:
        before = shown[names[i], named]
        if len(before) < ALIKE and sessions[i] not in before:
            before.append(sessions[i])
            out.append((i, named, kinds[names[i], named]))
    return out[:MISTAKES]


def _bytes(z):
    """Features `[T, F]` of at most some deviations as signed bytes, 127 the largest."""
    largest = max(float(np.abs(z).max()), 1e-9)
    scaled = np.round(z / largest * 127).astype(np.int8)
    return dict(
        largest=largest,
        shape=list(z.shape),
        data=base64.b64encode(scaled.tobytes()).decode(),
    )
