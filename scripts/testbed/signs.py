"""The sign by which each fault is seen in the counts of a capture.

A sign compares the counts before a fault and during it: a function of two phases and
the severity gives a value, and whether the fault is seen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from loader_example import BIN_S


@dataclass(frozen=True)
class View:
    """How the counts of a protocol are read, and the signs of its faults."""

    requests: tuple[str, ...]  # columns of requests
    is_answer: Callable[[str], bool]  # of a column
    repeats: tuple[str, ...]  # columns of repeated messages
    shown: tuple[str, ...]  # columns whose rates are printed
    latencies: tuple[str, ...]  # columns whose medians are printed
    signs: Mapping[str, tuple[str, Callable]] = field(default_factory=dict)


class Phase:
    """The counts of some bins of a capture: means of columns."""

    def __init__(self, rows, header, view):
        self._rows, self._index = rows, {name: i for i, name in enumerate(header)}
        self._view = view
        self.bins = len(rows)

    def column(self, name):
        return self._rows[:, self._index[name]]

    def rate(self, *names):
        """Messages per second, of several columns together."""
        return sum(float(self.column(name).mean()) for name in names) / BIN_S

    def median(self, name):
        values = self.column(name)
        measured = values[~np.isnan(values)]
        return float(np.median(measured)) if len(measured) else float("nan")

    def silent(self, names):
        """Share of bins that have nothing in these columns."""
        return float(np.mean(sum(self.column(name) for name in names) == 0))

    @property
    def answer_names(self):
        return [name for name in self._index if self._view.is_answer(name)]

    @property
    def requests(self):
        return self.rate(*self._view.requests)

    @property
    def answers(self):
        return self.rate(*self.answer_names)

    @property
    def messages(self):
        return self.requests + self.answers

    @property
    def repeated(self):
        return self.rate(*self._view.repeats)

    @property
    def without_requests(self):
        return self.silent(self._view.requests)

    @property
    def without_answers(self):
        return self.silent(self.answer_names)

    def cells(self):
        """What the table of phases shows."""
        return [
            *(self.rate(name) for name in self._view.shown),
            self.repeated,
            100 * self.without_requests,
            *(self.median(name) for name in self._view.latencies),
        ]


def share(count, total):
    return count / total if total else 0.0


# -- signs of any protocol -------------------------------------------------


def _repeats(before, during, severity):
    repeated = share(during.repeated, during.messages)
    return repeated, repeated > 0.02


def _is_silent(before, during, severity):
    more = during.without_requests - before.without_requests
    return more, more > severity / 3


def _answers_stop(before, during, severity):
    left = share(during.answers, before.answers)
    return left, left < 0.1


def _answers_are_fewer(before, during, severity):
    left = share(during.answers, before.answers)
    return left, left < 0.85


def _answers_pause(before, during, severity):
    more = during.without_answers - before.without_answers
    return more, more > severity / 3


def _later(name):
    """The sign of a delay in both directions."""

    def sign(before, during, severity):
        later_s = (during.median(name) - before.median(name)) / 1000
        return later_s, later_s > severity

    return sign


def _slower(name, times):
    def sign(before, during, severity):
        slower = during.median(name) / before.median(name)
        return slower, slower > times

    return sign


def _share_of_requests(answers, requests):
    """The sign of conditions whose severity is a share of requests with one answer."""

    def sign(before, during, severity):
        more = share(during.rate(*answers), during.rate(*requests)) - share(
            before.rate(*answers), before.rate(*requests)
        )
        return more, more > severity / 3

    return sign


def _more(name, least):
    """The sign of a storm of requests, of which at least so many for each session."""

    def sign(before, during, severity):
        more = during.rate(name) - before.rate(name)
        return more, more > least * severity

    return sign


# -- SIP -------------------------------------------------------------------


def _stops(before, during, severity):
    first = [p.requests - p.rate("retransmitted requests") for p in (before, during)]
    left = min(
        share(during.answers, before.answers),
        share(first[1], first[0]),
        share(during.rate("INVITE/1xx"), before.rate("INVITE/1xx")),
    )
    return left, left < 0.1


def _leaves_open(before, during, severity):
    left_open = during.rate("INVITE") - during.rate("ACK")
    return left_open, left_open > severity / 3


def _rings_no_more(before, during, severity):
    rings = share(during.rate("180"), during.rate("INVITE"))
    return rings, rings < 0.1


def _is_refused(before, during, severity):
    refused = share(during.rate("401"), during.rate("REGISTER"))
    return refused, refused > 0.6


SIP = View(
    requests=tuple("INVITE ACK BYE CANCEL REGISTER OPTIONS".split()),
    is_answer=lambda name: name.endswith("xx"),
    repeats=("retransmitted requests", "retransmitted answers"),
    shown=tuple(
        (
            "INVITE ACK BYE CANCEL REGISTER OPTIONS 100 180 200 401 404 408 480 486 "
            "487 503"
        ).split()
    ),
    latencies=("INVITE to ringing ms", "REGISTER to final ms"),
    signs=dict(
        blocked=("answers or new requests, of before", _stops),
        capacity_limit=("share of repeated messages", _repeats),
        packet_loss=("share of repeated messages", _repeats),
        downlink_loss=("share of repeated messages", _repeats),
        delay=("s until ringing, more than before", _later("INVITE to ringing ms")),
        server_overload=(
            "503 to a request, more than before",
            _share_of_requests(["503"], ["INVITE", "REGISTER", "OPTIONS"]),
        ),
        # Each registration has two requests.
        registration_storm=("REGISTER/s, more than before", _more("REGISTER", 1)),
        callee_down=("180 to an INVITE", _rings_no_more),
        busy_reject=(
            "486 to an INVITE, more than before",
            _share_of_requests(["486"], ["INVITE"]),
        ),
        link_flap=("share of bins without a request, more than before", _is_silent),
        auth_failure=("401 to a REGISTER", _is_refused),
        invite_flood=("INVITE/s without an ACK", _leaves_open),
        slow_registrar=(
            "time to register, times before",
            _slower("REGISTER to final ms", 5),
        ),
        routing_failure=(
            "404 to an INVITE, more than before",
            _share_of_requests(["404"], ["INVITE"]),
        ),
    ),
)


# -- RADIUS and GTP --------------------------------------------------------


def _accounting_stops(before, during, severity):
    answered = share(during.rate("radius Start/success"), during.rate("radius Start"))
    return answered, answered < 0.1


def _view(prefix, procedures, main, signs):
    """The view of a protocol whose columns begin with its name."""
    requests = tuple(f"{prefix} {name}" for name in procedures)
    latency = f"{prefix} {main} to answer ms"
    return View(
        requests=requests,
        is_answer=lambda name: name.startswith(prefix) and "/" in name.split(" ")[1],
        repeats=(
            f"{prefix} retransmitted requests",
            f"{prefix} retransmitted answers",
        ),
        shown=(
            *requests,
            *(f"{name}/success" for name in requests),
            f"{prefix} {main}/rejection",
            f"{prefix} error",
        ),
        latencies=(latency,),
        signs=dict(
            blocked=("answers, of before", _answers_stop),
            capacity_limit=("answers, of before", _answers_are_fewer),
            packet_loss=("share of repeated messages", _repeats),
            downlink_loss=("share of repeated messages", _repeats),
            delay=(f"s until an answer to {main}, more than before", _later(latency)),
            link_flap=("share of bins without a request, more than before", _is_silent),
            server_down=("answers, of before", _answers_stop),
            server_stall=(
                "share of bins without an answer, more than before",
                _answers_pause,
            ),
            session_storm=(
                f"{main}/s, more than before",
                _more(f"{prefix} {main}", 0.6),
            ),
            **signs,
        ),
    )


RADIUS = _view(
    "radius",
    ("Access", "Start", "Interim", "Stop"),
    "Access",
    dict(
        auth_failure=(
            "rejections to an Access, more than before",
            _share_of_requests(["radius Access/rejection"], ["radius Access"]),
        ),
        slow_server=(
            "time until an answer to Access, times before",
            _slower("radius Access to answer ms", 3),
        ),
        accounting_down=("answers to a Start", _accounting_stops),
        wrong_secret=("share of repeated messages", _repeats),
    ),
)
_REFUSED_CREATIONS = (
    "rejections to a CreatePDP, more than before",
    _share_of_requests(["gtpv1 CreatePDP/rejection"], ["gtpv1 CreatePDP"]),
)
GTPV1 = _view(
    "gtpv1",
    ("Echo", "CreatePDP", "UpdatePDP", "DeletePDP"),
    "CreatePDP",
    dict(
        apn_down=_REFUSED_CREATIONS,
        unknown_apn=_REFUSED_CREATIONS,
        stale_contexts=(
            "rejections to an UpdatePDP or DeletePDP, more than before",
            _share_of_requests(
                ["gtpv1 UpdatePDP/rejection", "gtpv1 DeletePDP/rejection"],
                ["gtpv1 UpdatePDP", "gtpv1 DeletePDP"],
            ),
        ),
        update_storm=(
            "UpdatePDP/s, more than before",
            _more("gtpv1 UpdatePDP", 0.6),
        ),
    ),
)
VIEWS = dict(sip=SIP, radius=RADIUS, gtpv1=GTPV1)
