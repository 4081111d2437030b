"""What a run needs to identify captures: default examples and the rule.

Both come from validation captures; a condition that no validation capture shows uses
training captures. They are stored with the run.
"""

import logging
import pathlib
from collections.abc import Sequence

import numpy as np

from siamjax import files
from siamjax.data.counts_on_disk import StoredCounts
from siamjax.data.splits import Splits
from siamjax.data.windows import take
from siamjax.evaluation import novelty, one_shot, pairwise, wccn
from siamjax.identification import (
    comparing,
    examples,
    fitting,
    rules,
    sessions,
    weighing,
)
from siamjax.inference import deciding
from siamjax.inference.runs import Run
from siamjax.training import hosts
from siamjax.types import TRAIN, VALID, Baseline, SiamjaxError, Windows

_LOG = logging.getLogger(__name__)

EXAMPLES, RULE = "examples.npz", "rule.json"
# Each known condition counts by so many quantiles of its distances, however many
# windows it has.
QUANTILES = 101
# How often examples are drawn to learn distances.
DRAWS = 100
# How many rows have their distances to all points in memory at once.
_BLOCK = 256


def enrol(run: Run, splits: Splits) -> tuple[examples.Examples, rules.Rule]:
    """Chooses the default examples and fits the rule; writes both into the workdir.

    With several processes all must call it; they divide the sessions.
    """
    known = splits.conditions.known
    has_windows = {name: splits.window_mask(VALID, [name]).any() for name in known}
    unvalidated = [name for name in known if not has_windows[name]]
    if unvalidated:
        _LOG.warning(
            "no validation capture shows %s: their examples and the distances to them "
            "come from training captures, which lie nearer to each other than new "
            "captures: more windows will be called unknown",
            ", ".join(unvalidated),
        )
    library = hosts.from_first(lambda: choose_medoids(run, splits, known))
    role = VALID if (splits.sessions.role == VALID).any() else TRAIN
    windows, is_library = _held_out(splits, known, splits.conditions.novel_valid)

    def fit_thresholds():
        scores = measure_scores(run, splits, windows, is_library)
        return fitting.fit_thresholds(*scores, cost_of_change(run))

    rule = hosts.from_first(fit_thresholds)
    changes = hosts.divided(
        lambda i: session_changes(run, splits, i, library, rule),
        np.flatnonzero(splits.sessions.role == role).tolist(),
    )
    stretches_of = hosts.from_first(
        lambda: measure_stretches(run, splits, windows, is_library)
    )
    rule = fitting.calibrate(rule, changes, stretches_of)
    hosts.from_first(lambda: write_enrolment(run, library, rule))
    return library, rule


def cost_of_change(run: Run) -> float:
    """The cost of a change, in thresholds of unknown: 0 where the newest bin decides.

    Windows overlap, but their newest bins do not: the limit of what is normal alone
    says how many of them are odd by chance.
    """
    return fitting.CHANGE if run.deciding.normal_bins is None else 0.0


def write_enrolment(run: Run, library: examples.Examples, rule: rules.Rule) -> None:
    """Writes examples and rule into the workdir of a run."""
    examples.save_examples(pathlib.Path(run.workdir) / EXAMPLES, library)
    stored = rules.as_json(rule)
    stored |= dict(space=deciding.fingerprint(run.deciding))
    files.write_json(pathlib.Path(run.workdir) / RULE, stored)


def read_enrolment(run: Run) -> tuple[examples.Examples, rules.Rule]:
    """The examples and the rule of a run.

    With several processes all must call it; the first one reads for all of them.

    Raises:
      SiamjaxError: the run was not evaluated yet.
      files.Damaged: a file cannot be read, or is of another run.
    """
    return hosts.from_first(lambda: _read_enrolment(run))


def _read_enrolment(run):
    folder = pathlib.Path(run.workdir)
    remedy = f"siamjax evaluate --workdir {folder} writes it again"
    if not (folder / EXAMPLES).exists() or not (folder / RULE).exists():
        raise SiamjaxError(
            f"{folder} has no examples yet: run siamjax evaluate --workdir {folder}"
        )
    with files.parsing(folder / RULE, remedy):
        stored = files.read_json(folder / RULE, remedy)
        rule = rules.from_json(stored)
        # Rules of older versions do not say in which space they were learnt.
        if "space" in stored and stored["space"] != deciding.fingerprint(run.deciding):
            raise ValueError(f"it was learnt in another space than {deciding.FILE}")
    with files.parsing(folder / EXAMPLES, remedy):
        library = examples.load_examples(folder / EXAMPLES)
    wanted = (run.config.data.bins, len(run.columns))
    if library.counts.shape[1:] != wanted:
        raise files.Damaged(
            f"{folder / EXAMPLES} has windows of {list(library.counts.shape[1:])} bins "
            f"and columns, the run reads {list(wanted)}: {remedy}"
        )
    return library, rule


def choose_medoids(
    run: Run,
    splits: Splits,
    names: Sequence[str],
    roles: Sequence[str] = (VALID, TRAIN),
) -> examples.Examples:
    """The window of each condition with the smallest mean distance to its others.

    Args:
      run: embeds the windows.
      splits: of the run's data.
      names: of the conditions.
      roles: windows of a condition are taken from the first role that has any.
    """
    chosen = []
    for name in names:
        shown = [splits.window_mask(role, [name]) for role in roles]
        rows = next((np.flatnonzero(inside) for inside in shown if inside.any()), ())
        if len(rows):
            windows = take(splits.windows, rows)
            points = run.compared(*splits.inputs(windows))
            chosen.append(rows[mean_distance(points, windows.session).argmin()])
    return examples_of(run, splits, take(splits.windows, np.array(chosen)))


def examples_of(run: Run, splits: Splits, windows: Windows) -> examples.Examples:
    """`Examples` of labelled windows of a data set."""
    places = tuple(
        examples.Place(
            splits.conditions.names[condition],
            splits.sessions.names[session],
            float(start * run.config.data.bin_s),
        )
        for session, start, condition in zip(*windows)
    )
    inputs = splits.inputs(windows)
    return examples.Examples(places, inputs.counts, inputs.baseline)


def mean_distance(
    points: np.ndarray, captures: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """`[R]` mean distance of rows to all points; each capture has the same weight.

    Args:
      points: `[N, E]`.
      captures: `[N]` int, of each point.
      rows: `[R]` int; all points by default.
    """
    points = np.asarray(points, np.float64)
    rows = np.arange(len(points)) if rows is None else rows
    weight = 1.0 / np.array([(captures == capture).sum() for capture in captures])
    blocks = np.array_split(rows, -(-len(rows) // _BLOCK))
    sums = [pairwise.distances(points[block], points) @ weight for block in blocks]
    return np.concatenate(sums) / weight.sum()


def measure_scores(
    run: Run, splits: Splits, windows: Windows, library: np.ndarray, draws: int = DRAWS
) -> tuple[fitting.Scores, fitting.Scores]:
    """How far windows are from one example of each known condition, and from training.

    Examples are drawn again and again, because the default examples are validation
    windows too: distances are taken to examples and training windows of other captures.

    Args:
      run: embeds the windows.
      splits: of the run's data.
      windows: of known and `novel_valid` conditions, N of them.
      library: `[N]` bool, windows that are only examples, see `evaluation.one_shot`.
      draws: how often examples are drawn.
    Returns:
      Scores of windows of known conditions, `QUANTILES` of each condition, and of
      windows of novel conditions.
    """
    known, novel = splits.conditions.known, splits.conditions.novel_valid
    points = run.compared(*splits.inputs(windows))
    moments = wccn.signed_log_moments(splits.features(windows))
    spreads, names = _spreads(run), np.array(splits.conditions.names)
    to_training = _to_training(run, splits, windows, moments, spreads)
    classes = np.intersect1d(np.arange(len(known)), windows.condition)
    by_name: dict[str, list[np.ndarray]] = {name: [] for name in known + novel}
    for drawn in one_shot.draw_examples(
        windows.condition,
        windows.session,
        classes,
        shots=1,
        draws=draws,
        seed=0,
        library=library,
    ):
        rows = np.concatenate(drawn)
        to_examples = novelty.nearest_of_names(
            _relative(run, moments, moments[rows]),
            names[windows.condition[rows]],
            known,
            spreads,
        )
        nearest = np.minimum(to_examples, to_training)
        scores = np.stack(
            [
                pairwise.distances(points, points[rows]).min(1),
                novelty.score_novelty(nearest),
            ]
        )
        is_other_capture = ~np.isin(windows.session, windows.session[rows])
        is_example = np.isin(np.arange(len(points)), rows)
        for name, parts in by_name.items():
            shows = windows.condition == splits.conditions.names.index(name)
            judged = shows & ~library & is_other_capture
            # A condition with a single capture can only be judged inside it.
            others = shows & ~library & ~is_example
            parts.append(scores[:, judged if judged.any() else others])
    joined = {name: np.concatenate(parts, 1) for name, parts in by_name.items()}
    levels, nothing = np.linspace(0, 1, QUANTILES), np.zeros((2, 0))
    quantiles = [
        np.quantile(joined[name], levels, axis=1).T
        for name in known
        if joined[name].size
    ]
    return (
        fitting.Scores(*np.concatenate(quantiles or [nothing], 1)),
        fitting.Scores(*np.concatenate([nothing, *(joined[n] for n in novel)], 1)),
    )


def measure_stretches(
    run: Run, splits: Splits, windows: Windows, library: np.ndarray, draws: int = DRAWS
) -> fitting.Scores:
    """Medians of the windows of each capture and known condition, see
    `confidence.Calibration`; one that has no other capture to compare with is left out.

    Args:
      run, splits, windows, library, draws: see `measure_scores`.
    """
    points = run.compared(*splits.inputs(windows))
    moments = wccn.signed_log_moments(splits.features(windows))
    training, rng = run.deciding.training, np.random.default_rng(0)
    assert training is not None  # kept before the rule is learnt
    spreads = _spreads(run)
    captures = np.array(splits.sessions.names)[windows.session]
    rows = []
    for code, name in enumerate(splits.conditions.known):
        shows, of_name = windows.condition == code, np.array(training.names) == name
        for capture in np.unique(captures[shows & ~library]):
            judged = np.flatnonzero(shows & ~library & (captures == capture))
            others = np.flatnonzero(shows & (captures != capture))
            kept = of_name & (np.array(training.captures) != capture)
            if not len(others) or not kept.any():
                continue
            near = novelty.nearest_of_names(
                _relative(run, moments[judged], training.moments[kept]),
                [name] * int(kept.sum()),
                [name],
                spreads,
            )
            drawn = others if len(others) <= draws else rng.choice(others, draws, False)
            alone = pairwise.distances(points[judged], points[drawn])
            rows.append([np.median(np.median(alone, 0)), np.median(near)])
    return fitting.Scores(*np.array(rows).reshape(-1, 2).T)


def _to_training(run, splits, windows, moments, spreads):
    """`[N, K]` of `novelty.nearest_of_names`, to training windows of other captures."""
    training = run.deciding.training
    distances = _relative(run, moments, training.moments)
    captures = np.array(splits.sessions.names)[windows.session]
    distances[captures[:, None] == np.array(training.captures)] = np.inf
    return novelty.nearest_of_names(
        distances, training.names, splits.conditions.known, spreads
    )


def _spreads(run):
    return novelty.measure_spreads(run.deciding.training, run.deciding.whitening)


def _relative(run, moments, others):
    return novelty.relative_distances(
        moments, others, run.deciding.training, run.deciding.whitening
    )


def _held_out(splits, known, novel):
    """Windows to learn distances from, and `[N]` bool: which are only examples.

    A condition with one validation capture takes its examples from training captures.
    A condition without any uses training windows in place of validation windows.
    """
    chosen = splits.window_mask(VALID, known + novel)
    library = np.zeros_like(chosen)
    for name in known:
        valid = splits.window_mask(VALID, [name])
        training = splits.window_mask(TRAIN, [name])
        captures = len(np.unique(splits.windows.session[valid]))
        if captures < 2:
            chosen |= training
        if captures == 1:
            library |= training
    return take(splits.windows, chosen), library[chosen]


def session_traffic(splits: Splits, index: int) -> sessions.Traffic:
    """A session of the data set with its baseline."""
    counts, bins = splits.counts, int(splits.sessions.bins[index])
    return sessions.Traffic(
        splits.sessions.names[index],
        counts.session(index)
        if isinstance(counts, StoredCounts)
        else counts[index, :bins],
        Baseline(*(np.asarray(x)[index] for x in splits.baseline)),
    )


def session_evidence(
    run: Run, splits: Splits, index: int, library: examples.Examples
) -> weighing.Evidence:
    """The `Evidence` of a session of the data set, compared with examples."""
    return comparing.compare_traffic(run, session_traffic(splits, index), library)


def session_changes(
    run: Run,
    splits: Splits,
    index: int,
    library: examples.Examples,
    rule: rules.Rule,
) -> fitting.Changes:
    """`fitting.measure_changes` of a session; its evidence is dropped."""
    evidence = session_evidence(run, splits, index, library)
    return fitting.measure_changes(evidence, splits.sessions.labels[index], rule)
