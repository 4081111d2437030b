"""Captures -> lines that say which condition held when, for people or as JSON."""

import json
import math
import pathlib
import sys

from siamjax.identification import decide, enrol, examples, sessions
from siamjax.reports import page, plots
from siamjax.training import restored
from siamjax.types import SiamjaxError, UsageError

PLOTS = (".html", ".png", ".svg")


def identify(
    workdir, captures, *, places=(), examples_csv=None, baseline_s=None,
    baseline_capture=None, as_json=False, plot=None,
):  # fmt: skip
    """Prints a line for each change of condition of each capture.

    Args:
      workdir: a run that was evaluated.
      captures: paths of capture files.
      places: `examples.Place`s of conditions to know beside the others.
      examples_csv: a CSV of examples instead of those stored with the run.
      baseline_s, baseline_capture: see `sessions.read`.
      as_json: JSON lines instead of text.
      plot: of a picture of the timelines, a path that ends in .html, .png or .svg.
    Raises:
      SiamjaxError: none of the captures could be read.
    """
    if plot and pathlib.Path(plot).suffix not in PLOTS:
        raise UsageError(f"--plot {plot} does not end in {', '.join(PLOTS)}")
    run = restored.open_run(workdir)
    chosen, rule = enrol.stored(run)
    if examples_csv:
        chosen, places = None, (*examples.read_csv(examples_csv), *places)
    known = {}
    for place in places:
        parts = [chosen] if chosen else []
        chosen = examples.join(*parts, _example(place, run, known))
    failed, rows = [], []
    for capture in captures:
        try:
            traffic = sessions.read(
                capture, run, baseline_s=baseline_s, baseline_capture=baseline_capture
            )
        except UsageError:
            raise  # the command's fault, not the capture's
        except (SiamjaxError, OSError) as error:
            failed.append(f"{error}")
            continue
        found = spans(run, traffic, chosen, rule)
        _print(capture, traffic, found, as_json)
        rows.append(
            page.timeline(
                traffic.name, found, None, warning=traffic.warning,
                end_s=len(traffic.counts) * run.config.data.bin_s,
            )
        )  # fmt: skip
    if plot and rows:
        _draw(plot, rows)
    if failed:
        raise SiamjaxError("; ".join(failed))


def spans(run, traffic, chosen, rule):
    """The timeline of a session: a list of `timeline.Span`."""
    seen, order = sessions.evidence(run, traffic, chosen)
    origins = [f"{pathlib.Path(p.capture).name}@{p.start_s:g}" for p in chosen.places]
    return decide.timeline(seen, order, origins, rule)


def _draw(plot, rows):
    """Timelines as a page or a picture."""
    if plot.endswith(".html"):
        page.write(plot, dict(title="What happened when", timelines=rows))
    else:
        plots.timelines(plot, rows)


def _example(place, run, known):
    """One example as `Examples`; `known` keeps the captures that were read."""
    if place.capture not in known:
        known[place.capture] = sessions.read(place.capture, run)
    traffic, data = known[place.capture], run.config.data
    first = round(place.start_s / data.bin_s)
    counts = traffic.counts[first : first + data.bins]
    if len(counts) < data.bins:
        last_s = (len(traffic.counts) - data.bins) * data.bin_s
        raise UsageError(
            f"example {place.condition!r}: {place.capture} has no window at "
            f"{place.start_s:g} s, the last begins at {last_s:g} s"
        )
    return examples.Examples(
        (place,), counts[None], sessions.repeat(traffic.baseline, 1)
    )


def _print(capture, traffic, found, as_json):
    if traffic.warning:
        print(f"{capture}: {traffic.warning}", file=sys.stderr)
    if not as_json:
        print(capture)
    for span in found:
        if as_json:
            row = dict(capture=str(capture), **span._asdict())
            row["margin"] = row["margin"] if math.isfinite(row["margin"]) else None
            print(json.dumps(row), flush=True)
        else:
            print(_line(span), flush=True)


def _line(span):
    line = (
        f"  {span.start_s:7.1f} - {span.end_s:7.1f} s  {span.condition:20s} "
        f"distance {span.distance:.2f}"
    )
    if math.isfinite(span.margin):
        line += f", next {span.distance + span.margin:.2f}"
    return f"{line}, nearest {span.example}"
