"""One session of live traffic: counts -> windows -> timeline -> records."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.identification import decide, identify, reasons, references, sessions
from siamjax.identification.comparing import Piece
from siamjax.identification.references import Reference
from siamjax.identification.timeline import IN_DOUBT, RECOVERING, UNKNOWN, Span
from siamjax.monitoring import packing, records, tracking
from siamjax.monitoring.binning import Bins
from siamjax.monitoring.rows import Rows
from siamjax.types import NORMAL, Baseline

# An onset that moved by at least this many seconds is reported again.
_MOVED_S = decide.HOP_S
# The columns that moved are found from the last bins of a stretch, at most this many.
_MOVED_BINS = 1024


class Known(NamedTuple):
    """A stretch that was reported."""

    stretch: str  # its name
    condition: str
    start_s: float


class Step(NamedTuple):
    """A difference between what was reported and the timeline of now."""

    place: int  # of the span that is the present after this step
    state: str  # of `records.Change`
    previous: str  # condition; empty: none
    ends: str | None  # the stretch that ended


class Session:
    """What is known of one session.

    Attributes:
      traffic: its latest bins and its baseline; None: the baseline is not there yet.
      condition: of now; empty: not known yet.
      last: the last change.
      reference: what its windows are compared with.
    """

    def __init__(self, name: str, reference: Reference, zero_ns: int) -> None:
        """Begins a session.

        Args:
          name: in records.
          reference: what its windows are compared with.
          zero_ns: when its first bin begins.
        """
        self.name, self.zero_ns, self.condition = name, zero_ns, ""
        self.traffic: sessions.Traffic | None = None
        self.last: records.Change | None = None
        self.reference, self._run = reference, reference.run
        self._first = 0  # the first bin that is kept
        self._next = 0  # the first bin of the next window
        self._counts = Rows(np.zeros((0, len(self._run.columns)), np.float32))
        self._messages = np.zeros(0, int)
        self._known: list[Known] = []
        self._count = 0  # of records
        self._now_s = 0.0  # the end of the last window
        self._tracker = self._make_tracker()

    @property
    def bins(self) -> int:
        """How many bins there were."""
        return self._first + len(self._counts)

    def add(self, bins: Bins) -> None:
        """Takes the next bins."""
        self._counts.append(bins.counts)
        if self.traffic is None:
            self._messages = np.concatenate([self._messages, bins.messages])
            self._begin()
        else:
            hop = sessions.hop_bins(self._run)
            kept = self._tracker.most * hop  # bins, to say why
            old = min(self.bins - kept, self._next) - self._first
            if old > kept // 8:
                self._drop(old)

    def keep(self, windows: int) -> None:
        """Keeps so many windows, and the bins of so many, from now on."""
        self._tracker.most = windows

    def windows(self, most: int) -> Piece | None:
        """The next windows to compare, so many at most; None: there are none yet."""
        hop, data = sessions.hop_bins(self._run), self._run.config.data
        start = np.arange(self._next, self.bins - data.bins + 1, hop)[:most]
        if self.traffic is None or not len(start):
            return None
        self._next = int(start[-1]) + hop
        rows = (start - self._first)[:, None] + np.arange(data.bins)
        return Piece(
            self.traffic,
            start * data.bin_s,
            self._counts.values[rows],
            sessions.repeat_baseline(self.traffic.baseline, len(start)),
        )

    def skip(self, bins: int) -> None:
        """Goes on at a bin; the traffic before it was not seen as a whole."""
        self._counts.drop(len(self._counts))
        self._messages = self._messages[:0]
        self._first = self._next = bins

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on."""
        state = dict(
            name=self.name,
            network=self.reference.network_name,
            zero_ns=self.zero_ns,
            condition=self.condition,
            first=self._first,
            next=self._next,
            counts=packing.pack_counts(self._counts.values),
            messages=self._messages,
            known=[list(known) for known in self._known],
            count=self._count,
            now_s=self._now_s,
            last=records.as_json(self.last) if self.last else None,
            tracker=self._tracker.state(),
        )
        if self.traffic is not None:
            state["traffic"] = dict(
                mean=np.asarray(self.traffic.baseline.mean),
                deviation=np.asarray(self.traffic.baseline.deviation),
                warnings=list(self.traffic.warnings),
                across=self.traffic.across,
                calibrated=self.traffic.calibrated,
            )
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`.

        Raises:
          ValueError, TypeError, KeyError: it has another form.
        """
        self.condition = state["condition"]
        self._first, self._next = state["first"], state["next"]
        self._counts = Rows(packing.unpack_counts(state["counts"]))
        self._messages = state["messages"]
        self._known = [Known(*known) for known in state["known"]]
        self._count, self._now_s = state["count"], state["now_s"]
        if state["last"] is not None:
            last = records.from_json(state["last"])
            assert isinstance(last, records.Change)
            self.last = last
        self._tracker.restore(state["tracker"])
        if "traffic" in state:
            traffic = state["traffic"]
            self.traffic = sessions.Traffic(
                self.name,
                self._counts.values[:0].copy(),
                Baseline(traffic["mean"], traffic["deviation"]),
                tuple(traffic["warnings"]),
                across=traffic["across"],
                calibrated=traffic["calibrated"],
                network=self.reference.network,
            )

    def judge_again(self) -> None:
        """Judges the present stretch anew, because it is compared with other examples
        or the network was learnt anew.

        It keeps its name; its windows are those of the bins that are kept.
        """
        network, traffic = self.reference.network, self.traffic
        if network is not None and traffic is not None and traffic.across:
            self.traffic = traffic._replace(baseline=network.baseline)
        most = self._tracker.most
        self._tracker = self._make_tracker()
        self._tracker.most = most
        self._known = self._known[-1:]
        if self._known:
            hop = sessions.hop_bins(self._run)
            begins = round(self._known[0].start_s / self._run.config.data.bin_s)
            begins = max(begins, self._first)
            self._next -= max(self._next - begins, 0) // hop * hop

    def judge(self, windows: tracking.Windows) -> list[records.Record]:
        """Takes the evidence of the windows of `windows`, weighed: what is new.

        They are judged one after the other, so that what is said does not depend on how
        many come at once.
        """
        new_records: list[records.Record] = []
        for i, start_s in enumerate(windows.evidence.start_s.tolist()):
            self._now_s = start_s + windows.evidence.window_s
            row = tracking.take_rows(windows, slice(i, i + 1))
            evidence = row.evidence._replace(end_s=self._now_s)
            final = self._tracker.add_weighed(row._replace(evidence=evidence))
            new_records += self._report([*final, *self._tracker.spans])
            new_records += self._finish(final)
        return new_records

    def finish(self) -> list[records.Record]:
        """What is final, once no packet comes any more."""
        self._now_s = self.bins * self._run.config.data.bin_s
        spans = self._tracker.finish(self._now_s)
        if not spans:
            return []
        new_records = self._report(spans)
        known = list(self._known)
        new_records += self._finish(spans)
        self._known = known  # it goes on, if there are packets later
        return new_records

    def _drop(self, count):
        self._counts.drop(count)
        self._first += count

    def _make_tracker(self):
        reference = self.reference
        return tracking.Tracker(
            reference.rule, references.list_origins(reference), reference.taught
        )

    def _begin(self):
        """Measures the baseline once it is there; it begins with a message."""
        run, network = self._run, self.reference.network
        first = sessions.baseline_bins(run)
        if first and network is None:
            spoke = np.flatnonzero(self._messages)
            silent = int(spoke[0]) if len(spoke) else len(self._messages)
            if silent >= first:
                self._drop(silent)
                self._next = self._first
                self._messages = self._messages[silent:]
        if len(self._counts) < first + run.config.data.bins:
            return
        self.traffic = sessions.from_counts(
            self.name,
            self._counts.values,
            run,
            first=first,
            network=network,
            was_read=not first or bool(self._messages[:first].any()),
            beginnings=self.reference.beginnings,
        )
        self._messages = self._messages[:0]

    def _report(self, spans):
        """Records of what differs from the last report."""
        spans = identify.mark_doubt(spans, self.traffic.calibrated)
        known, steps = compare_reports(self._known, spans, self._name_stretch)
        changes = [self._change(known, spans[s.place], s) for s in steps]
        self._known, self.condition = known, spans[-1].condition
        self.last = changes[-1] if changes else self.last
        return changes

    def _finish(self, final):
        """Records of final spans, the first of those that were reported."""
        stretches = [
            records.Stretch(
                **self._common(known.stretch),
                stretch=known.stretch,
                condition=span.condition,
                start=self._format(span.start_s),
                end=self._format(span.end_s),
                start_s=span.start_s,
                end_s=span.end_s,
                distance=_finite(span.distance),
                runner_up=_runner_up(span),
                example=span.example,
            )
            for known, span in zip(
                self._known, identify.mark_doubt(final, self.traffic.calibrated)
            )
        ]
        del self._known[: len(final)]
        return stretches

    def _name_stretch(self, start_s):
        return f"{self.name}@{self._format(start_s)}"

    def _change(self, known, span, step):
        is_normal = _is_normal(span.condition)
        severities = {UNKNOWN: records.UNKNOWN, RECOVERING: records.RECOVERING}
        stretch = known[step.place].stretch
        moved = () if is_normal else self._moved(span)
        return records.Change(
            **self._common(stretch),
            state=step.state,
            stretch=stretch,
            ends=step.ends,
            condition=span.condition,
            previous=step.previous,
            severity=records.NORMAL
            if is_normal
            else severities.get(span.condition, records.KNOWN),
            onset=self._format(span.start_s),
            onset_error_s=_finite(span.onset_error_s),
            distance=_finite(span.distance),
            threshold=_finite(span.threshold) or self.reference.rule.unknown,
            p_value=_finite(span.p_value),
            candidates=span.candidates,
            runner_up=_runner_up(span),
            example=span.example,
            moved=tuple(column._asdict() for column in moved),
            calibrated=self.traffic.calibrated,
        )

    def _moved(self, span):
        """The columns that moved, from the bins that are kept."""
        bin_s = self._run.config.data.bin_s
        first = max(round(span.start_s / bin_s) - self._first, 0)
        end = max(round(span.end_s / bin_s) - self._first, 0)
        counts = self._counts.values[first:end]
        counts = counts[-_MOVED_BINS:]
        span = span._replace(start_s=0.0, end_s=len(counts) * bin_s)
        return reasons.find_moved(self._run, self.traffic._replace(counts=counts), span)

    def _common(self, stretch):
        self._count += 1
        network = self.reference.network
        return dict(
            time=self._format(self._now_s),
            id=f"{stretch}#{self._count}",
            session=self.name,
            network=network.name if network else None,
        )

    def _format(self, seconds):
        return records.format_time(self.zero_ns + round(seconds * 1e9))


def compare_reports(
    known: Sequence[Known],
    spans: Sequence[Span],
    name_stretch: Callable[[float], str],
) -> tuple[list[Known], list[Step]]:
    """What is new in a timeline against the one that was reported.

    Args:
      known: `Known` of each span that was reported, in order.
      spans: the timeline now.
      name_stretch: gives the name of a stretch that begins at a second.
    Returns:
      `Known` of each span, and the `Step`s that lead to the last one.
    """
    updated: list[Known] = []
    steps: list[Step] = []
    condition = known[-1].condition if known else ""
    for i, span in enumerate(spans):
        if i < len(known):
            stretch = known[i].stretch
        else:
            stretch = name_stretch(span.start_s)
            before = updated[-1] if updated else None
            ends = before and _fault(before)
            state = records.CLEARED if _is_normal(span.condition) else records.RAISED
            steps.append(Step(i, state, condition, ends))
            condition = span.condition
        updated.append(Known(stretch, span.condition, span.start_s))
    last = len(spans) - 1
    if last >= len(known):
        return updated, steps
    before, span = known[last], spans[last]
    vanished = len(known) > len(spans)
    if (
        vanished
        or before.condition != span.condition
        or abs(before.start_s - span.start_s) >= _MOVED_S
    ):
        is_normal = _is_normal(span.condition)
        state = records.CLEARED if is_normal else records.REVISED
        ended = _fault(known[-1]) if vanished or is_normal else None
        steps.append(Step(last, state, condition, ended))
    else:  # small movements do not add up unnoticed
        updated[last] = before
    return updated, steps


def _is_normal(condition):
    return condition in (NORMAL, IN_DOUBT)


def _fault(known):
    """The name of a stretch, if it was not normal."""
    return None if _is_normal(known.condition) else known.stretch


def _runner_up(span):
    if not span.other or not math.isfinite(span.margin):
        return None
    distance = (
        span.distance if span.condition == UNKNOWN else span.distance + span.margin
    )
    return span.other, distance


def _finite(value):
    return value if math.isfinite(value) else None
