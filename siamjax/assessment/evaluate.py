"""Evaluates a run: results, the rule for identification, projector files, a picture."""

import functools
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax import files
from siamjax.assessment import out_of_fold, rejection, tally
from siamjax.config import BEST, Config, DataConfig
from siamjax.data.splits import Splits
from siamjax.evaluation import baselines, one_shot, results, spaces
from siamjax.identification import confidence, decide, enrol, examples, rules
from siamjax.inference import deciding, runs
from siamjax.inference.deciding import Deciding
from siamjax.inference.runs import Run
from siamjax.reports import plots, projector, scalars
from siamjax.text import terminal_width
from siamjax.training import folds, hosts, step, whitening
from siamjax.types import NORMAL, TEST, VALID, SiamjaxError, Windows

_LOG = logging.getLogger(__name__)

# An onset so near to that of the label counts as right.
ONSET_WITHIN_S = 8.0
# The name of the space that validation chose, beside those of the heads.
DECISION = "decision"
# Folder in the workdir for results on other data sets.
EVALUATIONS = "evaluations"


def evaluate_run(
    workdir: str | pathlib.Path,
    data: str | None = None,
    *,
    trained_on: DataConfig | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Judges the best checkpoint of a run on captures that it was not trained on.

    Writes results.json, its tables as CSV, the projector's files and embedding.png.

    * Without `data` the test captures of the run's own data set are judged. The files
      are written into workdir, together with space.npz, rule.json, examples.npz and
      examples.csv, which are learnt first.
    * With `data` all its captures are judged, by the examples and the rule of the run.
      The files are written into a folder of their own in workdir.

    A run without test captures has no tables. A run on all captures is judged by its
    fold runs instead: by what they say of captures that they did not see.

    With several processes all must call it, and get the same results. They divide the
    sessions and the methods that are compared. The first one alone reads and writes in
    workdir, and calls `say`.

    Args:
      workdir: of siamjax train.
      data: another prepared data set; by default that of the training.
      trained_on: where this host has the data of the training; by default config.json
        says it.
      say: is called with the lines of the tables.
    Returns:
      What results.json holds, see `evaluation.results`.
    Raises:
      UsageError: the data does not fit the run.
      SiamjaxError: there is no run, or the other data set has no capture to judge.
    """
    workdir = pathlib.Path(workdir)
    run = runs.open_run(workdir, evaluated=bool(data), data=trained_on)
    splits = runs.read_data(run, data)
    unseen: dict[str, Any] = {}
    if data:
        hosts.everywhere(lambda: _check_judgeable(workdir, data, splits))
        chosen, rule = enrol.read_enrolment(run)
    else:
        run, chosen, rule, unseen = learn_enrolment(run, splits)
    verdicts = judge_captures(run, splits, chosen, rule)
    embedded = hosts.everywhere(lambda: embed_windows(run, splits))
    recall = (
        judge_recall(run, splits, embedded) if embedded else results.empty_results()
    )
    judged = _Judged(
        run, splits, chosen, rule, verdicts, embedded, recall, unseen, data
    )
    return hosts.from_first(lambda: _conclude(judged, say))


def _check_judgeable(workdir, data, splits):
    if not splits.window_mask(TEST).any():
        raise SiamjaxError(
            f"{data} has no capture to judge {workdir} by: give captures that it was "
            "neither trained nor validated with"
        )


class Embedded(NamedTuple):
    """The N windows of the test, and their points by the heads of a run."""

    windows: Windows
    library: np.ndarray | None  # `[N]` bool, see `one_shot.recognise`
    features: np.ndarray  # `[N, T, F]`
    # {head or DECISION: `[N, E]`}, the one that decides is the first.
    points: dict[str, np.ndarray]


class _Judged(NamedTuple):
    """A run, and what an evaluation knows of it."""

    run: Run
    splits: Splits
    examples: examples.Examples
    rule: rules.Rule
    verdicts: list[tally.Row]
    embedded: Embedded | None  # None: there is no window of the test
    recall: dict[str, Any]  # see `judge_recall`
    unseen: dict[str, Any]  # see `learn_enrolment`
    data: str | None  # another data set

    @property
    def folder(self) -> pathlib.Path:
        """Of the results."""
        workdir = self.run.workdir
        if not self.data:
            return workdir
        return evaluation_folder(workdir, self.data, self.splits.provenance.sha256)


def _conclude(judged, say):
    """Writes all files and says the results, which it returns."""
    run, splits, folder = judged.run, judged.splits, judged.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not judged.data:
        examples.write_places(folder / "examples.csv", judged.examples)
    if judged.embedded:
        write_pictures(folder, run, splits, judged.embedded)
    report = judged.recall | dict(
        step=run.step,
        version=run.version,
        scalars_sha256=scalars.hash_scalars(run.workdir),
        data=dict(
            dir=judged.data or run.config.data.dir,
            sha256=splits.provenance.sha256,
            new=list(splits.provenance.new),
        ),
        rule={k: x for k, x in judged.rule._asdict().items() if isinstance(x, float)},
        calibration=confidence.as_json(judged.rule.calibration),
        identification=tally.count_rows(judged.verdicts, onset_tolerance_s(run.config)),
        losses=step.hyper_parameters(run.config),
        space=run.deciding.space._asdict(),
        **judged.unseen,
    )
    if rejected := rejection.judge_windows(run, splits, judged.examples):
        report["rejection"] = rejected
    files.write_json(folder / results.FILE, report, allow_nan=False)
    for name, rows in results.csv_tables(report).items():
        files.write_csv(folder / name, rows)
    for line in _describe(judged, report):
        say(line)
    return report


def _describe(judged, report):
    """Yields the lines about a report, of `evaluate_run`."""
    yield results.format_results(report, terminal_width())
    if judged.embedded:
        space = spaces.describe_space(judged.run.deciding.space)
        yield f"compared by {space}{_why(judged.unseen)}\n"
    if "rejection" in report:
        yield rejection.describe_rejection(report["rejection"]) + "\n"
    yield from tally.describe_counts(report["identification"])
    if "out_of_fold" in report:
        unseen = report["out_of_fold"]
        heading = "identification of captures out of fold:"
        yield from tally.describe_counts(unseen["identification"], heading)
        if "rejection" in unseen:
            yield rejection.describe_rejection(unseen["rejection"])
    if judged.data:
        yield f"\nwritten to {judged.folder}"


def learn_enrolment(
    run: Run, splits: Splits
) -> tuple[Run, examples.Examples, rules.Rule, dict[str, Any]]:
    """Learns and stores the space, the examples and the rule of a run.

    With several processes all must call it; they divide the sessions.

    Returns:
      The run, which decides in the space; `Examples`; `Rule`; and more fields of
      results.json: `spaces`, and for a run on all captures `out_of_fold`.
    """
    kept = whitening.keep_windows(splits)
    if not folds.trains_on_all(run.config):
        learnt, curve = hosts.from_first(lambda: runs.judge_spaces(run, splits))
        bins = whitening.learn_normal_bins(splits, run.config.data)
        space = spaces.choose([curve])
        run = _decide_in(run, Deciding(space, learnt, kept, normal_bins=bins))
        return run, *enrol.enrol(run, splits), dict(spaces=[curve])
    fold_runs, space, curves = out_of_fold.open_runs(run)
    learnt = hosts.from_first(lambda: whitening.learn_whitening(splits))
    bins = out_of_fold.join_normal_bins(run, splits, fold_runs)
    run = _decide_in(run, Deciding(space, learnt, kept, normal_bins=bins))
    opened = out_of_fold.measure_folds(fold_runs)
    rule = out_of_fold.fit_common_rule(opened)
    chosen = out_of_fold.choose_examples(opened, run, splits)
    hosts.from_first(lambda: enrol.write_enrolment(run, chosen, rule))
    verdicts = [
        row
        for fold in opened
        for row in judge_captures(fold.run, fold.splits, fold.examples, rule, VALID)
    ]
    counts = tally.count_rows(verdicts, onset_tolerance_s(run.config))
    thresholds = [fold.unknown for fold in opened]
    unseen = dict(unknown=thresholds, identification=counts)
    known, novel, _ = out_of_fold.join_scores(opened)
    if rejected := rejection.compare_scores(known, novel):
        unseen["rejection"] = rejected
    return run, chosen, rule, dict(spaces=curves, out_of_fold=unseen)


def _decide_in(run, chosen):
    """The run with what decides, which is also written into its workdir."""
    hosts.from_first(lambda: deciding.write_deciding(run.workdir, chosen))
    return run._replace(deciding=chosen)


def _why(unseen):
    """Why the space was chosen, for the text."""
    curves = unseen.get("spaces", ())
    if not any(row["less"] for curve in curves for row in curve) or len(curves[0]) == 1:
        return ""
    return f", chosen among {len(curves[0])} spaces on validation"


def embed_windows(run: Run, splits: Splits) -> Embedded | None:
    """The windows of the test; None if there is none."""
    if not splits.window_mask(TEST).any():
        return None
    windows, library = splits.windows_to_judge(TEST)
    heads = run.embed(*splits.inputs(windows))
    x = splits.features(windows)
    compared = deciding.to_points(run.deciding, run.config, heads, x)
    decided = DECISION if run.config.decide_with == BEST else run.config.decide_with
    others = {head: heads[head] for head in sorted(heads) if head != decided}
    return Embedded(windows, library, x, {decided: compared} | others)


def judge_recall(run: Run, splits: Splits, embedded: Embedded) -> dict[str, Any]:
    """One-shot results of a run on its test captures, see `evaluation.results`.

    With several processes all must call it; they divide the methods.
    """
    windows, x = embedded.windows, embedded.features
    learnt = {
        _method_name(name): functools.partial(embedded.points.__getitem__, name)
        for name in embedded.points
    }
    simple: dict[str, Callable[[], np.ndarray]] = {
        name: functools.partial(to_points, x)
        for name, to_points in baselines.BASELINES.items()
    }
    learnt_wccn = run.deciding.whitening
    if learnt_wccn is not None:  # an older evaluation of this run did not learn it
        embed_by_wccn = functools.partial(baselines.wccn_points, x, learnt_wccn)
        simple = {spaces.WCCN: embed_by_wccn} | simple

    def embed_untrained():
        heads = run.untrained(*splits.inputs(windows))
        return deciding.to_points(run.deciding, run.config, heads, x)

    simple["untrained encoder"] = embed_untrained
    return results.build_results(
        learnt,
        simple,
        windows.condition,
        windows.session,
        names=splits.conditions.names,
        groups=group_conditions(splits),
        draws=run.config.draws,
        library=embedded.library,
        compute=hosts.divided,
    )


def _method_name(name):
    """The name in the results of what is compared: the decision, or a head."""
    return name if name == DECISION else f"{name} head"


def evaluation_folder(workdir: pathlib.Path, data: str, sha256: str) -> pathlib.Path:
    """Where the results of a run on another data set are written.

    Its name holds the hash of the data: data sets of the same name get two folders.
    """
    return workdir / EVALUATIONS / f"{pathlib.Path(data).resolve().name}-{sha256[:8]}"


def onset_tolerance_s(config: Config) -> float:
    """The largest error in seconds of a right onset: at least a bin."""
    return max(ONSET_WITHIN_S, config.data.bin_s)


def group_conditions(splits: Splits) -> dict[str, Sequence[str]]:
    """{group: names of its conditions}."""
    return dict(
        known=splits.conditions.known,
        novel_valid=splits.conditions.novel_valid,
        novel=splits.conditions.novel,
    )


def judge_captures(
    run: Run,
    splits: Splits,
    library: examples.Examples,
    rule: rules.Rule,
    role: str = TEST,
) -> list[tally.Row]:
    """The `tally.Row` of each capture of a role that has one fault or none.

    A capture with several faults is left out, because no single name is right. With
    several processes all must call it; they divide the captures.
    """
    judged = []
    for i in np.flatnonzero(splits.sessions.role == role).tolist():
        faults = [x for x in splits.sessions.labels[i] if x.condition != NORMAL]
        if len(faults) < 2:
            judged.append((i, faults[0] if faults else None))

    def judge(session):
        i, label = session
        evidence = enrol.session_evidence(run, splits, i, library)
        return tally.judge_capture(
            splits.sessions.names[i],
            decide.find_spans(evidence, rule),
            label,
            library.names,
            onset_tolerance_s(run.config),
        )

    return hosts.divided(judge, judged)


def write_pictures(
    folder: pathlib.Path,
    run: Run,
    splits: Splits,
    embedded: Embedded,
) -> None:
    """Writes the projector's files of each head, and embedding.png.

    Args:
      folder: of the results.
      run, splits: the run and its data.
      embedded: the windows.
    """
    windows, library, points = embedded.windows, embedded.library, embedded.points
    conditions = [splits.conditions.names[c] for c in windows.condition]
    novel = splits.conditions.novel_valid + splits.conditions.novel
    dims = {name: head.dim for name, head in run.config.active_heads.items()}
    dims[DECISION] = dims.get(run.deciding.space.head, 0)
    for name, x in points.items():
        judged = one_shot.recognise(
            x,
            windows.condition,
            windows.session,
            draws=run.config.draws,
            library=library,
        )
        projector.write_projector(
            folder / "projector" / name,
            x,
            conditions=conditions,
            captures=[splits.sessions.names[s] for s in windows.session],
            times=windows.start * run.config.data.bin_s,
            roles=splits.sessions.role[windows.session].tolist(),
            right=one_shot.share_right(judged),
            novel=novel,
            learnt=dims[name],
        )
    if "view" not in points:
        return
    decided = next(iter(points))
    cube_title = "Test windows in the view head's cube"
    path, view = folder / "embedding.png", points["view"]
    try:
        if decided == "view":
            plots.draw_cube(path, view, conditions, novel=novel, title=cube_title)
        else:
            titles = (cube_title, "in the space in which they are compared")
            other = points[decided]
            plots.draw_heads(path, view, other, conditions, novel=novel, titles=titles)
    except SiamjaxError as error:
        _LOG.info("no embedding.png: %s", error)
