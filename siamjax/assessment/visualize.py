"""Writes the page of a run and draws its figures and its film."""

import logging
import os
import pathlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from siamjax.assessment import page_data
from siamjax.reports import film, page, plots, scalars, tensorboard, trace
from siamjax.text import short

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
      files.Damaged: see `page_data.gather_data`; nothing is written.
    """
    workdir = pathlib.Path(workdir)
    data = page_data.gather_data(workdir)
    if page_data.find_results(workdir) is None:
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
    traced = page_data.read_finite_trace(workdir)
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
      SiamjaxError: see `page_data.gather_data`; the page stays as it was.
    """
    workdir, written = pathlib.Path(workdir), None
    while page_data.find_results(workdir) is None:
        times = [
            path.stat().st_mtime_ns
            for path in (workdir / trace.FILE, workdir / scalars.FILE)
            if path.exists()
        ]
        if times != written:
            data = page_data.gather_data(workdir)
            page.write_page(workdir / REPORT, data, follow=every_s)
            if written is None:
                print(f"open {workdir / REPORT}: it follows the training", flush=True)
            written = times
        time.sleep(every_s)


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
