"""Packets that were captured twice, such as at two ports of a switch or at two hops."""

from siamjax.capture import layers

# A packet with the content and IP identification of one before is a copy, from another
# port or hop, within this time: SIP waits 500 ms (T1 of RFC 3261) before it repeats a
# message. Where the system gives no identification, only the next moment is safe: a
# server may send two equal answers when it comes to two equal requests.
COPY_NS, UNNAMED_COPY_NS = 499_000_000, 5_000_000
# At most twice as many packets are remembered for that, so that memory stays bounded
# in a capture whose packets all have the same time.
MOST_REMEMBERED = 1 << 17


class RecentPackets:
    """The packets of the last moment, which tell whether another one is a copy.

    They are kept in two maps, of which the older one is dropped in turn. So memory does
    not grow with the capture, even if its times are wrong.
    """

    def __init__(self) -> None:
        self._newer: dict[int, int] = {}  # hash of a packet -> when it was seen last
        self._older: dict[int, int] = {}
        self._since_ns = 0  # the first time in the newer map

    def is_copy(self, time_ns: int, datagram: layers.Datagram) -> bool:
        """Whether the same packet was seen just before, at any port or hop.

        Frame and time to live differ from hop to hop, so they are not compared.
        """
        what, source, target, ident, payload, ports, _, part = datagram
        if ident > b"\0\0":
            within_ns = COPY_NS
        elif what == layers.UDP:
            within_ns = UNNAMED_COPY_NS
        else:
            return False  # two equal acknowledgements of TCP are not copies
        newer = self._newer
        if len(newer) >= MOST_REMEMBERED or abs(time_ns - self._since_ns) > COPY_NS:
            self._older, self._newer, self._since_ns = newer, {}, time_ns
            newer = self._newer
        name = hash((source, target, ident, ports, part, payload))
        seen_ns = newer.get(name, self._older.get(name))
        if seen_ns is not None and abs(time_ns - seen_ns) <= within_ns:
            return True
        newer[name] = time_ns
        return False
