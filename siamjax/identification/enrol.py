"""What a run needs to name faults in new captures: default examples and the rule.

Both come from validation captures, or from training captures for what no validation
capture shows, and are stored with the run.
"""

import logging
import pathlib

import numpy as np

from siamjax import files
from siamjax.data.windows import take
from siamjax.evaluation import one_shot
from siamjax.identification import decide, examples, sessions
from siamjax.models import embedder
from siamjax.types import TRAIN, VALID, Baseline, SiamjaxError

_LOG = logging.getLogger(__name__)

EXAMPLES, RULE = "examples.npz", "rule.json"
# Distances that stand for each known condition, however many windows it has.
QUANTILES = 101
# Rows whose distances to all others are in memory at once.
_BLOCK = 256


def enrol(run, splits):
    """Chooses the default examples and fits the rule; writes both into the workdir.

    Args:
      run: `inference.runs.Run`.
      splits: `data.splits.Splits` of the run's data.
    """
    known = splits.conditions[: splits.known]
    trained = [name for name in known if not splits.inside(VALID, [name]).any()]
    if trained:
        _LOG.warning(
            "no validation capture shows %s: their examples, and what is learnt of "
            "distances to them, come from training captures, which lie nearer to each "
            "other than new ones: more will be called unknown", ", ".join(trained),
        )  # fmt: skip
    chosen = medoids(run, splits, known)
    role = VALID if (splits.role == VALID).any() else TRAIN
    rule = decide.fit(
        [
            (*session_evidence(run, splits, i, chosen), splits.labels[i])
            for i in np.flatnonzero(splits.role == role)
        ],
        *gaps(run, splits, *_held_out(splits, known, splits.novel_valid)),
    )
    store(run, chosen, rule)
    return chosen, rule


def store(run, chosen, rule):
    """Writes examples and rule into the workdir of a run."""
    examples.save(pathlib.Path(run.workdir) / EXAMPLES, chosen)
    files.write_json(pathlib.Path(run.workdir) / RULE, rule._asdict())


def stored(run):
    """The examples and the rule of a run.

    Raises:
      SiamjaxError: the run was not evaluated yet.
      files.Damaged: a file cannot be read, or is of another run.
    """
    folder = pathlib.Path(run.workdir)
    again = f"siamjax-evaluate --workdir {folder} writes it anew"
    if not (folder / EXAMPLES).exists() or not (folder / RULE).exists():
        raise SiamjaxError(
            f"{folder} has no examples yet: run siamjax-evaluate --workdir {folder}"
        )
    with files.damaged(folder / RULE, again):
        rule = decide.read_rule(files.read_json(folder / RULE, again))
    with files.damaged(folder / EXAMPLES, again):
        chosen = examples.load(folder / EXAMPLES)
    wanted = (run.config.data.bins, len(run.columns))
    if chosen.counts.shape[1:] != wanted:
        raise files.Damaged(
            f"{folder / EXAMPLES} has windows of {list(chosen.counts.shape[1:])} bins "
            f"and columns, the run reads {list(wanted)}: {again}"
        )
    return chosen, rule


def medoids(run, splits, names, roles=(VALID, TRAIN)):
    """`Examples`: of each condition the window nearest to all its others, among those
    of the first role that shows the condition."""
    chosen = []
    for name in names:
        shown = [splits.inside(role, [name]) for role in roles]
        rows = next((np.flatnonzero(some) for some in shown if some.any()), ())
        if len(rows):
            windows = take(splits.windows, rows)
            x = inputs(splits, windows, run.config.data.bins)
            points = run.embed(*x)[run.config.decide_with]
            chosen.append(rows[mean_distance(points, windows.session).argmin()])
    return examples_of(run, splits, take(splits.windows, np.array(chosen)))


def examples_of(run, splits, windows):
    """`Examples` of labelled windows of a data set."""
    places = tuple(
        examples.Place(
            splits.conditions[condition],
            splits.sessions[session],
            float(start * run.config.data.bin_s),
        )
        for session, start, condition in zip(*windows)
    )
    return examples.Examples(places, *inputs(splits, windows, run.config.data.bins))


def mean_distance(points, captures, rows=None):
    """`[R]` mean distance of rows (by default all) to all points `[N, E]`, each capture
    counting alike."""
    from scipy.spatial.distance import cdist  # slow to import

    rows = np.arange(len(points)) if rows is None else rows
    weight = 1.0 / np.array([(captures == capture).sum() for capture in captures])
    blocks = np.array_split(rows, -(-len(rows) // _BLOCK))  # bounds the memory
    total = [cdist(points[block], points) @ weight for block in blocks]
    return np.concatenate(total) / weight.sum()


def gaps(run, splits, windows, library, draws=100):
    """Distances of windows to the nearest example, one a known condition.

    Examples are drawn anew many times and never judge a window of their own capture,
    for the default examples are themselves validation windows.

    Args:
      windows: `types.Windows` of known and `novel_valid` conditions, N of them.
      library: `[N]` bool, those that are only examples, see `evaluation.one_shot`.
    Returns:
      Of windows of known conditions, each condition with as many, and of novel ones.
    """
    known, novel = splits.conditions[: splits.known], splits.novel_valid
    points = run.embed(*inputs(splits, windows, run.config.data.bins))
    points = points[run.config.decide_with]
    classes = np.intersect1d(np.arange(len(known)), windows.condition)
    near = {name: [] for name in known + novel}
    for chosen in one_shot.examples(
        windows.condition, windows.session, classes,
        shots=1, draws=draws, seed=0, library=library,
    ):  # fmt: skip
        rows = np.concatenate(chosen)
        gap = np.sqrt(((points[:, None] - points[rows][None]) ** 2).sum(-1)).min(1)
        others = ~np.isin(windows.session, windows.session[rows])
        itself = np.isin(np.arange(len(points)), rows)
        for name, found in near.items():
            of = (windows.condition == splits.conditions.index(name)) & ~library
            # A condition with a single capture is judged inside it, for want of better.
            found.append(gap[of & others] if (of & others).any() else gap[of & ~itself])
    joined = {name: np.concatenate(found) for name, found in near.items()}
    levels = np.linspace(0, 1, QUANTILES)
    alike = [np.quantile(joined[name], levels) for name in known if len(joined[name])]
    return np.concatenate(alike or [[]]), np.concatenate(
        [joined[name] for name in novel] or [[]]
    )


def _held_out(splits, known, novel):
    """Windows that distances are learnt from, and `[N]` bool: those that are examples
    alone.

    A condition with one validation capture takes its examples from training captures;
    of one without any, training windows stand for it.
    """
    chosen = splits.inside(VALID, known + novel)
    library = np.zeros_like(chosen)
    for name in known:
        valid, training = splits.inside(VALID, [name]), splits.inside(TRAIN, [name])
        captures = len(np.unique(splits.windows.session[valid]))
        if captures < 2:
            chosen |= training
        if captures == 1:
            library |= training
    return take(splits.windows, chosen), library[chosen]


def inputs(splits, windows, length):
    """Counts `[N, T, F]` and baselines `[N, F]` of windows of the data set."""
    baseline = Baseline(*(np.asarray(x)[windows.session] for x in splits.baseline))
    return embedder.cut_windows(splits.counts, windows, length), baseline


def session_evidence(run, splits, index, chosen):
    """`decide.Evidence` of a session of the data set, and the names in order."""
    bins = int(splits.bins[index])
    traffic = sessions.Traffic(
        splits.sessions[index],
        splits.counts[index, :bins],
        Baseline(*(np.asarray(x)[index] for x in splits.baseline)),
    )
    return sessions.evidence(run, traffic, chosen)
