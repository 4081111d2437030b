"""What captures are compared with: examples, a rule, what is normal in a network."""

import logging
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamjax.identification import (
    adapting,
    assigning,
    enrol,
    library,
    normality,
    rules,
    sessions,
)
from siamjax.identification.examples import Examples, Place, join_examples
from siamjax.identification.timeline import IN_DOUBT, RECOVERING, UNKNOWN
from siamjax.inference import runs
from siamjax.text import printable
from siamjax.types import NORMAL, UsageError

_LOG = logging.getLogger(__name__)


class Reference(NamedTuple):
    """What captures are compared with, and by which rule."""

    run: runs.Run
    examples: Examples
    rule: rules.Rule
    taught: frozenset[str]  # conditions that have examples beside those of the run
    network: sessions.Adapted | None  # to which the run is adapted
    beginnings: normality.Beginnings | None  # of its training; None: not compared

    @property
    def network_name(self) -> str:
        """The name of the network; empty: none."""
        return self.network.name if self.network else ""


def open_references(
    run: runs.Run,
    networks: Iterable[str | None],
    *,
    folder: str | os.PathLike | None = None,
    places: Sequence[Place] = (),
    false_alarms: float | None = None,
) -> dict[str | None, Reference]:
    """{network: what its captures are compared with}; the files of `places` are read.

    Args:
      run: that was evaluated. Its own examples are always compared with.
      networks: their names in the library; the run is adapted to each. None: it is
        adapted to none.
      folder: of the library; by default that of the run.
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
    beginnings = sessions.fit_beginnings(run)
    opened: dict[str | None, Reference] = {}
    for name in dict.fromkeys(networks):
        adapted, rule_there = None, rule
        by_bins = run.deciding.normal_bins is not None
        if name is not None:
            adapted = adapting.adapt(run, kept.network(name), false_alarms)
            typical = () if by_bins else adapted.typical
            calibration = rule.calibration._replace(normal=typical)
            rule_there = rule._replace(calibration=calibration)
        # In a network the limit follows from the rate; that of normal bins does not.
        if false_alarms is not None and (name is None or by_bins):
            rule_there = rules.ask_rate(rule_there, false_alarms)
        known: dict[str, sessions.Traffic] = {}
        parts = [
            stored,
            library.as_examples(kept.examples),
            *(read_example(Place(*place), run, known, adapted) for place in places),
        ]
        given = [part for part in parts if part is not None]
        joined = join_examples(*given)
        taught = frozenset(name for part in given[1:] for name in part.names)
        opened[name] = Reference(run, joined, rule_there, taught, adapted, beginnings)
    return opened


def open_reference(
    run: runs.Run,
    *,
    folder: str | os.PathLike | None = None,
    network: str | None = None,
    places: Sequence[Place] = (),
    false_alarms: float | None = None,
) -> Reference:
    """`open_references` of one network, or of none."""
    opened = open_references(
        run, [network], folder=folder, places=places, false_alarms=false_alarms
    )
    return opened[network]


def open_for_captures(
    run: runs.Run,
    captures: Sequence[str | os.PathLike],
    networks: Sequence[str],
    *,
    folder: str | os.PathLike | None = None,
    false_alarms: float | None = None,
) -> list[Reference]:
    """`open_references` for captures: what each of them is compared with.

    Args:
      captures: their paths; none is read here.
      networks: texts NAME and NAME=PATTERN, see `assigning.assign_files`.
      folder, false_alarms: see `open_references`.
    Raises:
      SiamjaxError, UsageError: see `open_references`; a pattern fits no file, or two
        fit one.
    """
    assignment = assigning.parse_networks(networks)
    names = assigning.assign_files(captures, assignment)
    opened = open_references(run, names, folder=folder, false_alarms=false_alarms)
    return [opened[name] for name in names]


def network_notes(
    reference: Reference, references: Iterable[Reference]
) -> tuple[str, ...]:
    """A note if a capture has no network where others have one, else none.

    Args:
      reference: what the capture is compared with.
      references: the same of all captures.
    """
    is_unassigned = reference.network is None and any(x.network for x in references)
    return (assigning.UNASSIGNED,) if is_unassigned else ()


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
        for warning in known[place.capture].warnings:
            _LOG.warning("example %s: %s", printable(place.capture), warning)
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
