"""Captures -> which condition held when: as records, and as lines and pictures."""

import logging
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from siamjax import files
from siamjax.capture import parts
from siamjax.data import columns, reading
from siamjax.identification import (
    comparing,
    decide,
    explaining,
    library,
    reasons,
    references,
    sessions,
    span_lines,
)
from siamjax.identification.examples import Place
from siamjax.identification.references import Reference
from siamjax.identification.timeline import IN_DOUBT, Span
from siamjax.inference import runs
from siamjax.reports import heatmaps, page, plots
from siamjax.types import NORMAL, SiamjaxError, UsageError

PLOTS = (".html", ".png", ".svg")
# Names of files that count as captures, or as tables of counters, in a folder.
_CAPTURE = re.compile(r"\.(pcap|pcapng|cap)\d*(\.(gz|xz|zst))?$", re.IGNORECASE)
_TABLE = re.compile(r"\.(csv|parquet)(\.(gz|xz|zst))?$", re.IGNORECASE)
_LOG = logging.getLogger(__name__)


class Identification(NamedTuple):
    """What a run says of one capture."""

    spans: list[Span]  # in order; they cover the capture
    traffic: sessions.Traffic  # what was read of it, with warnings


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

    For many captures call `references.open_for_captures` once and `compare_captures`.

    Args:
      run: that was evaluated.
      capture: a capture file, or a table of counters where the run is of counters.
      folder, network, places: see `references.open_reference`.
      baseline_s: how many seconds at its beginning are normal; see
        `sessions.read_traffic`.
    Raises:
      readings.NoEvidence: nothing was read that an answer could rest on.
      SiamjaxError: the run was not evaluated, or a capture cannot be read.
      UsageError: an argument does not fit.
    """
    reference = references.open_reference(
        run, folder=folder, network=network, places=places
    )
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
    compared_with: Sequence[Reference],
    *,
    baseline_s: float | None = None,
) -> Iterator[Identification | Exception]:
    """`compare_capture` of each, in order; an error in place of one that it raises.

    Several processes read the captures, and the windows of those that are ready are
    compared together. Only a few captures are in memory at once.

    Args:
      captures: see `identify_capture`.
      compared_with: the reference of each, all of one run with the same examples.
      baseline_s: see `identify_capture`.
    Raises:
      UsageError: a package that reading needs is not there.
    """
    if not captures:
        return
    run = compared_with[0].run
    comparisons = comparing.Comparisons(run, compared_with[0].examples)
    read = sessions.reader_of(run).attempt
    tasks = [reading.Task(read, path, str(path)) for path in captures]
    asked = iter(zip(captures, compared_with, strict=True))
    for results in reading.read_in_order(tasks):
        pairs = []
        for result, (path, reference) in zip(results, asked):
            traffic = _traffic_or_error(path, result, reference, baseline_s)
            pairs.append((traffic, reference))
        traffics = [x for x, _ in pairs if isinstance(x, sessions.Traffic)]
        compared = iter(comparisons.compare_sessions(traffics))
        for x, reference in pairs:
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
    evidence = comparing.compare_traffic(reference.run, traffic, reference.examples)
    return _decide(traffic, evidence, reference)


def _decide(traffic, evidence, reference):
    spans = decide.find_spans(
        evidence,
        reference.rule,
        references.list_origins(reference),
        reference.taught,
    )
    return Identification(mark_doubt(spans, traffic.calibrated), traffic)


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
    networks: Sequence[str] = (),
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
      folder, networks, false_alarms: see `references.open_for_captures`.
      baseline_s: see `sessions.read_traffic`.
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
    library.check_given(folder)
    run = runs.open_run(workdir)
    if baseline_s is not None:
        sessions.check_baseline_s(baseline_s, run.config.data.bin_s, "--baseline")
    paths = list_captures(captures, is_table=run.columns[0].role == columns.COUNTER)
    compared_with = references.open_for_captures(
        run, paths, networks, folder=folder, false_alarms=false_alarms
    )
    failures, doubtful, rows = 0, 0, []
    explained: list[dict[str, Any]] = []
    named = compare_captures(paths, compared_with, baseline_s=baseline_s)
    for path, reference, result in zip(paths, compared_with, named):
        if isinstance(result, Exception):
            failures += 1
            rows.append(span_lines.report_failure(path, result, as_json))
            continue
        spans, traffic = result
        notes = references.network_notes(reference, compared_with)
        traffic = traffic._replace(warnings=(*notes, *traffic.warnings))
        moved = [reasons.find_moved(run, traffic, span) for span in spans]
        if as_json:
            span_lines.print_as_json(path, traffic, spans, moved)
        else:
            span_lines.print_as_text(path, traffic, spans, moved)
        doubtful += not traffic.calibrated
        warning = "; ".join(traffic.warnings)
        end_s = len(traffic.counts) * run.config.data.bin_s
        whys = [reasons.describe(*pair) for pair in zip(spans, moved)]
        rows.append(
            page.timeline(
                traffic.name,
                spans,
                None,
                end_s=end_s,
                network=reference.network_name,
                warning=warning,
                whys=whys,
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
