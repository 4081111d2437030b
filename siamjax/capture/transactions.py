"""Pairs requests with their answers: names of transactions -> numbers.

The name of a transaction (a sequence number, an identifier of 8 bits) is used again by
later ones, so that its time decides which transaction it means.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siamjax.capture.messages import NONE
from siamjax.capture.protocols.table import Protocol

# In place of the number of a procedure or an outcome: the message does not say it.
UNSAID = -1


class Named(NamedTuple):
    """Columns of messages whose transactions have names, N of them."""

    time_ns: np.ndarray  # [N] int64, since 1970
    protocol: np.ndarray  # [N] int64, index into the protocols
    procedure: np.ndarray  # [N] int64; UNSAID: that of its request
    outcome: np.ndarray  # [N] int64; UNSAID: a request
    source: np.ndarray  # [N] int64, number of the address
    target: np.ndarray  # [N] int64
    name: np.ndarray  # [N] int64, hash of the transaction's name; NONE: unknown
    mark: np.ndarray  # [N] int64, hash of what is equal in a repeated request


class Memory:
    """Transactions of earlier rows, in two halves, of which the older is dropped."""

    def __init__(self) -> None:
        self.count = 0
        # By name: number, time and mark of the last request, and its procedure.
        self.last: dict[int, tuple[int, int, int, int]] = {}
        self._before: dict[int, tuple[int, int, int, int]] = {}

    def find(self, name: int) -> tuple[int, int, int, int] | None:
        """The last request of a name."""
        request = self.last.get(name)
        if request is None and (request := self._before.get(name)):
            self.last[name] = request
        return request

    def forget(self) -> None:
        """Drops the names that were not used since the last call."""
        self._before, self.last = self.last, {}


def number_transactions(
    rows: Named, protocols: Sequence[Protocol], memory: Memory | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The transaction of each message, and the procedure that its request says.

    A request begins a transaction, unless it repeats one that is not older than the
    longest wait of its protocol. An answer belongs to the last request of its name.

    Args:
      rows: `Named`, in order of time.
      protocols: those that `rows.protocol` indexes.
      memory: of the rows before, changed here; None: there are none.
    Returns:
      `[N]` int64, number of the transaction, NONE: unknown; `[N]` int64, the procedure,
      UNSAID: neither the message nor its request says it.
    """
    wait_ns = [round(protocol.longest_wait_s * 1e9) for protocol in protocols]
    repeats = [protocol.repeats for protocol in protocols]
    memory = memory or Memory()
    transactions, procedures = [], []
    for time_ns, protocol, procedure, outcome, _, _, name, mark in zip(
        *(column.tolist() for column in rows)
    ):
        number = NONE
        if name != NONE:
            before = memory.find(name)
            if before is not None and time_ns - before[1] > wait_ns[protocol]:
                before = None
            if outcome == UNSAID:
                again = repeats[protocol] and before and before[2:] == (mark, procedure)
                if before is None or not again:
                    before = memory.count, time_ns, mark, procedure
                    memory.last[name] = before
                    memory.count += 1
                number = before[0]
            elif before is not None:
                number = before[0]
                procedure = before[3] if procedure == UNSAID else procedure
        transactions.append(number)
        procedures.append(procedure)
    return np.array(transactions, np.int64), np.array(procedures, np.int64)
