"""Which server a message belongs to, where each server is a session of its own."""

import ipaddress
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from siamjax.capture.messages import ANSWER, CREATES, SILENT, Messages

_LOG = logging.getLogger(__name__)
# Requests that begin a dialog are counted by address over this time. An address is then
# a server if it got at least _LEAST_DIALOGS of them, and at least _SHARE of what the
# busiest address got. It stays a server.
_COUNTED_NS, _LEAST_DIALOGS, _SHARE = 30 * 10**9, 20, 0.05
MOST_SERVERS = 1024
NONE = -1


class Servers:
    """The servers that were recognised so far.

    Attributes:
      names: their addresses, in the order in which they were recognised.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._packed: dict[bytes, int] = {}  # address -> place in `names`
        self._asked: Counter[int] = Counter()  # dialogs begun, by number of the address
        self._since_ns: int | None = None
        self._is_full = False  # and a warning said so

    def add(self, packed: bytes) -> None:
        """Adds a server, by the bytes of its address."""
        if packed in self._packed:
            return
        if len(self.names) == MOST_SERVERS:
            if not self._is_full:
                _LOG.warning(
                    "there are more than %d servers: %s and those after it are not "
                    "watched; give each monitor a part of the traffic",
                    MOST_SERVERS,
                    _name(packed),
                )
            self._is_full = True
            return
        self._packed[packed] = len(self.names)
        self.names.append(_name(packed))

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
        if last_ns - self._since_ns < _COUNTED_NS:
            return
        least = max(_LEAST_DIALOGS, _SHARE * max(self._asked.values(), default=0))
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
        known = [(addresses[p], i) for p, i in self._packed.items() if p in addresses]
        numbers, places = np.array(sorted(known), np.int64).reshape(-1, 2).T
        source, target = (
            _look_up(numbers, places, end) for end in (rows.source, rows.target)
        )
        says = getattr(rows, "says", np.full(len(source), SILENT))
        first = np.where(says == ANSWER, source, target)
        second = np.where(says == ANSWER, target, source)
        return np.where(first == NONE, second, first)


def _look_up(numbers, places, wanted):
    """`[N]` the place of each wanted number; NONE: it is not among the sorted ones."""
    if not len(numbers):
        return np.full(len(wanted), NONE)
    i = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    return np.where(numbers[i] == wanted, places[i], NONE)


def _name(packed):
    try:
        return str(ipaddress.ip_address(packed))
    except ValueError:
        return packed.hex() or "none"
