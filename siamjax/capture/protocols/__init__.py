"""The protocols that siamjax reads: one table in one file each.

To add one, write its file as the others are, and name it here.
"""

from siamjax.capture.protocols.camel import CAMEL
from siamjax.capture.protocols.dhcp import DHCP
from siamjax.capture.protocols.diameter import DIAMETER
from siamjax.capture.protocols.dns import DNS
from siamjax.capture.protocols.gtpv1 import GTPV1
from siamjax.capture.protocols.gtpv2 import GTPV2
from siamjax.capture.protocols.h225 import H225
from siamjax.capture.protocols.http2 import HTTP2
from siamjax.capture.protocols.isup import ISUP
from siamjax.capture.protocols.m3ua import M3UA
from siamjax.capture.protocols.map import MAP
from siamjax.capture.protocols.megaco import MEGACO
from siamjax.capture.protocols.mgcp import MGCP
from siamjax.capture.protocols.nas_5gs import NAS_5GS
from siamjax.capture.protocols.nas_eps import NAS_EPS
from siamjax.capture.protocols.ngap import NGAP
from siamjax.capture.protocols.pfcp import PFCP
from siamjax.capture.protocols.radius import RADIUS
from siamjax.capture.protocols.s1ap import S1AP
from siamjax.capture.protocols.sccp import SCCP
from siamjax.capture.protocols.sip import SIP
from siamjax.capture.protocols.table import Protocol
from siamjax.capture.protocols.tcap import TCAP

_TABLES = (
    *(SIP, DIAMETER, RADIUS, GTPV1, GTPV2, PFCP, S1AP, NAS_EPS, NGAP, NAS_5GS),
    *(M3UA, SCCP, TCAP, MAP, CAMEL, ISUP, HTTP2, MGCP, MEGACO, H225, DNS, DHCP),
)
# In the order of columns.
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _TABLES}


def protocol_of(kind: str) -> str:
    """The name of the protocol of a kind; of packets that are no message, SIP."""
    name, colon, _ = kind.partition(":")
    return name if colon else SIP.name


def split_kind(kind: str) -> tuple[str, str]:
    """The name of the protocol of a kind, and the rest of the kind."""
    return protocol_of(kind), kind.partition(":")[2] or kind
