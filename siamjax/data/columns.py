"""The columns of the counts: a fixed table, with a place for a new fault's messages.

They do not depend on the training captures. Requests per method; answers per class for
the methods that calls and registrations are made of; answers per common code whatever
the method; what was retransmitted; latencies (the delays of RFC 6076) and requests
still open, which show a service that is slow rather than wrong; ICMP errors; and
everything else.
"""

from collections.abc import Container, Iterable
from typing import Any

import numpy as np

from siamjax.types import Column

METHODS = (
    "INVITE ACK BYE REGISTER CANCEL OPTIONS PRACK UPDATE INFO SUBSCRIBE NOTIFY REFER "
    "MESSAGE PUBLISH"
).split()
CLASS_METHODS = ("INVITE", "REGISTER", "BYE")
REST = "rest"
COUNTER = "counter"  # the role of what is no column of events
CODES = (
    *(100, 180, 183, 200, 401, 403, 404, 407, 408, 480, 481, 486, 487),
    *(500, 503, 603),
)
# A call's delay to ringing and to its end, a registration's and a hang-up's to theirs.
WAITS = (
    ("INVITE", "ringing"),
    ("INVITE", "final"),
    ("REGISTER", "final"),
    ("BYE", "final"),
)

SIP: tuple[Column, ...] = (
    *(Column(method, "request", method) for method in METHODS),
    *(
        Column(f"{method}/{status}xx", "class", method, status)
        for method in (*CLASS_METHODS, REST)
        for status in range(1, 7)
    ),
    *(Column(str(code), "code", "", code) for code in CODES),
    Column("retransmitted requests", "retransmitted_request"),
    Column("retransmitted answers", "retransmitted_answer"),
    *(
        Column(f"{method} to {end} ms", f"latency_{end}", method, empty=np.nan)
        for method, end in WAITS
    ),
    *(
        Column(f"{method} without {end}", f"open_{end}", method)
        for method, end in WAITS
    ),
    Column("icmp", "icmp"),
    Column("other", "other"),
)


def counter_columns(
    names: Iterable[str], heavy: Iterable[Any], growing: Container[str] = ()
) -> tuple[Column, ...]:
    """Columns of counters: names, which of them are heavy-tailed (`[F]` bool), and the
    names of those that only grow."""
    return tuple(
        Column(name, COUNTER, heavy=bool(h), empty=np.nan, grows=name in growing)
        for name, h in zip(names, heavy)
    )


def names_of_kind(kind: str) -> list[str]:
    """Names of the columns of SIP that one event of this kind counts in."""
    method, _, status = kind.partition("/")
    if not status:
        return [method] if method in METHODS or method == "icmp" else ["other"]
    code = int(status) if status.isdigit() else 0
    if not 100 <= code <= 699:
        return ["other"]
    group = method if method in CLASS_METHODS else REST
    return [f"{group}/{code // 100}xx"] + [str(code)] * (code in CODES)
