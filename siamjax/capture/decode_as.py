"""Ports of protocols besides their usual ones, which tshark must be told with -d."""

from collections.abc import Mapping, Sequence

from siamjax.capture.protocols import PROTOCOLS
from siamjax.capture.protocols.sip import SIP
from siamjax.capture.protocols.table import Protocol
from siamjax.text import short
from siamjax.types import UsageError

Ports = Mapping[str, Sequence[int]]  # by the name of a protocol


def parse_ports(
    texts: Sequence[str], names: Sequence[str] | None = None
) -> dict[str, list[int]]:
    """The ports of each protocol, of texts NAME=PORT.

    Args:
      texts: values of --decode_as.
      names: of the protocols that are read; by default all.
    Raises:
      UsageError: a text has another form, tshark cannot be told the port of its
        protocol, or two protocols have the same port.
    """
    ports: dict[str, list[int]] = {}
    for text in texts:
        name, _, number = text.strip().partition("=")
        name = name.lower()
        if not number.isdecimal() or not 0 < int(number) < 1 << 16:
            raise _refused(text, "write NAME=PORT, as in diameter=13868")
        if name not in PROTOCOLS:
            raise _refused(text, f"choose of {', '.join(_names())}")
        if name == SIP.name:
            raise _refused(text, "SIP is found at any port without it")
        if not transports_of(PROTOCOLS[name]):
            raise _refused(
                text,
                f"tshark takes no port of {PROTOCOLS[name].short}, only of "
                f"{', '.join(_names())}",
            )
        if names is not None and not _is_read(name, names):
            raise _refused(text, f"--protocols does not have {name}")
        ports.setdefault(name, []).append(int(number))
    ports = {name: sorted(set(ports[name])) for name in PROTOCOLS if name in ports}
    decoders: dict[str, str] = {}
    for entry in decode_entries(ports):
        port, decoder = entry.split(",")
        if decoders.setdefault(port, decoder) != decoder:
            raise UsageError(
                f"--decode_as: {port} is given to {decoders[port]} and {decoder}: "
                "choose one"
            )
    return ports


def transports_of(protocol: Protocol) -> list[str]:
    """The transports of a protocol whose ports tshark can be told."""
    return [
        transport
        for transport in protocol.ports
        if transport != "ppid" and transport not in protocol.fixed
    ]


def add_ports(protocol: Protocol, ports: Ports) -> Protocol:
    """The protocol with its ports of `ports` as well."""
    more = tuple(ports.get(protocol.name, ()))
    transports = transports_of(protocol)
    return protocol._replace(
        ports={
            transport: (*usual, *more) if transport in transports else usual
            for transport, usual in protocol.ports.items()
        }
    )


def decode_entries(ports: Ports) -> list[str]:
    """Values of tshark's -d, such as `tcp.port==13868,diameter`."""
    return [
        decode_entry(PROTOCOLS[name], transport, port)
        for name, numbers in ports.items()
        for transport in transports_of(PROTOCOLS[name])
        for port in numbers
    ]


def decode_entry(protocol: Protocol, transport: str, port: int) -> str:
    """A value of tshark's -d for a protocol at a port."""
    return f"{transport}.port=={port},{protocol.decoder or protocol.name}"


def describe_ports(ports: Ports) -> list[str]:
    """A line for each protocol that is read at more than its usual ports."""
    return [
        f"{PROTOCOLS[name].short} is also read at port {', '.join(map(str, numbers))} "
        f"({', '.join(transports_of(PROTOCOLS[name]))}), as it is by each run that is "
        "trained on this data"
        for name, numbers in ports.items()
    ]


def _is_read(name, names):
    """Whether a protocol is one of `names`, or carries one of them."""
    return any(name in (n, *PROTOCOLS[n].carriers) for n in names)


def _names():
    return [name for name, protocol in PROTOCOLS.items() if transports_of(protocol)]


def _refused(text, why):
    return UsageError(f"--decode_as={short(text)}: {why}")
