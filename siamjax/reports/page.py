"""A page as a single HTML file that loads nothing from a network.

`write_page` makes the page of a run. `build_page` makes other pages from the same
scripts in assets/. The comment at the head of each says what it defines:
  base.js       el, svg, section, memory: elements, and the head of the page
  names.js      key (a condition's icon and name), namer: short names that differ
  terms.js      TERMS: what words mean, as docs/glossary.md says it
  tips.js       tipped, hinted: the tooltip, and words that have one
  scene.js      scene: one cube of points
  cube.js       cube: one or several runs with slider, player and legend; after scene
  curves.js     curves, chart: lines over the steps, with the cube's step as a cursor
  tables.js     table (a click on a heading sorts), scrolling, value, interval
  results.js confusion.js timelines.js traffic.js reasons.js   parts of the page
  report.js     the page of a run itself
"""

import base64
import itertools
import json
import math
import os
import pathlib
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from siamjax import files
from siamjax.reports import colours, drawing
from siamjax.types import NORMAL, Label

if TYPE_CHECKING:
    from siamjax.reports.trace import Trace

_ASSETS = pathlib.Path(__file__).parent / "assets"
# The scripts of every page, and those of the page of a run.
_BASE = ("base.js", "names.js", "terms.js", "tips.js")
_REPORT = (
    "scene.js",
    "cube.js",
    "curves.js",
    "tables.js",
    "results.js",
    "confusion.js",
    "timelines.js",
    "reasons.js",
    "traffic.js",
    "report.js",
)


def write_page(
    path: str | os.PathLike, data: dict[str, Any], *, follow: float = 0
) -> None:
    """Writes the page of a run, atomically.

    Args:
      path: of the HTML file.
      data: all parts optional but the title:
        title, subtitle, facts    text, text, {name: text}
        trace                     `trace_data`
        curves                    {name: (steps, values)}, see `scalars.read_scalars`
        results, results_text     see `evaluation.results`
        out_of_fold               counts of captures out of fold, see
                                  `assessment.tally`
        timelines                 a list of `timeline`
        reasons                   why stretches got their names, see
                                  `identification.explaining`
        pictures, mistakes        windows of traffic, see `assessment.pictures`
        columns, clip, bin_s      of that traffic: names, full colour, seconds of
                                  a bin
        unknown                   the distance beyond which a window is unknown
        config                    the run's fields
      follow: seconds after which an open page loads itself again; 0: never.
    """
    names, novel = condition_names(data), novel_conditions(data)
    build_page(path, data, _REPORT, conditions=names, novel=novel, follow=follow)


def build_page(
    path: str | os.PathLike,
    data: dict[str, Any],
    scripts: Sequence[str],
    *,
    conditions: Sequence[str] = (),
    novel: Collection[str] = (),
    follow: float = 0,
) -> None:
    """Writes another page, atomically, see `page_text`.

    Args:
      path: of the HTML file.
      data, scripts, conditions, novel, follow: see `page_text`.
    """
    text = page_text(data, scripts, conditions=conditions, novel=novel, follow=follow)
    files.write_text(path, text)


def page_text(
    data: dict[str, Any],
    scripts: Sequence[str],
    *,
    conditions: Sequence[str] = (),
    novel: Collection[str] = (),
    follow: float = 0,
) -> str:
    """A page of HTML with the head, style and base scripts of all.

    The last script puts the parts together. To show several runs side by side, it calls
    `cube([{name: "a loss", trace: data.traces[0]}, ...], "title", "text")` and
    `section("id", "title", "text").append(table(["loss", ...], rows))`. Text given to
    `el` is never read as markup, and the page may not load anything.

    Args:
      data: plain values, `title` and perhaps `subtitle` among them; the scripts read
        them as the constant `data`, NaN as null.
      scripts: in order, without those that every page has: names of assets, or
        absolute paths.
      conditions: names that the page shows with colours and shapes.
      novel: those of them that training never saw.
      follow: seconds after which an open page loads itself again; 0: never.
    """
    names = drawing.order_names(conditions, novel)
    colour_of, shape_of = (
        colours.assign_colours(names),
        colours.assign_shapes(names, novel),
    )
    looks = [
        dict(name=n, colour=colour_of[n], shape=shape_of[n], novel=n in novel)
        for n in names
    ]
    parts = {
        "/*STYLE*/": _asset("page.css"),
        "/*SCRIPT*/": "\n".join(_asset(name) for name in (*_BASE, *scripts)),
        "/*DATA*/": _json(_finite(dict(data, conditions=looks, follow=follow))),
    }
    html = _asset("page.html")
    for mark, part in parts.items():
        html = html.replace(mark, part, 1)
    return html


def _asset(name):
    return (_ASSETS / name).read_text(encoding="utf-8")


def trace_data(trace: "Trace") -> dict[str, Any]:
    """A trace as the page reads it: 16 bits per coordinate, each name once.

    100 000 points (steps times windows) are 0.8 MB.
    """
    xyz = drawing.to_main_axes(trace.points, like=trace.points[-1])
    low, high = drawing.cube_corners(xyz)
    scaled = np.round((xyz - low) / (high - low) * 65535).clip(0, 65535).astype("<u2")
    about = trace.about
    names, windows = {}, {}
    for part, key in (
        ("conditions", "condition"),
        ("captures", "capture"),
        ("roles", "role"),
    ):
        names[part] = list(dict.fromkeys(about[part]))
        index = {name: i for i, name in enumerate(names[part])}
        windows[key] = [index[name] for name in about[part]]
    return dict(
        names,
        windows=dict(windows, time=about["times"]),
        novel=about["novel"],
        steps=trace.steps.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        points=base64.b64encode(scaled.tobytes()).decode(),
    )


def timeline(
    capture: str,
    spans: Iterable[Any],
    labels: Sequence[Label] | None,
    *,
    end_s: float,
    right: bool | None = None,
    network: str = "",
    warning: str = "",
    whys: Sequence[str] = (),
) -> dict[str, Any]:
    """The true and the identified timeline of a capture, for the page.

    Args:
      capture: its name.
      spans: its identified `identification.timeline.Span`s.
      labels: its true labels in order; empty: normal; None: not known.
      end_s: end of the capture.
      right: whether the identification is right; None: not judged.
      network: to which the run is adapted for the capture; empty: to none.
      warning: what is unusual about the capture.
      whys: why each span got its name; empty: not known.
    """
    truth = []
    if labels is not None and not labels:
        truth = [(NORMAL, 0.0, end_s)]
    if labels:  # after a fault traffic may still be recovering: not called normal
        truth = [(NORMAL, 0.0, labels[0].onset_s)]
        truth += [(x.condition, x.onset_s, min(x.clear_s, end_s)) for x in labels]
    return dict(
        capture=capture,
        end_s=end_s,
        right=right,
        network=network,
        warning=warning,
        truth=[
            dict(condition=name, start_s=start, end_s=end)
            for name, start, end in truth
            if end > start
        ],
        found=[
            dict(
                condition=span.condition,
                start_s=span.start_s,
                end_s=span.end_s,
                distance=span.distance,
                example=span.example,
                why=why,
            )
            for span, why in zip(spans, itertools.chain(whys, itertools.repeat("")))
        ],
    )


def condition_names(data: dict[str, Any]) -> list[str]:
    """All conditions that the page of a run shows."""
    names = list(data.get("trace", {}).get("conditions", []))
    names += list(data.get("results", {}).get("conditions", []))
    for row in data.get("timelines", []):
        names += [span["condition"] for span in (*row["truth"], *row["found"])]
    names += [window["condition"] for window in data.get("pictures", [])]
    return list(dict.fromkeys(names))


def novel_conditions(data: dict[str, Any]) -> set[str]:
    """The conditions of a page that training never saw."""
    groups = data.get("results", {}).get("conditions", {})
    novel = {name for name, about in groups.items() if about["group"] != "known"}
    return novel | set(data.get("trace", {}).get("novel", []))


def _json(value):
    """JSON for a script element: no string in it can end the element.

    Bytes of a name that are not UTF-8, surrogates in Python, are escaped.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text = text.encode("utf-8", "backslashreplace").decode()
    return (
        text.replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def _finite(value):
    """NaN and infinities as None, which is JSON's null."""
    if isinstance(value, dict):
        return {key: _finite(sub) for key, sub in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(sub) for sub in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
