"""Captures -> which condition held when: as records, and as lines and pictures."""

import json
import logging
import math
import os
import pathlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax import files
from siamjax.capture import parts
from siamjax.data import columns, prepared, reading
from siamjax.identification import (
    adapting,
    comparing,
    decide,
    enrol,
    explaining,
    library,
    normality,
    readings,
    reasons,
    rules,
    sessions,
)
from siamjax.identification.examples import Examples, Place, join_examples
from siamjax.identification.timeline import IN_DOUBT, RECOVERING, UNKNOWN, Span
from siamjax.inference import runs
from siamjax.reports import heatmaps, page, plots
from siamjax.text import printable, short, terminal_width
from siamjax.types import NORMAL, SiamjaxError, UsageError

PLOTS = (".html", ".png", ".svg")
# Names of files that count as captures, or as tables of counters, in a folder.
_CAPTURE = re.compile(r"\.(pcap|pcapng|cap)\d*(\.(gz|xz|zst))?$", re.IGNORECASE)
_TABLE = re.compile(r"\.(csv|parquet)(\.(gz|xz|zst))?$", re.IGNORECASE)
_LOG = logging.getLogger(__name__)
# Characters of a row of the table besides the two names, and of the first name if the
# terminal has them.
_NUMBERS, _NAME = 37, 19


class Reference(NamedTuple):
    """What captures are compared with, and by which rule."""

    run: runs.Run
    examples: Examples
    rule: rules.Rule
    taught: frozenset[str]  # conditions that have examples beside those of the run
    network: sessions.Adapted | None  # to which the run is adapted
    beginnings: normality.Beginnings | None  # of its training; None: not compared


class Identification(NamedTuple):
    """What a run says of one capture."""

    spans: list[Span]  # in order; they cover the capture
    traffic: sessions.Traffic  # what was read of it, with warnings


def open_reference(
    run: runs.Run,
    *,
    folder: str | os.PathLike | None = None,
    network: str | None = None,
    places: Sequence[Place] = (),
    false_alarms: float | None = None,
) -> Reference:
    """What captures are compared with; the files of `places` are read.

    Args:
      run: that was evaluated. Its own examples are always compared with.
      folder: of the library; by default that of the run.
      network: the name of a network in the library, to which the run is adapted.
      places: of more examples to compare with.
      false_alarms: how many are allowed in an hour of normal traffic; by default as
        the rule was learnt.
    Raises:
      SiamjaxError: the run was not evaluated, or a file cannot be read.
      UsageError: there is no such network, no window at a place, or nothing was
        measured in it.
    """
    stored, rule = enrol.read_enrolment(run)
    kept = library.read_library(
        library.locate(run.workdir, folder), library.layout_of(run)
    )
    adapted = None
    if network is not None:
        adapted = adapting.adapt(run, kept.network(network), false_alarms)
        calibration = rule.calibration._replace(normal=adapted.typical)
        rule = rule._replace(calibration=calibration)
    elif false_alarms is not None:
        rule = rules.ask_rate(rule, false_alarms)
    known: dict[str, sessions.Traffic] = {}
    parts = [
        stored,
        library.as_examples(kept.examples),
        *(read_example(Place(*place), run, known, adapted) for place in places),
    ]
    given = [part for part in parts if part is not None]
    joined = join_examples(*given)
    taught = frozenset(name for part in given[1:] for name in part.names)
    beginnings = sessions.fit_beginnings(run)
    return Reference(run, joined, rule, taught, adapted, beginnings)


def identify_capture(
    run: runs.Run,
    capture: str | os.PathLike,
    *,
    folder: str | os.PathLike | None = None,
    network: str | None = None,
    places: Sequence[Place] = (),
    baseline_s: float | None = None,
) -> Identification:
    """Says which condition held when in a capture.

    For many captures call `open_reference` once and `compare_captures`.

    Args:
      run: that was evaluated.
      capture: a capture file, or a table of counters where the run is of counters.
      folder, network, places: see `open_reference`.
      baseline_s: how many seconds at its beginning are normal; see
        `sessions.read_traffic`.
    Raises:
      readings.NoEvidence: nothing was read that an answer could rest on.
      SiamjaxError: the run was not evaluated, or a capture cannot be read.
      UsageError: an argument does not fit.
    """
    reference = open_reference(run, folder=folder, network=network, places=places)
    return compare_capture(capture, reference, baseline_s=baseline_s)


def compare_capture(
    capture: str | os.PathLike,
    reference: Reference,
    *,
    baseline_s: float | None = None,
) -> Identification:
    """`identify_capture` with a reference that was opened before."""
    traffic = sessions.read_traffic(
        capture,
        reference.run,
        baseline_s=baseline_s,
        network=reference.network,
        beginnings=reference.beginnings,
    )
    return compare_session(traffic, reference)


def compare_captures(
    captures: Sequence[str | os.PathLike],
    reference: Reference,
    *,
    baseline_s: float | None = None,
) -> Iterator[Identification | Exception]:
    """`compare_capture` of each, in order; an error in place of one that it raises.

    Several processes read the captures, and the windows of those that are ready are
    compared together. Only a few captures are in memory at once.

    Raises:
      UsageError: a package that reading needs is not there.
    """
    run = reference.run
    comparisons = comparing.Comparisons(run, reference.examples, reference.network)
    read = sessions.reader_of(run).attempt
    tasks = [reading.Task(read, path, str(path)) for path in captures]
    paths = iter(captures)
    for results in reading.read_in_order(tasks):
        made = [
            _traffic_or_error(path, result, reference, baseline_s)
            for result, path in zip(results, paths)
        ]
        traffics = [x for x in made if isinstance(x, sessions.Traffic)]
        compared = iter(comparisons.compare_sessions(traffics))
        for x in made:
            is_error = isinstance(x, Exception)
            yield x if is_error else _decide(x, next(compared), reference)


def _traffic_or_error(path, result, reference, baseline_s):
    """The traffic of a capture that was read, or why there is none."""
    if isinstance(result, reading.Failure):
        return SiamjaxError(result.line)
    if isinstance(result, UsageError):
        raise result  # a flag is wrong, and would be for every capture
    if isinstance(result, Exception):
        return result
    try:
        return sessions.from_reading(
            path,
            result,
            reference.run,
            baseline_s=baseline_s,
            network=reference.network,
            beginnings=reference.beginnings,
        )
    except UsageError:
        raise
    except Exception as error:  # the other captures are still compared
        return error


def compare_session(traffic: sessions.Traffic, reference: Reference) -> Identification:
    """`compare_capture` with what was read of a capture."""
    evidence = comparing.compare_traffic(
        reference.run, traffic, reference.examples, reference.network
    )
    return _decide(traffic, evidence, reference)


def _decide(traffic, evidence, reference):
    spans = decide.find_spans(
        evidence, reference.rule, list_origins(reference), reference.taught
    )
    return Identification(mark_doubt(spans, traffic.calibrated), traffic)


def list_origins(reference: Reference) -> list[str]:
    """Where each example comes from, `CAPTURE@SECONDS`."""
    return [
        f"{pathlib.Path(place.capture).name}@{place.start_s:g}"
        for place in reference.examples.places
    ]


def list_conditions(reference: Reference) -> list[str]:
    """All names that a verdict can have."""
    names = [NORMAL, *reference.examples.names, UNKNOWN, RECOVERING, IN_DOUBT]
    return list(dict.fromkeys(names))


def mark_doubt(spans: Sequence[Span], calibrated: bool) -> list[Span]:
    """The spans; where what is normal is not known, none is `normal`."""
    if calibrated:
        return list(spans)
    return [
        span._replace(condition=IN_DOUBT) if span.condition == NORMAL else span
        for span in spans
    ]


def identify_captures(
    workdir: str | pathlib.Path,
    captures: Sequence[str | os.PathLike],
    *,
    folder: str | os.PathLike | None = None,
    network: str | None = None,
    baseline_s: float | None = None,
    false_alarms: float | None = None,
    as_json: bool = False,
    plot: str | None = None,
) -> int:
    """Prints a line for each change of condition of each capture.

    What was not read of a capture is printed with its lines. If a capture cannot be
    identified, an error is logged and the others are still identified.

    Args:
      workdir: of a run that was evaluated.
      captures: paths of captures, and of folders whose captures are all read; or
        `parts.Parts`.
      folder, network: see `open_reference`.
      baseline_s: see `sessions.read_traffic`.
      false_alarms: see `open_reference`.
      as_json: prints JSON lines instead of text.
      plot: path of a picture of the timelines; ends in .html, .png or .svg. Beside a
        picture NAME.png, NAME-why.png shows windows and their nearest examples.
    Returns:
      How many captures could not be identified.
    Raises:
      SiamjaxError: the run or the library cannot be used.
      UsageError: an argument does not fit; nothing was read.
    """
    _check_plot(plot)
    run = runs.open_run(workdir)
    if baseline_s is not None:
        sessions.check_baseline_s(baseline_s, run.config.data.bin_s, "--baseline")
    paths = list_captures(captures, is_table=run.columns[0].role == columns.COUNTER)
    reference = open_reference(
        run, folder=folder, network=network, false_alarms=false_alarms
    )
    failures, doubtful, rows = 0, 0, []
    explained: list[dict[str, Any]] = []
    named = compare_captures(paths, reference, baseline_s=baseline_s)
    for path, result in zip(paths, named):
        if isinstance(result, Exception):
            failures += 1
            rows.append(_report_failure(path, result, as_json))
            continue
        spans, traffic = result
        moved = [reasons.find_moved(run, traffic, span) for span in spans]
        (_print_json if as_json else _print)(path, traffic, spans, moved)
        doubtful += not traffic.calibrated
        warning = "; ".join(traffic.warnings)
        end_s = len(traffic.counts) * run.config.data.bin_s
        whys = [reasons.describe(*pair) for pair in zip(spans, moved)]
        rows.append(
            page.timeline(
                traffic.name, spans, None, warning=warning, end_s=end_s, whys=whys
            )
        )
        if plot:
            explained += explaining.explain_spans(
                run, traffic, spans, whys, reference.examples
            )
    if plot:
        _draw(plot, rows, explained, run)
    if doubtful:
        _LOG.warning(
            "%d of %d captures begin unlike those of training: learn normal traffic of "
            "their network with siamjax adapt --network NAME CAPTURE, then give "
            "--network NAME",
            doubtful,
            len(paths),
        )
    return failures


def list_captures(
    paths: Sequence[str | os.PathLike], *, is_table: bool
) -> list[str | os.PathLike]:
    """The files to read: each path, and in place of a folder its captures, sorted.

    Args:
      paths: of files and folders. A folder is searched with the folders in it; hidden
        files do not count.
      is_table: looks in folders for tables of counters, not for captures.
    Raises:
      UsageError: a path is `-`, or a folder without a capture.
    """
    ending, endings = (
        (_TABLE, ".csv or .parquet")
        if is_table
        else (_CAPTURE, ".pcap, .pcapng or .cap")
    )
    listed: list[str | os.PathLike] = []
    for path in paths:
        if str(path) == "-":
            raise UsageError("standard input (-) cannot be read: name a file")
        in_row = isinstance(path, parts.Parts)
        if in_row and is_table:
            raise UsageError(f"--session={path} is for packets, not for counters")
        if in_row or not os.path.isdir(path):
            listed.append(path)
            continue
        inside = [
            file
            for file in sorted(files.list_files(path))
            if ending.search(file.name)
            and file.is_file()
            and not any(p.startswith(".") for p in file.relative_to(path).parts)
        ]
        if not inside:
            raise UsageError(
                f"{path} holds no file that ends in {endings} (also .gz, .xz, .zst)"
            )
        listed += inside
    return listed


def _check_plot(plot):
    if not plot:
        return
    if pathlib.Path(plot).suffix not in PLOTS:
        raise UsageError(f"--plot {plot} does not end in {', '.join(PLOTS)}")
    files.check_writable(plot)


def _draw(plot, rows, explained, run):
    """Timelines as a page or a picture, and why stretches got their names."""
    names = [column.name for column in run.columns]
    clip, bin_s = heatmaps.FULL_COLOUR, float(run.config.data.bin_s)
    if plot.endswith(".html"):
        shared = dict(columns=names, clip=clip, bin_s=bin_s)
        why = dict(shared, reasons=explained) if explained else {}
        page.write_page(plot, dict(title="What happened when", timelines=rows, **why))
        return
    plots.draw_timelines(plot, rows)
    if explained:
        panels = [panel for why in explained for panel in explaining.list_panels(why)]
        path = pathlib.Path(plot)
        plots.draw_traffic(
            path.with_name(f"{path.stem}-why{path.suffix}"),
            panels,
            names,
            clip=clip,
            bin_s=bin_s,
            across=2,
        )


def _warn(what, warnings):
    for warning in warnings:
        _LOG.warning("%s: %s", printable(what), warning)


def read_example(
    place: Place,
    run: runs.Run,
    known: dict[str, sessions.Traffic],
    network: sessions.Adapted | None = None,
) -> Examples:
    """One example as `Examples`.

    Args:
      place: where it lies.
      run: reads the capture.
      known: captures that were read before; those read here are added.
      network: see `sessions.read_traffic`.
    Raises:
      UsageError: there is no window at this place, or nothing was measured in it.
    """
    if place.capture not in known:
        known[place.capture] = sessions.read_traffic(
            place.capture, run, network=network
        )
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
    baseline = sessions.repeat_baseline(traffic.baseline, 1)
    return Examples((place,), counts[None], baseline)


def _report_failure(capture, error, as_json):
    """Logs why a capture has no verdict; returns its row of the picture."""
    reason = str(error).removeprefix(f"{capture}: ")
    if isinstance(error, OSError):
        reason = error.strerror or reason
    elif not isinstance(error, SiamjaxError):
        reason = f"{type(error).__name__}: {error}"
        _LOG.debug("%s", reason, exc_info=error)
    _LOG.error("%s: no verdict: %s", printable(capture), printable(reason))
    if as_json:
        record = dict(capture=str(capture), error=reason)
        if isinstance(error, readings.NoEvidence):
            report = readings.report_as_json(error.report)
            record = dict(capture=str(capture), error=error.reason, **report)
        print(json.dumps(record), flush=True)
    name = prepared.session_name(capture)
    return page.timeline(name, (), None, warning=f"no verdict: {reason}", end_s=0.0)


def _print(capture, traffic, spans, moved):
    notes = [f"  note: {warning}" for warning in traffic.warnings]
    heading, *rows = format_spans(spans, terminal_width())
    lines = [str(capture), *notes, heading]
    for row, span, columns_moved in zip(rows, spans, moved):
        lines.append(row)
        if why := reasons.describe(span, columns_moved):
            lines += textwrap.wrap(
                f"why: {why}",
                terminal_width(),
                initial_indent=" " * 19,
                subsequent_indent=" " * 24,
            )
    print("\n".join(map(printable, lines)), flush=True)


def _print_json(capture, traffic, spans, moved):
    for span, columns_moved in zip(spans, moved):
        fields = span._asdict()
        for name in ("other", "nearest"):  # runner_up and example say the same
            del fields[name]
        record = dict(
            capture=str(capture),
            **fields,
            **reasons.as_record(span, columns_moved),
            calibrated=traffic.calibrated,
            warnings=traffic.warnings,
            not_read=readings.count_not_read(traffic.report),
        )
        print(json.dumps(_finite(record), allow_nan=False), flush=True)


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """A record with None for each number that is not finite, and `not_finite`, their
    names."""
    odd = [
        name
        for name, value in record.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    return {**record, **dict.fromkeys(odd), "not_finite": odd}


def format_spans(spans: Sequence[Span], width: int) -> list[str]:
    """A table with a heading and a row for each span, `width` characters wide.

    Names that are too long lose their middle.
    """
    longest = max(len(short(span.condition)) for span in spans)
    name = min(max(_NAME, longest), (width - _NUMBERS) // 2)
    example = width - _NUMBERS - name
    nearest = "nearest example" if example > _NAME else "example"
    rows = [["from s", "to s", "condition", "distance", "next", nearest]]
    for span in spans:
        distance, other, near = f"{span.distance:.2f}", "-", span.example
        if math.isfinite(span.margin):
            other = f"{span.distance + span.margin:.2f}"
        if not math.isfinite(span.distance):
            distance, near = "-", "no distance"
        row = [f"{span.start_s:.1f}", f"{span.end_s:.1f}", span.condition]
        rows.append([*row, distance, other, near])
    return [
        f"{start:>8} {end:>8}  {short(condition, name):{name}} {distance:>8} "
        f"{other:>6}  {short(near, example)}"
        for start, end, condition, distance, other, near in rows
    ]
