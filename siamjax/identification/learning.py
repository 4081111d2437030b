"""Learns a fault from one example, and says what may be wrong with the example."""

import itertools
import os
from collections.abc import Sequence

import numpy as np

from siamjax.identification import (
    identify,
    library,
    library_files,
    references,
    sessions,
)
from siamjax.identification.examples import Place
from siamjax.identification.references import Reference
from siamjax.inference.runs import Run
from siamjax.text import short
from siamjax.types import NORMAL, UsageError

# A window lies in a change if at least this many of its seconds are on either side.
_ASIDE_S = 2.0


def learn_examples(
    run: Run,
    places: Sequence[Place],
    *,
    folder: str | os.PathLike | None = None,
    networks: Sequence[str] = (),
    note: str = "",
) -> list[str]:
    """Adds examples to a library.

    Args:
      run: that was evaluated.
      places: of the examples.
      folder, networks: see `references.open_for_captures`, of the captures of the
        examples.
      note: is kept with them.
    Returns:
      Sentences about what may be wrong with an example; they are kept all the same.
    Raises:
      SiamjaxError: a capture cannot be read; nothing was kept.
      UsageError: an argument does not fit, or there is no window at a place; nothing
        was kept.
    """
    for place in places:
        if place.condition.lower() == NORMAL:
            raise UsageError(
                "normal traffic is learnt without examples: siamjax adapt --network "
                f"NAME {place.capture}"
            )
    captures = list(dict.fromkeys(place.capture for place in places))
    opened = references.open_for_captures(run, captures, networks, folder=folder)
    compared_with = dict(zip(captures, opened))
    doubts = [
        f"{capture}: {doubt}"
        for capture, reference in compared_with.items()
        for doubt in references.network_notes(reference, opened)
    ]
    known: dict[str, sessions.Traffic] = {}
    kept, origin = [], library.origin_of(run, note)
    for place in places:
        reference = compared_with[place.capture]
        counts, baseline = _window(place, reference, known)
        kept.append(library_files.Example(place, counts, baseline, origin))
        doubts += [
            f"{library.describe_place(place)} {doubt}"
            for doubt in list_doubts(place, known[place.capture], reference)
        ]
    where = library.locate(run.workdir, folder)
    library.add_examples(where, kept, library.layout_of(run))
    return doubts


def list_doubts(
    place: Place, traffic: sessions.Traffic, reference: Reference
) -> list[str]:
    """Sentences about what may be wrong with an example; empty: nothing.

    Args:
      place: of the example.
      traffic: of its capture.
      reference: that does not have the example.
    """
    run, rule, doubts = reference.run, reference.rule, []
    length_s = run.config.data.bins * run.config.data.bin_s
    spans, _ = identify.compare_session(traffic, reference)
    middle_s = place.start_s + length_s / 2
    for span in spans:
        if span.start_s <= middle_s < span.end_s and span.condition == NORMAL:
            doubts.append(
                f"lies in normal time, which is said to go on until {span.end_s:.1f} "
                f"s (distance {span.distance:.2f}): windows like it will be named "
                f"{short(place.condition)}; take a window inside the fault"
            )
    for first, second in itertools.pairwise(spans):
        before_s = second.start_s - place.start_s
        if _ASIDE_S <= before_s <= length_s - _ASIDE_S:
            doubts.append(
                f"lies in a change from {short(first.condition)} to "
                f"{short(second.condition)} at {second.start_s:.1f} s: take a window "
                f"that begins after it, or ends before it"
            )
    distances = _distances(place, traffic, reference)
    names = np.array(reference.examples.names)
    others = np.flatnonzero(~np.isin(names, [place.condition, NORMAL]))
    if len(others):
        nearest = others[distances[others].argmin()]
        if distances[nearest] <= rule.unknown:
            doubts.append(
                f"looks like {short(names[nearest])}: {distances[nearest]:.2f} away, "
                f"and up to {rule.unknown:.2f} is the same fault; if it is, learn it "
                f"under that name"
            )
    return doubts


def _window(place, reference, known):
    """Counts `[T, F]` and baseline `[F]` of an example."""
    example = references.read_example(place, reference.run, known, reference.network)
    return example.counts[0], type(example.baseline)(*(x[0] for x in example.baseline))


def _distances(place, traffic, reference):
    """Distances `[X]` from an example to those of the reference."""
    run = reference.run
    first = round(place.start_s / run.config.data.bin_s)
    counts = traffic.counts[None, first : first + run.config.data.bins]
    if reference.network is not None:
        run = reference.network.adapt(run, across=traffic.across)
    point = run.compared(counts, sessions.repeat_baseline(traffic.baseline, 1))
    others = run.compared(*reference.examples.inputs)
    return np.linalg.norm(point - others, axis=1)
