"""Which address is the session's server, and so the direction of each event.

Only whether addresses are the same counts, never their value or order: renumbering all
addresses of a capture changes nothing.
"""

from collections.abc import Mapping

import numpy as np

from siamjax.capture import cleaning
from siamjax.capture.messages import CREATES, NONE, Messages
from siamjax.types import FROM_SERVER, TO_SERVER, UNCLEAR

# An address with fewer dialogs than this share of the most cannot be the server. A
# client and its only server take part in the same dialogs, give or take a stray one ...
_NEAR = 0.9
# ... and of the two the server is asked to begin more than twice as many.
_CLEAR = 2


def find_server(
    rows: Messages, addresses: Mapping[bytes, int], given: bytes | None = None
) -> tuple[int | None, str]:
    """The number of the server's address, or None, and how it was found.

    Args:
      rows: `messages.Messages` in order of time.
      addresses: address bytes -> number.
      given: the server's address bytes, where the user knows it.
    Returns:
      The number or None, and a word of `cleaning`.
    """
    if given is not None:
        number = addresses.get(given)
        return number, cleaning.ABSENT if number is None else cleaning.GIVEN
    dialogs = _dialogs_of(rows, len(addresses))  # [addresses]
    if not dialogs.any():
        return None, cleaning.UNCLEAR
    near = np.flatnonzero(dialogs >= _NEAR * dialogs.max())
    asked = _begun_at(rows, len(addresses))[near]
    best = int(np.argmax(asked))
    others = np.delete(asked, best)
    if len(near) == 1 or asked[best] > _CLEAR * others.max():
        return int(near[best]), cleaning.FOUND
    return None, cleaning.UNCLEAR


def directions(rows: Messages, server: int | None) -> np.ndarray:
    """`[N]` int8: direction of each row relative to the server, a number or None."""
    out = np.full(len(rows.source), UNCLEAR, np.int8)
    if server is not None:
        out[rows.source == server] = FROM_SERVER
        out[rows.target == server] = TO_SERVER
    return out


def _dialogs_of(rows, addresses):
    """`[addresses]`: in how many dialogs each takes part."""
    rows = rows.take(rows.dialog != NONE)
    pairs = [rows.dialog * addresses + end for end in (rows.source, rows.target)]
    address = np.unique(np.concatenate(pairs)) % max(addresses, 1)
    return np.bincount(address, minlength=addresses)


def _begun_at(rows, addresses):
    """`[addresses]`: how many dialogs each was the first to be asked to begin."""
    began = rows.take((rows.says == CREATES) & (rows.dialog != NONE))
    _, first = np.unique(began.dialog, return_index=True)
    return np.bincount(began.target[first], minlength=addresses)
