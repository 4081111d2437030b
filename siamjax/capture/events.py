"""A capture -> events: one for each signalling message, and a report of all others."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from siamjax import files
from siamjax.capture import (
    cleaning,
    clock,
    decode_as,
    layers,
    messages,
    pairing,
    parts,
    server,
    signalling,
)
from siamjax.capture.others import STEPS_NS, share_rows
from siamjax.capture.protocols import PROTOCOLS, protocol_of
from siamjax.capture.protocols.sip import SIP
from siamjax.types import UNCLEAR, Events, SiamjaxError


def read_events(
    path: str | os.PathLike,
    server_address: bytes | None = None,
    *,
    protocols: Sequence[str] | None = None,
    ports: decode_as.Ports | None = None,
    limit_expansion: bool = True,
) -> tuple[Events, tuple[str, ...], cleaning.Report]:
    """Reads the events of a capture in order of time, without addresses and Call-IDs.

    Args:
      path: of the capture file, or `parts.Parts`.
      server_address: bytes of the server's IP address; by default it is found.
      protocols: names in `protocols.PROTOCOLS`; by default all.
      ports: of protocols, besides their usual ones.
      limit_expansion: whether a file that expands beyond the limits is refused.
    Returns:
      `types.Events`; the names of their kinds, sorted; a `cleaning.Report`.
    Raises:
      SiamjaxError: the file is empty, not a capture, without a packet, or too large.
      OSError: it does not exist, or cannot be opened.
    """
    chosen = tuple(PROTOCOLS if protocols is None else protocols)
    with files.reading(path):
        return _read(path, server_address, chosen, ports, limit_expansion)


def read_span(path: str | os.PathLike) -> tuple[int, int]:
    """Times of the first and the last packet of a capture in ns since 1970.

    Raises:
      SiamjaxError: the file is not a capture, or without a packet.
      OSError: it does not exist, or cannot be opened.
    """
    counts: Counter[str] = Counter()
    with files.reading(path):
        seams: list[parts.Seam] = []
        records = parts.read_in_order(path, counts, seams)
        timeline = clock.Timeline()
        for time_ns, *_ in records:
            timeline.add(time_ns)
    if not timeline.packets:
        raise SiamjaxError(f"{path}: a capture without a packet")
    joined = counts["joined"] > 0 or parts.overlap(seams)
    return timeline.finish(joined=joined)[1:3]


def _read(path, server_address, protocols, ports, limit_expansion):
    collector = signalling.Collector(protocols, ports)
    contents = messages.read_messages(
        path,
        take_other=collector.add,
        server_address=server_address,
        limit_expansion=limit_expansion,
    )
    times = contents.times
    other = collector.finish(times, contents.addresses)
    if not times.packets:
        why = cleaning.list_causes(contents.counts)
        raise SiamjaxError(
            ": ".join(filter(None, [f"{path}: a capture without a packet", why]))
        )
    with_sip = SIP.name in protocols
    contents.counts["reordered"] = times.reordered
    read, faults = _settle(contents, other, with_sip)
    rows, kinds = _merge(contents, other, with_sip)
    group, names = _groups(rows, kinds)
    by_protocol = _count_messages(rows, group, names)
    if not by_protocol and len(protocols) < len(PROTOCOLS):
        by_protocol = dict.fromkeys(protocols, 0)  # what was looked for
    direction, servers = _directions(
        rows, group, names, contents.addresses, server_address
    )
    if not with_sip:
        other.also[SIP.name] = contents.counts[messages.CARRIES_SIP]
    states = {
        name: state
        for name, (_, state) in servers.items()
        if by_protocol.get(name) or not any(by_protocol.values())
    }
    events, kinds = _events(rows, times.first_ns, direction, kinds)
    if with_sip:
        others = contents.others.take(
            ~np.isin(contents.others.packet, other.rows.packet)
        )
        others = _by_direction(others, times.first_ns, servers[SIP.name][0])
        events, kinds = _mix(events, kinds, rows.packet, others, times.first_ns)
    report = cleaning.Report(
        name=Path(path).name,
        messages=sum(by_protocol.values()),
        retransmitted=int(events.retransmitted.sum()),
        server=cleaning.worst_state(states.values()),
        by_protocol=by_protocol,
        servers=states,
        account=cleaning.account_for(contents.counts, read, faults),
        **_describe_contents(contents, other),
    )
    return events, kinds, report


def _count_messages(rows, group, names):
    """{protocol: how many messages}, of the protocols that have any."""
    return {
        name: count
        for i, name in enumerate(names)
        if (count := int((rows.says[group == i] != messages.SILENT).sum()))
    }


def _describe_contents(contents, other):
    """The fields of a `cleaning.Report` about the file as a whole."""
    times, counts = contents.times, contents.counts
    gaps = cleaning.list_gaps(times.pauses_ns, times.packets)
    longest_s = min((length_s for _, length_s in gaps), default=clock.AHEAD_NS / 1e9)
    return dict(
        packets=times.packets,
        span_s=(times.last_ns - times.first_ns) / 1e9,
        causes={c: counts[c] for c in cleaning.CAUSES if counts[c]},
        gaps=gaps,
        unread=[[what, name, n] for (what, name), n in other.unread.most_common()],
        tshark=other.version,
        notes=(
            *parts.describe_seams(contents.seams, longest_s),
            *_describe_steps(contents.step_ns),
            *other.notes,
        ),
        also={name: n for name in PROTOCOLS if (n := other.also[name])},
    )


def _settle(contents, other, with_sip):
    """Counts the packets of signalling by what became of them.

    The causes go into `contents.counts`. Returns how many packets hold messages, and
    how many others report faults of the transport.
    """
    counts, tables = contents.counts, [other.rows]
    carrying, errors = counts[messages.CARRIES_SIP], counts[layers.ICMP_ERROR]
    unread = other.unread
    counts["not_asked"] = other.also.total()
    if with_sip:
        tables.append(contents.rows)
        for key in [key for key in unread if key[0] == layers.ICMP_ERROR]:
            errors += unread.pop(key)  # it has a row of SIP
    else:
        counts["not_asked"] += carrying
        counts[layers.ICMP] += errors
        carrying = errors = 0
    packet = np.concatenate([rows.packet for rows in tables])
    is_message = np.concatenate([rows.says != messages.SILENT for rows in tables])
    with_row, read = _count_different(packet), _count_different(packet[is_message])
    failed = int((~np.isin(other.failed, packet)).sum())
    counts["no_tshark"] = unread.total()
    counts["tshark"] = failed
    counts["signalling"] = carrying + errors + len(other.given) - failed - with_row
    return read, with_row - read


def _count_different(numbers):
    return int((np.diff(np.sort(numbers)) > 0).sum()) + (len(numbers) > 0)


def _merge(contents, other, with_sip):
    """The rows of SIP and of tshark, and the names of their kinds."""
    kinds = list(map(messages.with_protocol, contents.kinds))
    rows = contents.rows if with_sip else contents.rows.take(slice(0))
    if not len(other.rows.time_ns):
        return rows, kinds
    more = other.rows._replace(
        kind=other.rows.kind + len(kinds),
        transaction=_behind(other.rows.transaction, rows.transaction),
        dialog=_behind(other.rows.dialog, rows.dialog),
        leg=_behind(other.rows.leg, rows.leg),
    )
    rows = messages.Messages(*map(np.concatenate, zip(rows, more)))
    return rows.take(np.lexsort((rows.packet, rows.time_ns))), [*kinds, *other.kinds]


def _behind(numbers, others):
    """Numbers that are none of the others; NONE stays."""
    first = others.max(initial=messages.NONE) + 1
    return np.where(numbers == messages.NONE, messages.NONE, numbers + first)


def _groups(table, kinds):
    """`[N]` int, the protocol of each row, and the names of the protocols.

    Packets that are no message, whose kind names no protocol, go with SIP.
    """
    names = list(PROTOCOLS)
    of_kind = [names.index(protocol_of(kind)) for kind in kinds]
    return np.array(of_kind, np.int64)[table.kind], names


def _directions(table, group, names, addresses, server_address):
    """`[N]` int8 directions, and the server of each protocol and how it is known."""
    direction = np.full(len(table.kind), UNCLEAR, np.int8)
    of_protocol = {name: np.flatnonzero(group == i) for i, name in enumerate(names)}
    rows = {
        name: table.take(mine)
        for name, mine in of_protocol.items()
        if len(mine) or name == SIP.name
    }
    servers = server.find_servers(rows, addresses, server_address)
    for name, part in rows.items():
        direction[of_protocol[name]] = server.directions(part, servers[name][0])
    return direction, servers


def _events(table, first_ns, direction, kinds):
    """`Events` and their kinds, sorted by name, of rows in order of time."""
    used = sorted({kinds[kind] for kind in np.unique(table.kind)})
    place = {name: i for i, name in enumerate(used)}
    new_number = np.array([place.get(name, 0) for name in kinds], np.int32)
    pauses_ns = pairing.longest_pauses(kinds)
    retransmitted, latency_ns = pairing.pair_messages(table, pauses_ns)
    return Events(
        time_ns=table.time_ns - first_ns,
        direction=direction,
        kind=new_number[table.kind],
        retransmitted=retransmitted,
        latency_ns=latency_ns,
    ), tuple(used)


def _by_direction(others, first_ns, server_number):
    """The packets without signalling, one row for each step of time and direction.

    In place of addresses, `source` has the direction.
    """
    direction = server.directions(others, server_number)
    rows = others._replace(
        source=direction.astype(np.int64), target=np.zeros(len(direction), np.int64)
    )
    return share_rows(rows, STEPS_NS[0], first_ns)


def _describe_steps(step_ns):
    """A sentence where packets without signalling are counted in longer steps."""
    if step_ns == STEPS_NS[0]:
        return ()
    return (
        f"packets without signalling are counted in steps of {step_ns / 1e9:g} s: they "
        "are many, over a long time",
    )


def _mix(events, kinds, packet, others, first_ns):
    """Events and others in order of time and packet, and the kinds of all."""
    if not len(others.packet):
        return events, kinds
    used = sorted({*kinds, messages.OTHER})
    place = np.array([used.index(name) for name in kinds], np.int32)
    few, many = len(events.kind), len(others.packet)
    packets = np.concatenate([np.ones(few, np.int64), others.packets])
    mixed = Events(
        time_ns=np.concatenate([events.time_ns, others.time_ns - first_ns]),
        direction=np.concatenate([events.direction, others.source.astype(np.int8)]),
        kind=np.concatenate(
            [
                place[events.kind] if few else events.kind,
                np.full(many, used.index(messages.OTHER), np.int32),
            ]
        ),
        retransmitted=np.concatenate([events.retransmitted, np.zeros(many, bool)]),
        latency_ns=np.concatenate([events.latency_ns, np.full(many, -1)]),
        packets=packets if (packets > 1).any() else None,
    )
    numbers = np.concatenate([packet, others.packet])
    return mixed.take(np.lexsort((numbers, mixed.time_ns))), tuple(used)
