"""The columns of the counts: a fixed table, which also counts messages of new faults.

The table does not depend on the training captures. It has columns for
- requests by method,
- answers by class, for the methods of calls and registrations,
- answers by common status code, of all methods,
- retransmitted requests and answers,
- latencies (delays of RFC 6076) and requests without an answer yet: a slow service,
- ICMP errors,
- all other packets.
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
COUNTER = "counter"  # the role of a column that does not count events
CODES = (
    *(100, 180, 183, 200, 401, 403, 404, 407, 408, 480, 481, 486, 487),
    *(500, 503, 603),
)
# Latencies: of a call to ringing and to its final answer, of a registration and of a
# hang-up to the final answer.
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
    """Columns of counters.

    Args:
      names: F of them.
      heavy: `[F]` bool, which of them are heavy-tailed.
      growing: names of those that only grow.
    """
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
