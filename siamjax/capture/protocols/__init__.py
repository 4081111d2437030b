"""The protocols that siamjax reads: one table in one file each.

To add one, write its file as the others are, and name it here.
"""

from siamjax.capture.protocols.diameter import DIAMETER
from siamjax.capture.protocols.gtpv1 import GTPV1
from siamjax.capture.protocols.radius import RADIUS
from siamjax.capture.protocols.sip import SIP
from siamjax.capture.protocols.table import Protocol

# In the order of columns.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol for protocol in (SIP, DIAMETER, RADIUS, GTPV1)
}


def protocol_of(kind: str) -> str:
    """The name of the protocol of a kind; of packets that are no message, SIP."""
    name, colon, _ = kind.partition(":")
    return name if colon else SIP.name


def split_kind(kind: str) -> tuple[str, str]:
    """The name of the protocol of a kind, and the rest of the kind."""
    return protocol_of(kind), kind.partition(":")[2] or kind
