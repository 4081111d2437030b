"""Which messages repeat one of their transaction, and how late answers come.

Rows may come all at once, or batch by batch with the `Memory` of those before.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.capture.messages import ANSWER, NONE, REQUEST, Messages
from siamjax.capture.protocols import protocol_of
from siamjax.capture.protocols.sip import SIP

# SIP repeats a message for 64 times T1, with pauses of 16 s at most (RFC 3261, 17). The
# same request after a longer pause is of a call that was made again with its names.
_SIP_PAUSE_NS = 32 * 10**9
_NEVER = np.iinfo(np.int64).max
# Odd numbers that spread three small numbers over 64 bits.
_SPREAD = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5],
    np.uint64,
)


class Memory:
    """Transactions of earlier rows, in two halves, of which the older is dropped.

    Arrays in order of their names take a tenth of the memory of a dict.
    """

    def __init__(self) -> None:
        self._uses = self._uses_before = _NO_USES
        # Hashes of messages, in order.
        self._sent = self._sent_before = np.zeros(0, np.uint64)

    def __len__(self) -> int:
        return max(len(self._uses.names), len(self._sent))

    def forget(self) -> None:
        """Drops what was not used since the last call."""
        self._uses_before, self._uses = self._uses, _NO_USES
        self._sent_before, self._sent = self._sent, self._sent[:0].copy()

    def uses_of(self, transactions: np.ndarray) -> np.ndarray:
        """What is known of transactions `[G]`, see `keep_uses`: `[G, 3]` int64."""
        known = np.full((len(transactions), 3), _NEVER)
        known[:, 2] = 0
        for uses in (self._uses_before, self._uses):
            place, is_known = _find(transactions, uses.names)
            known[is_known] = uses.values[place[is_known]]
        return known

    def keep_uses(self, transactions: np.ndarray, values: np.ndarray) -> None:
        """Remembers transactions.

        Args:
          transactions: `[G]` int64, in order.
          values: `[G, 3]` int64, the time of the first request of each, of the last
            one, and how often its name was used before.
        """
        uses = self._uses
        place, is_known = _find(transactions, uses.names)
        uses.values[place[is_known]] = values[is_known]
        is_new = ~is_known
        self._uses = _Uses(
            np.insert(uses.names, place[is_new], transactions[is_new]),
            np.insert(uses.values, place[is_new], values[is_new], axis=0),
        )

    def were_sent(self, messages: np.ndarray) -> np.ndarray:
        """`[N]` bool, of hashes of messages `[N]` uint64 in order; then they were."""
        place, is_known = _find(messages, self._sent)
        is_new = ~is_known
        self._sent = np.insert(self._sent, place[is_new], messages[is_new])
        return is_known | _find(messages, self._sent_before)[1]


class _Uses(NamedTuple):
    """What is known of U transactions, in order of their names."""

    names: np.ndarray  # [U] int64
    values: np.ndarray  # [U, 3] int64


_NO_USES = _Uses(np.zeros(0, np.int64), np.zeros((0, 3), np.int64))


def _find(names, known):
    """The places of names `[N]` in `known`, in order: where each is or belongs; whether
    it is there."""
    place = np.searchsorted(known, names)
    is_known = np.zeros(len(names), bool)
    inside = place < len(known)
    is_known[inside] = known[place[inside]] == names[inside]
    return place, is_known


def longest_pauses(kinds: Sequence[str]) -> np.ndarray:
    """`[K]` int64, of each kind the longest pause in ns before a message is repeated.

    The transactions of other protocols than SIP are told apart by their timers before.
    """
    is_sip = [protocol_of(kind) == SIP.name for kind in kinds]
    return np.where(np.array(is_sip, bool), _SIP_PAUSE_NS, _NEVER)


def pair_messages(
    rows: Messages, pauses_ns: np.ndarray, memory: Memory | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compares messages with those of their transactions before.

    A message is a repetition if the same side sent it before. A transaction is named by
    Call-ID, number and method of CSeq, and branch. So a message that is captured on
    both sides of a proxy is not a repetition. An ACK has the number of its INVITE and
    its own method; its ports and Max-Forwards are used instead of its branch, and it is
    repeated after each repeated 200. A second answer with the same status counts as
    repeated even if its content differs, such as a 183 with other media, but not if its
    To tag differs: it is of another branch of a fork.

    Args:
      rows: in order of time.
      pauses_ns: `[K]` of `longest_pauses`. After a longer one, a request begins another
        transaction of the same name.
      memory: of the rows before, changed here; None: there are none.
    Returns:
      `[N]` bool, whether each is a repetition; `[N]` int64, ns from the first request
      of its transaction to this first answer, -1: none.
    """
    repeated = np.zeros(len(rows.kind), bool)
    latency_ns = np.full(len(rows.kind), -1, np.int64)
    known = np.flatnonzero(rows.transaction != NONE)
    if not len(known):
        return repeated, latency_ns
    named = rows.take(known)
    numbers, group = np.unique(named.transaction, return_inverse=True)  # [G], [M]
    before = (Memory() if memory is None else memory).uses_of(numbers)
    use, last_ns = _uses(named, pauses_ns, group, before)
    repeated[known] = _repeated(named, use, memory)
    place, first_ns = _first_requests(named, group, use, before)
    answers = np.flatnonzero((named.says == ANSWER) & ~repeated[known])
    waited = named.time_ns[answers] - first_ns[place[answers]]
    latency_ns[known[answers]] = np.where(waited >= 0, waited, -1)
    if memory is not None:
        latest = np.zeros((2, len(numbers)), np.int64)
        latest[:, group] = use, first_ns[place]  # in order of time: the last one stays
        memory.keep_uses(numbers, np.stack([latest[1], last_ns, latest[0]], 1))
    return repeated, latency_ns


def _uses(rows, pauses_ns, group, before):
    """`[M]`, how often the name of each row's transaction was used before; `[G]`, when
    each transaction was asked last."""
    order = np.argsort(group, kind="stable")
    asked = order[rows.says[order] >= REQUEST]
    of_group, time_ns = group[asked], rows.time_ns[asked]
    is_first = np.diff(of_group, prepend=-1) > 0
    last_ns = before[:, 1].copy()
    earlier_ns = np.where(is_first, last_ns[of_group], np.roll(time_ns, 1))
    last_ns[of_group] = time_ns
    # A transaction that was never asked has the latest time: nothing is later.
    begins = np.zeros(len(group), np.int64)
    pause_ns = time_ns - np.minimum(earlier_ns, time_ns)
    begins[asked] = pause_ns > pauses_ns[rows.kind[asked]]
    total = np.cumsum(begins[order])
    is_first = np.diff(group[order], prepend=-1) > 0
    before_group = (total - begins[order])[is_first]
    use = np.empty_like(group)
    use[order] = before[group[order], 2] + total - before_group[np.cumsum(is_first) - 1]
    return use, last_ns


def _repeated(rows, use, memory):
    columns = np.stack([rows.leg, rows.kind, rows.source, use]).astype(np.uint64)
    names = (columns * _SPREAD[:, None]).sum(0, dtype=np.uint64)
    names, first = np.unique(names, return_index=True)
    repeated = np.ones(len(use), bool)
    repeated[first] = False if memory is None else memory.were_sent(names)
    return repeated


def _first_requests(rows, group, use, before):
    """`[M]`, a number for the use of a transaction; the time of its first request."""
    key = group * (use.max() + 1) + use
    keys, place = np.unique(key, return_inverse=True)
    first_ns = np.full(len(keys), _NEVER)
    is_known = use == before[group, 2]  # a use that began before
    first_ns[place[is_known]] = before[group[is_known], 0]
    asked = np.flatnonzero(rows.says >= REQUEST)[::-1]
    # In reverse order: the first request of a transaction is written last.
    earliest = np.full(len(keys), _NEVER)
    earliest[place[asked]] = rows.time_ns[asked]
    return place, np.minimum(first_ns, earliest)
