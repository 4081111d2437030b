"""The whole audit of a subject, and its report: table, a line per probe, pictures."""

import pathlib
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from siamjax.auditing import probes, statistics, verdict
from siamjax.auditing.subject import (
    Batches,
    Gap,
    Subject,
    encode_batches,
    measure_gap,
)
from siamjax.models.norm import TrainStats
from siamjax.reports import drawing
from siamjax.reports.drawing import CURVE, INK, LINE, PALE
from siamjax.text import short

BAD = "#d62728"
# How many columns are drawn, the farthest first.
SHOWN = 20
TITLES = {
    "moving": "as predictions read them",
    "debiased": "debias: less the start value",
    "precise": "precise: mean over batches",
    "pooled": "pooled: of all training data",
    "per-session": "per-session",
    "batch": "of each batch",
    "per-branch": "of each branch of a batch",
}


class Report(NamedTuple):
    """An audit, as plain numbers and texts."""

    norm: str
    columns: tuple[str, ...]  # F names
    gaps: dict[str, Gap]  # by name of the statistics; `moving` is the run's own
    probes: dict[str, Any]  # name -> number or dict
    verdict: verdict.Verdict

    def to_json(self) -> dict[str, Any]:
        return dict(
            norm=self.norm,
            columns=self.columns,
            verdict=self.verdict._asdict(),
            gaps={name: gap._asdict() for name, gap in self.gaps.items()},
            probes=self.probes,
        )


def audit_subject(
    subject: Subject,
    batches: Batches,
    *,
    steps: int | None = None,
    reloaded: TrainStats | None = None,
    inputs: dict[str, float] | None = None,
) -> Report:
    """Runs every probe on batches of the training, and gives the verdict.

    Args:
      subject: the encoder.
      batches: of its training.
      steps: of the training; by default what its statistics counted.
      reloaded: its statistics, written to disk and read again.
      inputs: what `probes.input_path` gives.
    """
    gaps = measure_gaps(subject, batches)
    stateless = subject.norm in verdict.STATELESS
    steps = int(subject.stats.updates) if steps is None else steps
    values: dict[str, Any] = dict(
        population=probes.population(batches),
        leak=0.0 if stateless else probes.leak(subject, batches),
        padding=probes.padding(batches),
        numerics=probes.numerics(batches, subject.columns),
        hygiene=probes.hygiene(subject, batches, steps, reloaded),
    )
    if not stateless:
        values["lag"] = probes.lag(subject, batches)
        values["devices"] = probes.devices(subject, batches)
    if inputs is not None:
        values["inputs"] = inputs
    decided = verdict.decide(subject.norm, gaps, inputs)
    return Report(subject.norm, subject.columns, gaps, values, decided)


def measure_gaps(subject: Subject, batches: Batches) -> dict[str, Gap]:
    """The gap between training mode and prediction, for each candidate statistics."""
    train = encode_batches(subject, batches)
    return {
        name: measure_gap(train, encode_batches(subject, batches, *candidate))
        for name, candidate in statistics.candidates(subject, batches).items()
    }


def report_lines(report: Report) -> Iterator[str]:
    """The report as text: gaps, probes, verdict."""
    moving = report.gaps["moving"]
    row = "{:30s} {:>7s} {:>9s} {:>7s}   {}".format
    yield row("statistics", "loss", "neighbour", "shift", "gap, 0: none, 1: chance")
    yield row(
        "training mode", f"{moving.train_loss:.3f}", _percent(moving.train_hits), "", ""
    )
    for name, gap in report.gaps.items():
        interval = f"{gap.share:z5.2f}  [{gap.low:z.2f}, {gap.high:z.2f}]"
        loss, hits = f"{gap.predict_loss:.3f}", _percent(gap.predict_hits)
        yield row(TITLES[name], loss, hits, f"{gap.shift:.2f}", interval)
    yield row("labels dealt at random", f"{moving.chance_loss:.3f}", "", "", "")
    yield ""
    for name, line in probe_lines(report):
        yield f"{name:10s} {line}"
    yield ""
    yield from textwrap.wrap(report.verdict.text, 79)


def probe_lines(report: Report) -> Iterator[tuple[str, str]]:
    """`(name, line)` of each probe; a second line has no name."""
    values = report.probes
    if lag := values.get("lag"):
        worst = ", ".join(f"{name} {z:.2f}" for name, z in lag["worst"].items())
        yield (
            "lag",
            (
                f"{lag['updates']} updates, {100 * lag['start_share']:.1f} % still the "
                "start value; distance to the training data in deviations:"
            ),
        )
        yield "", worst
    population = values["population"]
    shares = ", ".join(
        f"{100 * share:.0f} % by {name}"
        for name, share in population["share_between"].items()
    )
    yield (
        "population",
        f"batch means vary {population['design_effect']:.1f} x as much as those of "
        f"fair draws; {population['sessions_per_batch']:.1f} sessions a batch",
    )
    yield "", f"variance of window means explained: {shares}"
    yield (
        "leak",
        f"one other batch-mate moves the rest by {100 * values['leak']:.2f} % of "
        "the distance between points",
    )
    yield "padding", f"{100 * values['padding']:.1f} % of the bins"
    numerics = values["numerics"]
    constant = ", ".join(numerics["constant"]) or "none"
    yield (
        "numerics",
        f"level up to {numerics['level_over_deviation']:.1f} deviations, one-pass "
        f"variance would err by {100 * numerics['one_pass_error']:.2g} %",
    )
    yield "", f"constant columns: {constant}"
    if devices := values.get("devices"):
        yield (
            "devices",
            (
                f"statistics on 1 and on {devices['devices']} devices differ by "
                f"{devices['difference']:.1g}"
            ),
        )
    yield "hygiene", "; ".join(_hygiene_parts(values["hygiene"]))
    if inputs := values.get("inputs"):
        largest = ", ".join(f"{name} {value:.1g}" for name, value in inputs.items())
        yield (
            "inputs",
            f"training against identification, largest difference: {largest}",
        )


def _hygiene_parts(hygiene):
    yes = {True: "yes", False: "NO"}
    yield f"{hygiene['updates']} updates in {hygiene['steps']} steps"
    for text, key in (
        ("moved by training", "moved"),
        ("left alone by prediction", "left_alone"),
        ("finite", "finite"),
        ("same after reload", "same_after_reload"),
    ):
        yield f"{text}: {yes[hygiene[key]]}"
    if hygiene["zero_variance"]:
        yield f"{hygiene['zero_variance']} variances are 0"


def _percent(hits):
    return f"{100 * hits:.0f} %"


def draw_gaps(path: pathlib.Path, report: Report) -> None:
    """Draws the gap of each kind of statistics with its interval."""
    names, gaps = list(report.gaps), list(report.gaps.values())
    figure = drawing.make_figure(8.0, 1.2 + 0.38 * len(names))
    axes = figure.add_subplot()
    for y, gap in enumerate(gaps):
        colour = BAD if gap.low > verdict.TOLERATED else CURVE
        axes.barh(y, gap.share, height=0.6, color=colour)
        axes.plot([gap.low, gap.high], [y, y], color=INK, linewidth=1.2)
        axes.annotate(
            f"{gap.share:z.2f}",
            (max(gap.high, 0), y),
            (6, 0),
            fontsize=8,
            textcoords="offset points",
            va="center",
            color=INK,
        )
    axes.axvline(verdict.TOLERATED, color=PALE, linewidth=0.8, linestyle=":")
    axes.annotate(
        "tolerated",
        (verdict.TOLERATED, -0.6),
        (0, 3),
        ha="center",
        color=PALE,
        textcoords="offset points",
        fontsize=7,
    )
    axes.set_yticks(range(len(names)), [TITLES[name] for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    low, high = min(g.low for g in gaps), max(g.high for g in gaps)
    axes.set_xlim(min(-0.02, 1.1 * low), max(0.2, 1.15 * high))
    label = "gap between training and prediction; 0: none, 1: chance"
    _save(figure, axes, path, label)


def draw_drift(path: pathlib.Path, report: Report) -> None:
    """Draws how far the kept mean of each column lies from the training data's."""
    z = np.array(report.probes["lag"]["z"])
    worst = np.argsort(-z)[:SHOWN]
    figure = drawing.make_figure(8.0, 1.2 + 0.24 * len(worst))
    axes = figure.add_subplot()
    axes.barh(range(len(worst)), z[worst], height=0.6, color=CURVE)
    names = [short(report.columns[i], drawing.NAME) for i in worst]
    axes.set_yticks(range(len(worst)), names)
    axes.set_ylim(len(worst) - 0.4, -0.6)
    axes.set_xlim(0, max(1.0, 1.05 * z.max()))
    label = "distance of the kept mean from the training data's, in deviations"
    _save(figure, axes, path, label)


def _save(figure, axes, path, label):
    axes.set_xlabel(label, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, labelcolor=INK, color=LINE, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.grid(axis="x", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    drawing.save_figure(figure, path, bbox_inches="tight")
