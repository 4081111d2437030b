"""Gathers what a run has to show, writes its page and draws its figures."""

import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from functools import partial
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
from siamjax.reports import film, page, plots, scalars, tensorboard, trace
from siamjax.text import short
from siamjax.training import checkpoints, run_config
from siamjax.types import TEST, SiamjaxError

REPORT = "report.html"
# The most characters of a name in the title of a picture of traffic.
NAME = 28
_LOG = logging.getLogger(__name__)


def visualize_run(workdir: str | os.PathLike, *, frames: int = 300) -> None:
    """Writes report.html, figures/ (PNG and SVG) and the film of a run.

    Args:
      workdir: of siamjax train; parts that are not written yet are left out.
      frames: length of the film; 0: no film.
    Raises:
      SiamjaxError: workdir holds no run; the extra viz is not installed.
      files.Damaged: a file of it cannot be used, see `gather_data`; nothing is written.
    """
    workdir = pathlib.Path(workdir)
    data = gather_data(workdir)
    if find_results(workdir) is None:
        _LOG.warning(
            "%s has no results of its last training: siamjax evaluate --workdir %s "
            "writes them",
            workdir,
            workdir,
        )
    if "trace" not in data and data["config"].get("trace_frames"):
        _LOG.warning(
            "%s has no trace of its training: no film and no cube of points", workdir
        )
    page.write_page(workdir / REPORT, data)
    print(workdir / REPORT)  # before the figures, which need the extra viz
    traced = read_trace(workdir)
    drawn = draw_figures(workdir / "figures", data, traced)
    for path in drawn:
        print(path)
    tensorboard.write_summaries(
        workdir / tensorboard.RUN,
        config=data["config"],
        traced=traced,
        results=data.get("results"),
        text=data.get("results_text", ""),
        pictures=[path for path in drawn if path.name == "confusion.png"],
    )
    if frames and traced is not None:
        for path in film.write_film(
            workdir / "film", traced, data["curves"], count=frames
        ):
            print(path)


def follow_run(workdir: str | os.PathLike, every_s: float = 3.0) -> None:
    """Writes report.html again and again during training, until the run is evaluated.

    Raises:
      SiamjaxError: see `gather_data`; the page stays as it was.
    """
    workdir, written = pathlib.Path(workdir), None
    while find_results(workdir) is None:
        times = [
            path.stat().st_mtime_ns
            for path in (workdir / trace.FILE, workdir / scalars.FILE)
            if path.exists()
        ]
        if times != written:
            page.write_page(workdir / REPORT, gather_data(workdir), follow=every_s)
            if written is None:
                print(f"open {workdir / REPORT}: it follows the training", flush=True)
            written = times
        time.sleep(every_s)


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


def draw_figures(
    folder: pathlib.Path, data: dict[str, Any], traced: trace.Trace | None = None
) -> list[pathlib.Path]:
    """Draws the figures of a run as PNG and SVG, as far as it has their data.

    Args:
      folder: of the pictures.
      data: see `reports.page`.
      traced: the trace of the run.
    Returns:
      The paths of the pictures.
    """
    novel = page.novel_conditions(data)
    figures: dict[str, Callable[[pathlib.Path], None]] = {}
    if data["curves"]:
        figures["curves"] = partial(plots.draw_curves, scalars=data["curves"])
    if "results" in data:
        results = data["results"]
        shots, part = next(iter(results["shots"].items()))
        figures["confusion"] = partial(
            plots.draw_confusion,
            shares=part["confusion"],
            conditions=list(results["conditions"]),
            novel=novel,
            title=f"{results['main']}, {shots} example of each condition",
        )
        figures["recall"] = partial(plots.draw_recall, results=results)
    if "pictures" in data:
        draw_traffic = partial(
            plots.draw_traffic,
            columns=data["columns"],
            clip=data["clip"],
            bin_s=data["bin_s"],
        )
        panels = [(_origin(shown), shown, shown["rows"]) for shown in data["pictures"]]
        figures["traffic"] = partial(draw_traffic, panels=panels)
        mistakes = [_mistake_panels(mistake) for mistake in data["mistakes"]]
        if mistakes:
            across = 3 if any(three[2] for three in mistakes) else 2
            panels = [panel for three in mistakes for panel in three[:across]]
            figures["mistakes"] = partial(draw_traffic, panels=panels, across=across)
    if "timelines" in data:
        figures["timelines"] = partial(
            plots.draw_timelines, rows=data["timelines"], novel=novel
        )
    if traced is not None:
        figures["embedding"] = partial(
            plots.draw_cube,
            points=traced.points[-1],
            conditions=traced.about["conditions"],
            novel=novel,
            title=f"Windows of traffic at step {traced.steps[-1]}",
        )
    paths = []
    for name, draw in figures.items():
        for kind in ("png", "svg"):
            paths.append(folder / f"{name}.{kind}")
            draw(paths[-1])
    return paths


def _origin(window):
    names = [short(window[key], NAME) for key in ("condition", "capture")]
    return f"{': '.join(names)} at {window['start_s']:g} s"


def _mistake_panels(mistake):
    """Three panels: the window, the nearest example, and the nearest of its own
    condition, or None where that is the same or there is none."""
    window, example, same = (mistake[part] for part in ("window", "example", "own"))
    titles = (
        f"named {short(mistake['named'], NAME)}\n{_origin(window)}",
        f"nearest example, {mistake['distance']:.2f} away\n{_origin(example)}",
        same
        and f"its own example, {mistake['own_distance']:.2f} away\n{_origin(same)}",
    )
    return [
        shown and (title, shown, mistake["rows"])
        for title, shown in zip(titles, (window, example, same))
    ]


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
    if (traced := read_trace(workdir)) is not None:
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


def read_trace(workdir: pathlib.Path) -> trace.Trace | None:
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
