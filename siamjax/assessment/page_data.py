"""The data of a run's page: config, curves, results, traffic of the test captures."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from siamjax import files, forms
from siamjax.assessment import pictures
from siamjax.config import BEST
from siamjax.data import prepared
from siamjax.data.splits import Splits
from siamjax.evaluation import results as evaluation_results
from siamjax.evaluation import results_form
from siamjax.evaluation.spaces import Space, describe_space
from siamjax.identification import decide, enrol, reasons, rules
from siamjax.identification.examples import Examples
from siamjax.inference import runs
from siamjax.reports import page, scalars, trace
from siamjax.training import checkpoints, run_config
from siamjax.types import TEST, SiamjaxError


def gather_data(workdir: str | os.PathLike) -> dict[str, Any]:
    """The data of a run's page, as far as the run has it: see `reports.page`.

    Raises:
      SiamjaxError: workdir holds no run.
      files.Damaged: a file of it cannot be used. This is also raised for the trace and
        the scalars: a page without them would hide that they are lost.
    """
    workdir = pathlib.Path(workdir)
    data: dict[str, Any] = dict(
        config=run_config.read_config(workdir),
        curves=scalars.read_scalars(workdir),
    )
    data["title"] = make_title(workdir.resolve().name, data["config"])
    if (traced := read_finite_trace(workdir)) is not None:
        data["trace"] = page.trace_data(traced)
    if (judged := find_results(workdir)) is not None:
        if "out_of_fold" in judged:
            data["out_of_fold"] = judged["out_of_fold"]["identification"]
        if judged["shots"]:
            data["results"] = judged
            data["results_text"] = evaluation_results.format_results(judged)
            data |= gather_test_views(workdir, judged)
    data["facts"] = list_facts(data, workdir)
    data["subtitle"] = make_subtitle(data)
    return data


def find_results(workdir: pathlib.Path) -> dict[str, Any] | None:
    """results.json of a run; None: it is not there, or the run was trained further.

    Results of an older version do not say of which training they are, and are taken.

    Raises:
      SiamjaxError: see `read_results`.
    """
    if not (workdir / evaluation_results.FILE).exists():
        return None
    results = read_results(workdir)
    trained = results.get("scalars_sha256")
    return results if trained in (None, scalars.hash_scalars(workdir)) else None


def read_results(workdir: pathlib.Path) -> dict[str, Any]:
    """results.json of a run.

    Raises:
      SiamjaxError: it is damaged, or of another version of its schema.
    """
    path = workdir / evaluation_results.FILE
    remedy = f"run siamjax evaluate --workdir {workdir} again"
    with files.parsing(path, remedy):
        results = files.read_json(path, remedy)
        forms.check_form(results, {"schema": int})
        if results["schema"] != evaluation_results.SCHEMA:
            raise SiamjaxError(f"{path} is of another version of siamjax: {remedy}")
        results_form.check_results(results)
        return results


def read_finite_trace(workdir: pathlib.Path) -> trace.Trace | None:
    """The trace of a run, with the steps whose points are finite; None: no such step.

    Raises:
      files.Damaged: see `trace.read_trace`.
    """
    traced = trace.read_trace(workdir)
    if traced is None:
        return None
    finite = np.isfinite(traced.points).all((1, 2))
    kept = traced._replace(steps=traced.steps[finite], points=traced.points[finite])
    return kept if finite.any() else None


def make_title(name: str, config: dict[str, Any]) -> str:
    """The name of a run, its losses and its data, such as `first: triplet on testbed`.

    Heads with different losses are listed: `first: match nca, view triplet on testbed`.
    """
    losses = {
        head: fields["loss"].partition(":")[0]
        for head, fields in config["heads"].items()
        if fields
    }
    if len(set(losses.values())) == 1:
        shown = next(iter(losses.values()))
    else:
        shown = ", ".join(f"{head} {loss}" for head, loss in losses.items())
    return f"{name}: {shown} on {pathlib.PurePath(config['data']['dir']).name}"


def make_subtitle(data: dict[str, Any]) -> str:
    """The main result and its step; before the evaluation, the steps done so far."""
    steps = data["config"]["steps"]
    if "results" not in data:
        done = max((curve[0][-1] for curve in data["curves"].values()), default=0)
        return f"step {done} of {steps}"
    results = data["results"]
    shots, part = next(iter(results["shots"].items()))
    groups = [
        "{} conditions {value:.2f} [{low:.2f}, {high:.2f}]".format(
            group, **units["window"]
        )
        for group, units in part["recall"][results["main"]].items()
        if units["window"]["value"] is not None
    ]
    return (
        f"results of step {results['step']} of {steps}: recall per window from {shots} "
        f"example of each condition: {', '.join(groups)}; chance {part['chance']:.2f}"
    )


def list_facts(data: dict[str, Any], workdir: pathlib.Path) -> dict[str, Any]:
    """{name: value} of version, step, data, seed and heads, for the top of the page."""
    config, results = data["config"], data.get("results", {})
    facts: dict[str, Any] = {"version": results.get("version", "")}
    if results:
        facts["best checkpoint"] = f"step {results['step']}"
        facts["test"] = (
            f"{results['windows']} windows of {results['captures']} captures"
        )
    facts["data"] = config["data"]["dir"]
    if meta := prepared.read_meta(_data_folder(workdir, config)):
        facts["data prepared by"] = f"siamjax {meta.get('version', '?')}"
        facts["SHA-256 of its labels"] = meta.get("labels_sha256", "")
    facts["seed"] = config["seed"]
    for name, head in config["heads"].items():
        if head:
            size = f"{head['dim']} dimensions"
            if head["statistics_weight"]:
                size += " learnt, statistics beside them"
            decides = ", decides" if name == config["decide_with"] else ""
            facts[f"head {name}"] = f"{size}, {head['loss']}{decides}"
    if config["decide_with"] == BEST and "space" in results:
        space = Space(*(results["space"][field] for field in Space._fields))
        judged = any(
            row["less"] for curve in results.get("spaces", ()) for row in curve
        )
        how = "validation chose" if judged else "nothing was validated"
        facts["decision"] = f"{describe_space(space)}: {how}"
    return {name: value for name, value in facts.items() if value != ""}


def _data_folder(workdir, config):
    """The folder of a run's data, also from another folder than the training's."""
    folder = config["data"]["dir"]
    if os.path.isabs(folder):
        return folder
    with checkpoints.open_checkpoints(workdir) as saved:
        meta = saved.meta(checkpoints.BEST)
    if meta is None:
        return folder
    parsed = run_config.parse_config(workdir, config, meta.get("config"))
    return run_config.locate_data(workdir, parsed, meta).data.dir


def gather_test_views(workdir: pathlib.Path, results: dict[str, Any]) -> dict[str, Any]:
    """Timelines of the test captures, and pictures of their traffic."""
    run = runs.open_run(workdir, checkpoints.BEST)
    splits = runs.read_data(run)
    library, rule = enrol.read_enrolment(run)
    verdicts = results["identification"]["captures"]
    right = {row["capture"]: row["right"] for row in verdicts}
    return dict(
        timelines=gather_timelines(run, splits, library, rule, right),
        **pictures.gather_pictures(run, splits, library, rule),
    )


def gather_timelines(
    run: runs.Run,
    splits: Splits,
    library: Examples,
    rule: rules.Rule,
    right: Mapping[str, bool],
) -> list[dict[str, Any]]:
    """`page.timeline`s of the test captures, by the examples and rule of the run."""
    origins = [f"{place.capture}@{place.start_s:g}" for place in library.places]
    timelines = []
    for i in np.flatnonzero(splits.sessions.role == TEST).tolist():
        evidence = enrol.session_evidence(run, splits, i, library)
        spans = decide.find_spans(evidence, rule, origins)
        name, labels = splits.sessions.names[i], splits.sessions.labels[i]
        verdict, end_s = right.get(name), float(evidence.end_s)
        traffic = enrol.session_traffic(splits, i)
        whys = [
            reasons.describe(span, reasons.find_moved(run, traffic, span))
            for span in spans
        ]
        timelines.append(
            page.timeline(name, spans, labels, end_s=end_s, right=verdict, whys=whys)
        )
    return timelines
