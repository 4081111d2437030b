"""Finds the address of the session's server, and from it the direction of each event.

Only whether two addresses are equal is used, not their value or order: renumbering all
addresses of a capture does not change the result.
"""

from collections.abc import Mapping

import numpy as np

from siamjax.capture import cleaning
from siamjax.capture.messages import CREATES, NONE, Messages
from siamjax.types import FROM_SERVER, TO_SERVER, UNCLEAR

# The server has at least this share of the dialogs of the address with the most. A
# client with one server has nearly the same dialogs as the server, so there may be two.
_NEAR = 0.9
# Among them the server is asked to begin more than this many times as many dialogs as
# any other.
_CLEAR = 2


def find_server(
    rows: Messages, addresses: Mapping[bytes, int], given: bytes | None = None
) -> tuple[int | None, str]:
    """The number of the server's address, or None, and how it was found.

    Args:
      rows: `messages.Messages` in order of time.
      addresses: the number of each address, by its bytes.
      given: bytes of the server's address, if the user gave it.
    Returns:
      The number or None, and FOUND, GIVEN, ABSENT or UNCLEAR of `cleaning`.
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


def find_servers(
    rows: Mapping[str, Messages],
    addresses: Mapping[bytes, int],
    given: bytes | None = None,
) -> dict[str, tuple[int | None, str]]:
    """What `find_server` gives for each protocol: each has its own server.

    A given address is the server of the protocols that it takes part in. The servers of
    the others are found, such as that of Diameter behind a server of SIP.

    Args:
      rows: `messages.Messages` of each protocol, in order of time.
      addresses: the number of each address, by its bytes.
      given: bytes of a server's address, if the user gave it.
    """
    number = None if given is None else addresses.get(given)
    takes_part = {
        name
        for name, part in rows.items()
        if ((part.source == number) | (part.target == number)).any()
    }
    elsewhere = {n for n, part in rows.items() if len(part.kind)} - takes_part
    if not takes_part:
        elsewhere = set()
    return {
        name: find_server(part, addresses, None if name in elsewhere else given)
        for name, part in rows.items()
    }


def directions(rows: Messages, server: int | None) -> np.ndarray:
    """`[N]` int8: the direction of each row, for the number of the server or None."""
    direction = np.full(len(rows.source), UNCLEAR, np.int8)
    if server is not None:
        direction[rows.source == server] = FROM_SERVER
        direction[rows.target == server] = TO_SERVER
    return direction


def _dialogs_of(rows, addresses):
    """`[addresses]`: the number of dialogs in which each takes part."""
    rows = rows.take(rows.dialog != NONE)
    pairs = [rows.dialog * addresses + end for end in (rows.source, rows.target)]
    address = np.unique(np.concatenate(pairs)) % max(addresses, 1)
    return np.bincount(address, minlength=addresses)


def _begun_at(rows, addresses):
    """`[addresses]`: the number of dialogs whose first request was sent to each."""
    began = rows.take((rows.says == CREATES) & (rows.dialog != NONE))
    _, first = np.unique(began.dialog, return_index=True)
    return np.bincount(began.target[first], minlength=addresses)
