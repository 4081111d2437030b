"""The columns of the counts: a fixed table, which also counts messages of new faults.

The table does not depend on the training captures. Each protocol has columns for
- requests by procedure (the methods of SIP),
- answers by class (such as success and rejection), for its main procedures,
- answers by common cause (the status codes of SIP), of all procedures,
- retransmitted requests and answers,
- latencies, and requests without an answer yet: a slow service,
- errors of the transport,
- all other messages; for SIP, all other packets.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any

import numpy as np

from siamjax.capture.messages import ICMP
from siamjax.capture.protocols import PROTOCOLS, protocol_of, split_kind
from siamjax.capture.protocols import sip as sip_table
from siamjax.capture.protocols.table import ERROR, OTHER, RESENT, REST, Protocol
from siamjax.types import Column

COUNTER = "counter"  # the role of a column that does not count events


def protocol_columns(protocol: Protocol) -> tuple[Column, ...]:
    """The columns of a protocol. Names of SIP's columns do not say the protocol."""
    columns = (
        *(Column(name, "request", name) for name in protocol.procedures),
        *(
            Column(f"{procedure}/{name}", "class", procedure, number)
            for procedure in (*protocol.answered, REST)
            for number, name in enumerate(protocol.classes, 1)
        ),
        *(
            Column(_cause_name(protocol, code), "code", "", _number(code))
            for code in protocol.causes
        ),
        Column("retransmitted requests", "retransmitted_request"),
        Column("retransmitted answers", "retransmitted_answer"),
        *(
            Column(
                f"{wait.procedure} to {wait.end} ms",
                f"latency_{wait.end}",
                wait.procedure,
                empty=np.nan,
            )
            for wait in protocol.waits
        ),
        *(
            Column(
                f"{wait.procedure} without {wait.end}",
                f"open_{wait.end}",
                wait.procedure,
            )
            for wait in protocol.waits
        ),
        *(Column(name, role) for name, role in _faults(protocol).items()),
        Column(OTHER, "other"),
    )
    if protocol is sip_table.SIP:
        return columns
    return tuple(
        column._replace(
            name=f"{protocol.name} {column.name}",
            method=f"{protocol.name}:{column.method}",
        )
        for column in columns
    )


def event_columns(protocols: Iterable[str]) -> tuple[Column, ...]:
    """The columns of a data set of these protocols, in the order of `PROTOCOLS`."""
    chosen = set(protocols)
    return tuple(
        column
        for name, protocol in PROTOCOLS.items()
        if name in chosen
        for column in protocol_columns(protocol)
    )


def protocols_of(table: Iterable[Column]) -> tuple[str, ...]:
    """Names of the protocols of a table of columns of events."""
    names = {protocol_of(column.method) for column in table}
    return tuple(name for name in PROTOCOLS if name in names)


def protocols_of_data(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the protocols of a data set; those of older versions have SIP."""
    return tuple(meta.get("protocols", ("sip",)))


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
    """Names of the columns that one event of this kind counts in."""
    name, kind = split_kind(kind)
    protocol = PROTOCOLS[name]
    names = _names_in(protocol, kind)
    return names if name == sip_table.SIP.name else [f"{name} {x}" for x in names]


def _names_in(protocol, kind):
    procedure, slash, outcome = kind.partition("/")
    names = []
    if not protocol.is_answer(kind):
        known = (*protocol.procedures, *_faults(protocol))
        names.append(procedure if procedure in known else OTHER)
        if not slash:
            return names
    else:
        group = procedure if procedure in protocol.answered else REST
        name = protocol.class_of(outcome)
        if not name:
            return [OTHER]
        names.append(f"{group}/{name}")
    if outcome in protocol.causes:
        names.append(_cause_name(protocol, outcome))
    return names


def _cause_name(protocol, code):
    return code if protocol is sip_table.SIP else f"{code} {protocol.causes[code]}"


def _number(code):
    return int(code) if code.isdigit() else 0


def _faults(protocol):
    """{name of a column of faults of the transport: its role}."""
    if protocol is sip_table.SIP:
        return {ICMP: "icmp"}
    resends = {"tcp", "sctp", "ppid"} & set(protocol.ports)
    return {ERROR: "icmp"} | ({RESENT: "resent"} if resends else {})


SIP: tuple[Column, ...] = protocol_columns(sip_table.SIP)
