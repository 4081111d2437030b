"""Gathers what there is to see of a run, as plain data for `reports.page`."""

import logging
import pathlib
import time
from typing import Any

import numpy as np

from siamjax import files, forms
from siamjax.assessment import pictures
from siamjax.data import prepared
from siamjax.evaluation import results as evaluation_results
from siamjax.evaluation import results_form
from siamjax.identification import decide, enrol
from siamjax.inference import runs
from siamjax.reports import film, page, plots, scalars, tensorboard, trace
from siamjax.text import short
from siamjax.training import checkpoints, run_config
from siamjax.types import TEST, SiamjaxError

REPORT = "report.html"
# Characters of a name in the title of a picture of traffic.
NAME = 28
_LOG = logging.getLogger(__name__)


def visualize_run(workdir, *, frames=300):
    """Writes report.html, figures/ (PNG and SVG) and the film of a run.

    Args:
      workdir: of siamjax-train; what it has not come to yet is left out.
      frames: of the film; 0: none.
    Raises:
      SiamjaxError: workdir holds no run; the extra viz is not installed.
      files.Damaged: a file of it cannot be used, see `gather`; nothing is written.
    """
    workdir = pathlib.Path(workdir)
    data = gather_data(workdir)
    if not is_evaluated(workdir):
        _LOG.warning(
            "%s has no results of its last training: siamjax-evaluate --workdir %s "
            "writes them", workdir, workdir,
        )  # fmt: skip
    if "trace" not in data and data["config"].get("trace_frames"):
        _LOG.warning(
            "%s has no trace of its training: no film and no cube of points", workdir
        )
    page.write_page(workdir / REPORT, data)
    print(workdir / REPORT)  # first: what follows needs the extra viz
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


def follow_run(workdir, every_s=3.0):
    """Writes report.html anew as training goes on, until its evaluation is there.

    Raises:
      SiamjaxError: see `gather`; the page stays as it was.
    """
    workdir, before = pathlib.Path(workdir), None
    while not is_evaluated(workdir):
        now = [
            path.stat().st_mtime_ns
            for path in (workdir / trace.FILE, workdir / scalars.FILE)
            if path.exists()
        ]
        if now != before:
            page.write_page(workdir / REPORT, gather_data(workdir), follow=every_s)
            if before is None:
                print(f"open {workdir / REPORT}: it follows the training", flush=True)
            before = now
        time.sleep(every_s)


def is_evaluated(workdir):
    """Whether the results are those of the run as it is now."""
    results, traced = workdir / evaluation_results.FILE, workdir / trace.FILE
    return results.exists() and (
        not traced.exists() or results.stat().st_mtime_ns >= traced.stat().st_mtime_ns
    )


def draw_figures(folder, data, traced=None):
    """Draws what `data` has, and a trace, as PNG and SVG; returns their paths."""
    novel, drawn = page.novel_conditions(data), {}
    if data["curves"]:
        drawn["curves"] = lambda path: plots.draw_curves(path, data["curves"])
    if "results" in data:
        found = data["results"]
        shots, part = next(iter(found["shots"].items()))
        title = f"{found['main']}, {shots} example of each condition"
        drawn["confusion"] = lambda path: plots.draw_confusion(
            path, part["confusion"], list(found["conditions"]), novel=novel, title=title
        )
        drawn["recall"] = lambda path: plots.draw_recall(path, found)
    if "pictures" in data:
        how = dict(clip=data["clip"], bin_s=data["bin_s"])
        panels = [(_origin(shown), shown, shown["rows"]) for shown in data["pictures"]]
        beside = [_beside(mistake) for mistake in data["mistakes"]]
        drawn["traffic"] = lambda path: plots.draw_traffic(
            path, panels, data["columns"], **how
        )
        if beside:
            across = 3 if any(three[2] for three in beside) else 2
            wrong = [panel for three in beside for panel in three[:across]]
            drawn["mistakes"] = lambda path: plots.draw_traffic(
                path, wrong, data["columns"], **how, across=across
            )
    if "timelines" in data:
        drawn["timelines"] = lambda path: plots.draw_timelines(
            path, data["timelines"], novel
        )
    if traced is not None:
        drawn["embedding"] = lambda path: plots.draw_cube(
            path, traced.points[-1], traced.about["conditions"], novel=novel,
            title=f"Windows of traffic at step {traced.steps[-1]}",
        )  # fmt: skip
    paths = [folder / f"{name}.{kind}" for name in drawn for kind in ("png", "svg")]
    for path in paths:
        drawn[path.stem](path)
    return paths


def _origin(window):
    names = [short(window[key], NAME) for key in ("condition", "capture")]
    return f"{': '.join(names)} at {window['start_s']:g} s"


def _beside(mistake):
    """Panels: the window, the example it was compared with, and its own if another."""
    window, example, own = (mistake[part] for part in ("window", "example", "own"))
    titles = (
        f"named {short(mistake['named'], NAME)}\n{_origin(window)}",
        f"nearest example, {mistake['distance']:.2f} away\n{_origin(example)}",
        own and f"its own example, {mistake['own_distance']:.2f} away\n{_origin(own)}",
    )
    return [
        shown and (title, shown, mistake["rows"])
        for title, shown in zip(titles, (window, example, own))
    ]


def gather_data(workdir):
    """Page data of a run, as far as it has come: see `reports.page`.

    Raises:
      SiamjaxError: workdir holds no run.
      files.Damaged: a file of it cannot be used, the trace and the scalars as well: a
        page without them would not say that they are lost.
    """
    workdir = pathlib.Path(workdir)
    data = dict(
        config=run_config.read_config(workdir),
        curves=scalars.read_scalars(workdir),
    )
    data["title"] = make_title(workdir.resolve().name, data["config"])
    if (traced := read_trace(workdir)) is not None:
        data["trace"] = page.trace_data(traced)
    if is_evaluated(workdir):
        judged = read_results(workdir)
        if "out_of_fold" in judged:
            data["out_of_fold"] = judged["out_of_fold"]["identification"]
        if judged["shots"]:
            data["results"] = judged
            data["results_text"] = evaluation_results.format_results(judged)
            data |= gather_looks(workdir, judged)
    data["facts"], data["subtitle"] = list_facts(data), make_subtitle(data)
    return data


def read_trace(workdir: pathlib.Path) -> trace.Trace | None:
    """The trace of a run as far as its points are finite; None: there is none.

    Raises:
      files.Damaged: see `trace.read_trace`.
    """
    traced = trace.read_trace(workdir)
    if traced is None:
        return None
    finite = np.isfinite(traced.points).all((1, 2))
    kept = traced._replace(steps=traced.steps[finite], points=traced.points[finite])
    return kept if finite.any() else None


def read_results(workdir):
    """results.json of a run.

    Raises:
      SiamjaxError: it is damaged, or of another version of its schema.
    """
    path = workdir / evaluation_results.FILE
    remedy = f"run siamjax-evaluate --workdir {workdir} again"
    with files.parsing(path, remedy):
        found = files.read_json(path, remedy)
        forms.check_form(found, {"schema": int})
        if found["schema"] != evaluation_results.SCHEMA:
            raise SiamjaxError(f"{path} is of another version of siamjax: {remedy}")
        results_form.check_results(found)
        return found


def make_title(name: str, config: dict[str, Any]) -> str:
    """What a run is: its name, its losses and its data, as `first: triplet on testbed`.

    Heads with different losses are named: `first: match nca, view triplet on testbed`.
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


def make_subtitle(data):
    """How far the run is, or which step its results are of, and its main result."""
    steps = data["config"]["steps"]
    if "results" not in data:
        done = max((at[-1] for at, _ in data["curves"].values()), default=0)
        return f"step {done} of {steps}"
    found = data["results"]
    shots, part = next(iter(found["shots"].items()))
    groups = [
        "{} conditions {value:.2f} [{low:.2f}, {high:.2f}]".format(
            group, **units["window"]
        )
        for group, units in part["recall"][found["main"]].items()
        if units["window"]["value"] is not None
    ]
    return (
        f"results of step {found['step']} of {steps}: recall per window from {shots} "
        f"example of each condition: "
        f"{', '.join(groups)}; chance {part['chance']:.2f}"
    )


def list_facts(data):
    """What a reader asks first: version, step, data, losses."""
    config, found = data["config"], data.get("results", {})
    out = {"version": found.get("version", "")}
    if found:
        out["best checkpoint"] = f"step {found['step']}"
        out["test"] = f"{found['windows']} windows of {found['captures']} captures"
    out["data"] = config["data"]["dir"]
    if made := prepared.read_meta(config["data"]["dir"]):
        out["data prepared by"] = f"siamjax {made.get('version', '?')}"
        out["SHA-256 of its labels"] = made.get("labels_sha256", "")
    out["seed"] = config["seed"]
    for name, head in config["heads"].items():
        if head:
            beside = head["statistics_weight"] and " learnt, statistics beside them"
            size = f"{head['dim']} dimensions{beside or ''}"
            decides = ", decides" if name == config["decide_with"] else ""
            out[f"head {name}"] = f"{size}, {head['loss']}{decides}"
    return {name: value for name, value in out.items() if value != ""}


def gather_looks(workdir, found):
    """Timelines of the test captures and pictures of their traffic."""
    run = runs.open_run(workdir, checkpoints.BEST)
    splits = runs.read_data(run)
    chosen, rule = enrol.read_enrolment(run)
    verdicts = found["identification"]["captures"]
    right = {row["capture"]: row["right"] for row in verdicts}
    return dict(
        timelines=gather_timelines(run, splits, chosen, rule, right),
        **pictures.gather_pictures(run, splits, chosen, rule),
    )


def gather_timelines(run, splits, chosen, rule, right):
    """For each test capture what was, and what `identify` says by default."""
    origins = [f"{place.capture}@{place.start_s:g}" for place in chosen.places]
    out = []
    for i in np.flatnonzero(splits.role == TEST):
        evidence = enrol.session_evidence(run, splits, i, chosen)
        spans = decide.find_spans(evidence, rule, origins)
        name = splits.sessions[i]
        out.append(
            page.timeline(
                name, spans, splits.labels[i], end_s=float(evidence.end_s),
                right=right.get(name),
            )
        )  # fmt: skip
    return out
