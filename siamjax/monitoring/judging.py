"""All sessions of live traffic: closed bins in, records out."""

import logging
from collections.abc import Mapping
from typing import Any

from siamjax.identification import assigning, comparing, sessions, weighing
from siamjax.identification.references import Reference
from siamjax.monitoring import records
from siamjax.monitoring.binning import Closed
from siamjax.monitoring.session import Session
from siamjax.monitoring.tracking import Windows, share_windows, take_rows
from siamjax.types import UsageError

_LOG = logging.getLogger(__name__)
# At most so many windows are compared in a hop, but two of each session at least: when
# many servers are recognised together, those of their baselines would take seconds.
_AT_ONCE = 2048


class Judge:
    """Compares the windows of all sessions.

    Attributes:
      sessions: by name.
      windows: how many were compared.
      compared: by the name of a network, or empty without one: a text that is the same
        if windows are compared with the same examples, in a network that was not
        learnt anew.
    """

    def __init__(
        self, reference: Reference, by_prefix: Mapping[assigning.Prefix, Reference]
    ) -> None:
        """Begins without a session.

        Args:
          reference: what their windows are compared with.
          by_prefix: the same for servers with such an address, of the same run with
            the same examples.
        """
        self.sessions: dict[str, Session] = {}
        self.windows = 0
        self._reference, self._by_prefix = reference, by_prefix
        self._comparisons = comparing.Comparisons(reference.run, reference.examples)
        by_name = {x.network_name: x for x in (*by_prefix.values(), reference)}
        self.compared = {name: _describe(x) for name, x in by_name.items()}

    def add(self, closed: Closed, old: int, zero_ns: int) -> list[records.Record]:
        """Takes bins that were closed, but for the first `old` ones: what is new.

        Args:
          closed: the bins.
          old: so many were judged before.
          zero_ns: when the first bin of all begins.
        """
        for session in self._sessions_of(closed, closed.first + old, zero_ns):
            before = session.traffic
            session.add(closed.sessions[session.name].behind(old))
            if before is None and session.traffic is not None:
                for warning in session.traffic.warnings:
                    _LOG.warning("%s: %s", session.name, warning)
        return self.judge()

    def judge(self) -> list[records.Record]:
        """Compares the next windows; where many sessions begin, some wait."""
        most = max(_AT_ONCE // max(len(self.sessions), 1), 2)
        waiting, pieces = [], []
        for session in self.sessions.values():
            piece = session.windows(most)
            if piece is not None:
                waiting.append(session)
                pieces.append(piece)
        new_records: list[records.Record] = []
        if not pieces:
            return new_records
        for members, evidence in self._comparisons.compare(pieces):
            self.windows += len(evidence.start_s)
            rule = waiting[members[0]].reference.rule
            weighed = Windows(*weighing.weigh_windows(evidence, rule))
            first = 0
            for k in members:
                end = first + len(pieces[k].start_s)
                new_records += waiting[k].judge(take_rows(weighed, slice(first, end)))
                first = end
        return new_records

    def skip(self, bins: int) -> None:
        """All sessions go on at a bin; the traffic before it was not seen whole."""
        for session in self.sessions.values():
            session.skip(bins)

    def finish(self) -> list[records.Record]:
        """What is new, once no packet comes any more."""
        new_records: list[records.Record] = []
        compared = -1
        while compared < self.windows:  # those that waited
            compared = self.windows
            new_records += self.judge()
        return new_records

    def last_changes(self) -> list[records.Record]:
        """The last change of each session, as it was told."""
        return [s.last for s in self.sessions.values() if s.last is not None]

    def state(self) -> list[dict[str, Any]]:
        """What `restore` needs, of each session."""
        return [session.state() for session in self.sessions.values()]

    def restore(
        self,
        states: list[Mapping[str, Any]],
        compared: Mapping[str, str],
        zero_ns: int,
    ) -> None:
        """Goes on from a `state`.

        Args:
          states: of the sessions.
          compared: of that time; where it is another one now, what lasts is judged
            anew.
          zero_ns: see `add`.
        Raises:
          UsageError: a session is of another network now.
          ValueError, TypeError, KeyError: it has another form.
        """
        for state in states:
            name, network = state["name"], state["network"]
            session = Session(name, self._choose_reference(name), zero_ns)
            current = session.reference.network_name
            if current != network:
                raise UsageError(
                    f"its session {name} is of {_describe_network(network)}, by "
                    f"--network it is of {_describe_network(current)} now"
                )
            session.restore(state)
            if compared[network] != self.compared[network]:
                session.judge_again()
            self.sessions[name] = session
        self._share_memory()

    def _sessions_of(self, closed, first, zero_ns):
        """The sessions of the bins; new ones begin here."""
        count = len(self.sessions)
        for name in closed.sessions:
            if name not in self.sessions:
                reference = self._choose_reference(name)
                if self._by_prefix and reference.network is None:
                    _LOG.warning("%s: %s", name, assigning.UNASSIGNED)
                session = self.sessions[name] = Session(name, reference, zero_ns)
                session.skip(first)
        if len(self.sessions) > count:
            self._share_memory()
        return [self.sessions[name] for name in closed.sessions]

    def _choose_reference(self, name):
        return assigning.find_prefix(name, self._by_prefix) or self._reference

    def _share_memory(self):
        """Keeps less of each session where there are many."""
        windows = share_windows(len(self.sessions))
        for session in self.sessions.values():
            session.keep(windows)


def _describe(reference):
    """The text of `Judge.compared`."""
    places = [tuple(place) for place in reference.examples.places]
    network = reference.network and sessions.fingerprint(reference.network)
    return repr((reference.rule, places, network))


def _describe_network(name):
    return f"network {name}" if name else "no network"
