"""Which server a message belongs to, where each server is a session of its own."""

import ipaddress
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from siamjax.capture.messages import ANSWER, CREATES, SILENT, Messages

# An address is a server if, in so many seconds, it is asked to begin so many dialogs,
# and at least this share of what the busiest address is asked. It stays one. There are
# at most so many.
_EACH_NS, _LEAST, _SHARE = 30 * 10**9, 20, 0.05
MOST_SERVERS = 1024
NONE = -1


class Servers:
    """The servers that were recognised so far.

    Attributes:
      names: their addresses, in the order in which they were recognised.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._packed: list[bytes] = []
        self._asked: Counter[int] = Counter()  # dialogs, by number of the address
        self._since_ns: int | None = None

    def add(self, packed: bytes) -> None:
        """Adds a server, by the bytes of its address."""
        if packed not in self._packed and len(self.names) < MOST_SERVERS:
            self.names.append(_name(packed))
            self._packed.append(packed)

    def state(self) -> list[str]:
        """What `restore` needs."""
        return [packed.hex() for packed in self._packed]

    def restore(self, state: list[str]) -> None:
        for packed in state:
            self.add(bytes.fromhex(packed))

    def learn(self, rows: Messages, addresses: Mapping[bytes, int]) -> None:
        """Recognises servers in the next rows."""
        if not len(rows.time_ns):
            return
        asked = rows.target[rows.says == CREATES]
        self._asked.update(asked.tolist())
        first_ns, last_ns = int(rows.time_ns[0]), int(rows.time_ns[-1])
        self._since_ns = first_ns if self._since_ns is None else self._since_ns
        if last_ns - self._since_ns < _EACH_NS:
            return
        least = max(_LEAST, _SHARE * max(self._asked.values(), default=0))
        busy = {number for number, count in self._asked.items() if count >= least}
        for packed, number in addresses.items():
            if number in busy:
                self.add(packed)
        self._asked.clear()
        self._since_ns = last_ns

    def assign(self, rows: Any, addresses: Mapping[bytes, int]) -> np.ndarray:
        """`[N]` int, for each row the place of its server in `names`, or NONE.

        A request belongs to the server that it is sent to, an answer to the one that
        sends it.
        """
        source, target = (np.full(len(rows.source), NONE) for _ in range(2))
        for i, packed in enumerate(self._packed):
            if packed in addresses:
                source[rows.source == addresses[packed]] = i
                target[rows.target == addresses[packed]] = i
        says = getattr(rows, "says", np.full(len(source), SILENT))
        first = np.where(says == ANSWER, source, target)
        second = np.where(says == ANSWER, target, source)
        return np.where(first == NONE, second, first)


def _name(packed):
    try:
        return str(ipaddress.ip_address(packed))
    except ValueError:
        return packed.hex() or "none"
