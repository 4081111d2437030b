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


def number_transactions(
    rows: Named, protocols: Sequence[Protocol]
) -> tuple[np.ndarray, np.ndarray]:
    """The transaction of each message, and the procedure that its request says.

    A request begins a transaction, unless it repeats one that is not older than the
    longest wait of its protocol. An answer belongs to the last request of its name.

    Args:
      rows: `Named`, in order of time.
      protocols: those that `rows.protocol` indexes.
    Returns:
      `[N]` int64, number of the transaction, NONE: unknown; `[N]` int64, the procedure,
      UNSAID: neither the message nor its request says it.
    """
    wait_ns = [round(protocol.longest_wait_s * 1e9) for protocol in protocols]
    repeats = [protocol.repeats for protocol in protocols]
    last: dict[int, tuple[int, int, int, int]] = {}  # by name, see below
    transactions, procedures, count = [], [], 0
    for time_ns, protocol, procedure, outcome, _, _, name, mark in zip(
        *(column.tolist() for column in rows)
    ):
        number = NONE
        if name != NONE:
            before = last.get(name)
            if before is not None and time_ns - before[1] > wait_ns[protocol]:
                before = None
            if outcome == UNSAID:
                again = repeats[protocol] and before and before[2:] == (mark, procedure)
                if before is None or not again:
                    before = last[name] = count, time_ns, mark, procedure
                    count += 1
                number = before[0]
            elif before is not None:
                number = before[0]
                procedure = before[3] if procedure == UNSAID else procedure
        transactions.append(number)
        procedures.append(procedure)
    return np.array(transactions, np.int64), np.array(procedures, np.int64)
