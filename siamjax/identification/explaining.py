"""Why a stretch got its name, for pages and pictures: its window beside the example."""

import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from siamjax.data import features
from siamjax.identification import sessions
from siamjax.identification.examples import Examples
from siamjax.identification.timeline import IN_DOUBT, Span
from siamjax.inference.runs import Run
from siamjax.reports import heatmaps
from siamjax.text import printable, short
from siamjax.types import NORMAL

# Characters of a line above a panel.
_WIDTH = 64


def explain_spans(
    run: Run,
    traffic: sessions.Traffic,
    spans: Sequence[Span],
    whys: Sequence[str],
    library: Examples,
) -> list[dict[str, Any]]:
    """The `reasons` of a page: one for each stretch that is not normal.

    Args:
      run: has the scaler, and the length of a window.
      traffic: of the capture.
      spans: of its timeline.
      whys: of `reasons.describe`, for each span.
      library: the examples that it was compared with.
    """
    return [
        _explain(run, traffic, span, why, library)
        for span, why in zip(spans, whys)
        if span.condition not in (NORMAL, IN_DOUBT) and span.nearest >= 0
    ]


def list_panels(explained: dict[str, Any]) -> list[tuple[str, Any, Sequence[int]]]:
    """The panels of `plots.draw_traffic`: the window and the nearest example."""
    window, example = explained["window"], explained["example"]
    condition, capture, network = (
        short(explained[name], 30) for name in ("condition", "capture", "network")
    )
    place = f"{capture} ({network})" if network else capture
    title = f"{condition}: {place} at {window['start_s']:g} s"
    why = "\n".join(textwrap.wrap(printable(explained["why"]), _WIDTH))
    near = f"nearest example, {explained['distance']:.2f} away: "
    near += f"{short(example['condition'], 30)}\n{short(example['capture'], 30)}"
    near += f" at {example['start_s']:g} s"
    rows = explained["rows"]
    return [(f"{title}\n{why}", window, rows), (near, example, rows)]


def _explain(run, traffic, span, why, library):
    first = round(span.window_s / run.config.data.bin_s)
    counts = traffic.counts[None, first : first + run.config.data.bins]
    baseline = sessions.repeat_baseline(traffic.baseline, 1)
    row = slice(span.nearest, span.nearest + 1)
    others = library.counts[row], type(baseline)(*(x[row] for x in library.baseline))
    z = np.nan_to_num(_features(run, counts, baseline))[0]
    example = np.nan_to_num(_features(run, *others))[0]
    place = library.places[span.nearest]
    return dict(
        condition=span.condition,
        capture=traffic.name,
        network=traffic.network.name if traffic.network else "",
        start_s=span.start_s,
        end_s=span.end_s,
        distance=span.distance,
        threshold=span.threshold,
        p_value=span.p_value,
        why=why,
        rows=heatmaps.deviating_columns(np.stack([z, example])),
        window=dict(
            condition=span.condition,
            capture=traffic.name,
            start_s=span.window_s,
            traffic=heatmaps.pack_features(z),
        ),
        example=dict(
            condition=place.condition,
            capture=pathlib.Path(place.capture).name,
            start_s=place.start_s,
            traffic=heatmaps.pack_features(example),
        ),
    )


def _features(run, counts, baseline):
    return np.asarray(features.to_features(counts, baseline, run.scaler))
