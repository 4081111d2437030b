"""What a run needs to name faults in new captures: default examples and the rule.

Both come from validation captures alone, and are stored with the run.
"""

import json
import pathlib

import numpy as np

from siamjax.evaluation import one_shot
from siamjax.identification import decide, examples, sessions
from siamjax.training import embed
from siamjax.types import VALID, Baseline, SiamjaxError

EXAMPLES, RULE = "examples.npz", "rule.json"
# Distances that stand for each known condition, however many windows it has.
QUANTILES = 101


def enrol(run, splits):
    """Chooses the default examples and fits the rule; writes both into the workdir.

    Args:
      run: `training.restored.Run`.
      splits: `data.splits.Splits` of the run's data.
    """
    known = splits.conditions[: splits.known]
    chosen = medoids(run, splits, known)
    rule = decide.fit(
        [
            (*session_evidence(run, splits, i, chosen), splits.labels[i])
            for i in np.flatnonzero(splits.role == VALID)
        ],
        *gaps(run, splits, known),
    )
    examples.save(pathlib.Path(run.workdir) / EXAMPLES, chosen)
    text = json.dumps(rule._asdict(), indent=1)
    (pathlib.Path(run.workdir) / RULE).write_text(text + "\n")
    return chosen, rule


def stored(run):
    """The examples and the rule of a run.

    Raises:
      SiamjaxError: the run was not evaluated yet.
    """
    folder = pathlib.Path(run.workdir)
    if not (folder / EXAMPLES).exists() or not (folder / RULE).exists():
        raise SiamjaxError(
            f"{folder} has no examples yet: run siamjax-evaluate --workdir {folder}"
        )
    rule = decide.Rule(**json.loads((folder / RULE).read_text()))
    return examples.load(folder / EXAMPLES), rule


def medoids(run, splits, names):
    """`Examples`: of each condition the validation window nearest to all its others."""
    places, counts, baselines = [], [], []
    for name in names:
        windows = splits.of(VALID, [name])
        if not len(windows.start):
            continue
        x, baseline = inputs(splits, windows, run.config.data.bins)
        points = run.embed(x, baseline)[run.config.decide_with]
        # Each capture counts alike, however many windows it has.
        weight = 1.0 / np.array([(windows.session == s).sum() for s in windows.session])
        gap = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
        best = int((gap * weight[None]).sum(1).argmin())
        start_s = float(windows.start[best] * run.config.data.bin_s)
        capture = splits.sessions[windows.session[best]]
        places.append(examples.Place(name, capture, start_s))
        counts.append(x[best])
        baselines.append([baseline.mean[best], baseline.deviation[best]])
    mean, deviation = np.stack([np.stack(b) for b in baselines], 1)
    return examples.Examples(tuple(places), np.stack(counts), Baseline(mean, deviation))


def gaps(run, splits, known, draws=100):
    """Distances of validation windows to the nearest example, one a known condition.

    Examples are drawn anew many times and never judge a window of their own capture,
    for the default examples are themselves validation windows.

    Returns:
      Of windows of known conditions, each condition with as many, and of novel ones.
    """
    novel = splits.novel_valid
    windows = splits.of(VALID, known + novel)
    points = run.embed(*inputs(splits, windows, run.config.data.bins))
    points = points[run.config.decide_with]
    classes = np.intersect1d(np.arange(len(known)), windows.condition)
    near = {name: [] for name in known + novel}
    for chosen in one_shot.examples(
        windows.condition, windows.session, classes, shots=1, draws=draws, seed=0
    ):
        rows = np.concatenate(chosen)
        gap = np.sqrt(((points[:, None] - points[rows][None]) ** 2).sum(-1)).min(1)
        others = ~np.isin(windows.session, windows.session[rows])
        itself = np.isin(np.arange(len(points)), rows)
        for name, found in near.items():
            of = windows.condition == splits.conditions.index(name)
            # A condition with a single capture is judged inside it, for want of better.
            found.append(gap[of & others] if (of & others).any() else gap[of & ~itself])
    joined = {name: np.concatenate(found) for name, found in near.items()}
    levels = np.linspace(0, 1, QUANTILES)
    alike = [np.quantile(joined[name], levels) for name in known if len(joined[name])]
    return np.concatenate(alike), np.concatenate(
        [joined[name] for name in novel] or [[]]
    )


def inputs(splits, windows, length):
    """Counts `[N, T, F]` and baselines `[N, F]` of windows of the data set."""
    baseline = Baseline(*(np.asarray(x)[windows.session] for x in splits.baseline))
    return embed.cut(splits.counts, windows, length), baseline


def session_evidence(run, splits, index, chosen):
    """`decide.Evidence` of a session of the data set, and the names in order."""
    bins = int(splits.bins[index])
    traffic = sessions.Traffic(
        splits.sessions[index],
        splits.counts[index, :bins],
        Baseline(*(np.asarray(x)[index] for x in splits.baseline)),
        "",
    )
    return sessions.evidence(run, traffic, chosen)
