"""Captures -> lines that say which condition held when, for people or as JSON."""

import json
import logging
import math
import pathlib

import numpy as np

from siamjax.data import prepared
from siamjax.identification import decide, enrol, examples, readings, sessions
from siamjax.inference import runs
from siamjax.reports import page, plots
from siamjax.text import printable, short
from siamjax.types import SiamjaxError, UsageError

PLOTS = (".html", ".png", ".svg")
_LOG = logging.getLogger(__name__)


def identify(
    workdir, captures, *, places=(), examples_csv=None, baseline_s=None,
    baseline_capture=None, as_json=False, plot=None,
) -> int:  # fmt: skip
    """Prints a line for each change of condition of each capture.

    What was not read of a capture stands beside its lines. A capture without a verdict
    is an error of its own: the others are named all the same.

    Args:
      workdir: a run that was evaluated.
      captures: paths of capture files.
      places: `examples.Place`s of conditions to know beside the others.
      examples_csv: a CSV of examples instead of those stored with the run.
      baseline_s: see `sessions.read`.
      baseline_capture: a normal capture whose baseline is used instead.
      as_json: JSON lines instead of text.
      plot: of a picture of the timelines, a path that ends in .html, .png or .svg.
    Returns:
      How many captures have no verdict.
    Raises:
      SiamjaxError: the run, an example or the baseline's capture cannot be used.
    """
    if plot and pathlib.Path(plot).suffix not in PLOTS:
        raise UsageError(f"--plot {plot} does not end in {', '.join(PLOTS)}")
    run = runs.open_run(workdir)
    chosen, rule = enrol.stored(run)
    if examples_csv:
        chosen, places = None, (*examples.read_csv(examples_csv), *places)
    known = {}
    for place in places:
        parts = [chosen] if chosen else []
        chosen = examples.join(*parts, _example(place, run, known))
    baseline = _baseline(baseline_capture, run) if baseline_capture else None
    failures, rows = 0, []
    for capture in captures:
        try:
            traffic = sessions.read(
                capture, run, baseline_s=baseline_s, baseline=baseline
            )
            timeline = spans(run, traffic, chosen, rule)
        except UsageError:
            raise  # the command's fault, not the capture's
        except Exception as error:  # whatever it is, the other captures are read
            failures += 1
            rows.append(_no_verdict(capture, error, as_json))
            continue
        _print(capture, traffic, timeline, as_json)
        rows.append(
            page.timeline(
                traffic.name, timeline, None, warning="; ".join(traffic.warnings),
                end_s=len(traffic.counts) * run.config.data.bin_s,
            )
        )  # fmt: skip
    if plot:
        _draw(plot, rows)
    return failures


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


def _baseline(capture, run):
    """The baseline of a capture that is normal throughout."""
    reading = readings.read(capture, run)
    _warn(f"--baseline_capture {capture}", readings.warnings(reading))
    return sessions.baseline_of(reading.counts, run)


def _warn(what, warnings):
    for warning in warnings:
        _LOG.warning("%s: %s", printable(what), warning)


def _example(place, run, known):
    """One example as `Examples`; `known` keeps the captures that were read."""
    if place.capture not in known:
        known[place.capture] = sessions.read(place.capture, run)
        _warn(f"example {place.capture}", known[place.capture].warnings)
    traffic, data = known[place.capture], run.config.data
    first = round(place.start_s / data.bin_s)
    counts = traffic.counts[first : first + data.bins]
    if len(counts) < data.bins:
        last_s = (len(traffic.counts) - data.bins) * data.bin_s
        raise UsageError(
            f"example {place.condition!r}: {place.capture} has no window at "
            f"{place.start_s:g} s, the last begins at {last_s:g} s"
        )
    if not np.isfinite(counts).any():
        raise UsageError(
            f"example {place.condition!r}: nothing was measured in {place.capture} at "
            f"{place.start_s:g} s"
        )
    return examples.Examples(
        (place,), counts[None], sessions.repeat(traffic.baseline, 1)
    )


def _no_verdict(capture, error, as_json):
    """Says why a capture has no verdict; returns its row of the picture."""
    said = str(error).removeprefix(f"{capture}: ")
    if isinstance(error, OSError):
        said = error.strerror or said
    elif not isinstance(error, SiamjaxError):
        said = f"{type(error).__name__}: {error}"
        _LOG.debug("%s", said, exc_info=error)
    _LOG.error("%s: no verdict: %s", printable(capture), printable(said))
    if as_json:
        record = dict(capture=str(capture), error=said)
        if isinstance(error, readings.NoEvidence):
            record |= dict(error=error.reason, **readings.numbers(error.report))
        print(json.dumps(record), flush=True)
    name = prepared.session_name(capture)
    return page.timeline(name, (), None, warning=f"no verdict: {said}", end_s=0.0)


def _print(capture, traffic, timeline, as_json):
    if as_json:
        for span in timeline:
            _print_span(
                dict(
                    capture=str(capture),
                    **span._asdict(),
                    warnings=traffic.warnings,
                    not_read=readings.not_read(traffic.report),
                )
            )
        return
    lines = [capture, *(f"  note: {warning}" for warning in traffic.warnings)]
    print("\n".join(map(printable, [*lines, *map(_line, timeline)])), flush=True)


def _print_span(record):
    """A line of JSON: null for each number that is not finite, and their names."""
    odd = [
        name
        for name, value in record.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    record = {**record, **dict.fromkeys(odd), "not_finite": odd}
    print(json.dumps(record, allow_nan=False), flush=True)


def _line(span):
    line = f"  {span.start_s:7.1f} - {span.end_s:7.1f} s  {short(span.condition):20s} "
    if not math.isfinite(span.distance):
        return f"{line}no finite distance to any example"
    line += f"distance {span.distance:.2f}"
    if math.isfinite(span.margin):
        line += f", next {span.distance + span.margin:.2f}"
    return f"{line}, nearest {short(span.example)}"
