"""Which network each session is of, as the flag --network says.

`NAME` alone is the network of all sessions, or of all others. `NAME=WHICH` is that of
some: WHICH are addresses and prefixes of servers in live traffic, and patterns of files
where captures are read, with commas between them.
"""

import ipaddress
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from siamjax.types import UsageError

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network
_Value = TypeVar("_Value")
# Bits of an IPv6 address before the IPv4 address that is mapped into it.
_MAPPED = 96
# Said of a session without a network, where others have one.
UNASSIGNED = "no --network fits it: it is judged without one"


class Assignment(NamedTuple):
    """The networks that flags give."""

    others: str | None  # of the sessions that no part fits; None: they have none
    parts: tuple[tuple[str, str], ...]  # (network, prefix or pattern)


def parse_networks(texts: Sequence[str]) -> Assignment:
    """The `Assignment` of texts NAME and NAME=WHICH.

    Raises:
      UsageError: a text has another form, or two names stand alone.
    """
    others, parts = None, []
    for text in texts:
        name, equals, which = text.partition("=")
        name = name.strip()
        items = [item.strip() for item in which.split(",")]
        if not name or (equals and not all(items)):
            raise UsageError(
                f"--network={text}: write NAME, or NAME=WHICH as in "
                "core=10.1.0.0/16,10.3.0.7"
            )
        if equals:
            parts += [(name, item) for item in items]
        elif others not in (None, name):
            raise UsageError(
                f"--network={others} and --network={text}: give one name for all "
                "sessions, and NAME=WHICH for some of them"
            )
        else:
            others = name
    return Assignment(others, tuple(parts))


def parse_prefixes(assignment: Assignment) -> dict[Prefix, str]:
    """{prefix of addresses of servers: their network}.

    Raises:
      UsageError: a part is none, or is that of two networks.
    """
    networks: dict[Prefix, str] = {}
    for name, item in assignment.parts:
        try:
            prefix = _unmap_prefix(ipaddress.ip_network(item))
        except ValueError:
            raise UsageError(
                f"--network={name}={item}: {_why_no_prefix(item)}: give addresses and "
                "prefixes of servers, such as 10.3.0.7 and 10.1.0.0/16"
            ) from None
        other = networks.setdefault(prefix, name)
        if other != name:
            raise UsageError(
                f"--network gives {item} to {other} and to {name}: give it to one"
            )
    return networks


def _why_no_prefix(text):
    """Says what is wrong with a text that is no prefix."""
    try:
        around = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text} is no address"
    return f"{text} is an address inside the prefix {around}"


def find_prefix(address: str, prefixes: Mapping[Prefix, _Value]) -> _Value | None:
    """What belongs to the longest prefix of an address; None: it has none of them, or
    is no address. An IPv4 address that is mapped into IPv6 counts as IPv4."""
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        return None
    host = getattr(host, "ipv4_mapped", None) or host
    fitting = [prefix for prefix in prefixes if host in prefix]
    if not fitting:
        return None
    return prefixes[max(fitting, key=lambda prefix: prefix.prefixlen)]


def _unmap_prefix(prefix):
    """A prefix of mapped IPv4 addresses, ::ffff:10.1.0.0/112, as one of IPv4."""
    address = getattr(prefix.network_address, "ipv4_mapped", None)
    if address is None or prefix.prefixlen < _MAPPED:
        return prefix
    return ipaddress.IPv4Network((address, prefix.prefixlen - _MAPPED))


def assign_files(
    paths: Sequence[str | os.PathLike], assignment: Assignment
) -> list[str | None]:
    """The network of each file; None: of none.

    A pattern is compared with the name of a file, and with as many folders above it as
    the pattern has.

    Raises:
      UsageError: patterns of two networks fit a file, or one fits none.
    """
    networks, unused = [], dict.fromkeys(assignment.parts)
    for path in paths:
        fitting: dict[str, str] = {}  # {network: pattern}
        for name, pattern in assignment.parts:
            if _fits(path, pattern):
                fitting.setdefault(name, pattern)
                unused.pop((name, pattern), None)
        if len(fitting) > 1:
            which = " and ".join(f"{name}={x}" for name, x in fitting.items())
            raise UsageError(f"{path} fits --network {which}: let one of them fit it")
        networks.append(next(iter(fitting), assignment.others))
    for name, pattern in unused:
        raise UsageError(
            f"--network={name}={pattern}: no file that is read fits this pattern: "
            "give names of files such as 'a_*', with a folder 'north/*'"
        )
    return networks


def _fits(path, pattern):
    """Whether a path ends as a pattern says; the pattern of no name fits none."""
    pattern = pathlib.PurePath(pattern)
    return bool(pattern.parts) and pathlib.PurePath(path).match(str(pattern))
