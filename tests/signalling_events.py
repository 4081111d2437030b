"""Events of the conversations in tests/signalling.py, worked out by hand."""

from siamjax.capture import events, tshark
from tests import packet_builder as build

HAS_TSHARK = tshark.find_tshark() is not None


def read(path, records, protocols):
    """Events of some protocols, and their rows (ms, kind, repeated, latency in ms)."""
    path.write_bytes(build.pcap(records))
    read_events, kinds, report = events.read_events(path, protocols=protocols)
    build.check_account(report)
    rows = [
        (time_ns / 1e6, kinds[kind], again, latency_ns / 1e6)
        for time_ns, _, kind, again, latency_ns in zip(
            *(c.tolist() for c in read_events[:5])
        )
    ]
    rows = [(*row[:3], None if row[3] < 0 else row[3]) for row in rows]
    return read_events, rows, report


# Rows (ms, kind, repeated, latency in ms) of the conversations.
EXPECTED = {
    "radius": [
        (0, "radius:Access", False, None),
        (12, "radius:Access/accept", False, 12),
        (100, "radius:Access", False, None),
        (3100, "radius:Access", True, None),
        (3150, "radius:Access/reject", False, 3050),
        (3160, "radius:Access/reject", True, None),
        (3200, "radius:Access", False, None),
        (3230, "radius:Access/challenge", False, 30),
        (4000, "radius:Start", False, None),
        (4005, "radius:Start/response", False, 5),
        (5000, "radius:Stop", False, None),
        (5001, "radius:error", False, None),
    ],
    "gtpv1": [
        (0, "gtpv1:Echo", False, None),
        (3, "gtpv1:Echo/answered", False, 3),
        (10, "gtpv1:CreatePDP", False, None),
        (50, "gtpv1:CreatePDP/128", False, 40),
        (100, "gtpv1:CreatePDP", False, None),
        (5100, "gtpv1:CreatePDP", True, None),
        (5200, "gtpv1:CreatePDP/199", False, 5100),
        (6000, "gtpv1:DeletePDP", False, None),
        (6020, "gtpv1:DeletePDP/128", False, 20),
        (7000, "gtpv1:CreatePDP", False, None),
        (7001, "gtpv1:error", False, None),
    ],
    "diameter": [
        (0, "diameter:CE", False, None),
        (2, "diameter:CE/2001", False, 2),
        (10, "diameter:CC", False, None),
        (40, "diameter:CC/2001", False, 30),
        (50, "diameter:UL", False, None),
        (51, "diameter:AI", False, None),
        (90, "diameter:UL/5004", False, 40),
        (90, "diameter:AI/5001", False, 39),
        (100, "diameter:CC", False, None),
        (100, "diameter:CC", False, None),
        (125, "diameter:CC/2001", False, 25),
        (125, "diameter:CC/3004", False, 25),
        (200, "diameter:DW", False, None),
        (500, "diameter:resent", False, None),
        (501, "diameter:error", False, None),
    ],
    "gtpv2": [
        (0, "gtpv2:CreateSession", False, None),
        (30, "gtpv2:CreateSession/16", False, 30),
        (40, "gtpv2:ModifyBearer", False, None),
        (3040, "gtpv2:ModifyBearer", True, None),
        (3050, "gtpv2:ModifyBearer/73", False, 3010),
        (4000, "gtpv2:CreateBearer", False, None),
        (4010, "gtpv2:CreateBearer/87", False, 10),
        (5000, "gtpv2:Echo", False, None),
        (5001, "gtpv2:Echo/answered", False, 1),
    ],
    "pfcp": [
        (0, "pfcp:AssociationSetup", False, None),
        (1, "pfcp:error", False, None),
        (1000, "pfcp:AssociationSetup", True, None),
        (1004, "pfcp:AssociationSetup/1", False, 1004),
        (2000, "pfcp:SessionEstablishment", False, None),
        (2009, "pfcp:SessionEstablishment/75", False, 9),
        (3000, "pfcp:SessionReport", False, None),
        (3002, "pfcp:SessionReport/1", False, 2),
        (4000, "pfcp:Heartbeat", False, None),
        (4001, "pfcp:Heartbeat/answered", False, 1),
    ],
    "s1ap": [
        (0, "s1ap:InitialUEMessage", False, None),
        (0, "nas-eps:Attach", False, None),
        (20, "s1ap:DownlinkNASTransport", False, None),
        (20, "nas-eps:Attach/15", False, 20),
        (100, "s1ap:InitialContextSetup", False, None),
        (150, "s1ap:InitialContextSetup/success", False, 50),
        (200, "s1ap:InitialContextSetup", False, None),
        (230, "s1ap:InitialContextSetup/radioNetwork.20", False, 30),
        (300, "s1ap:UEContextReleaseRequest/radioNetwork.20", False, None),
    ],
    "ngap": [
        (0, "ngap:NGSetup", False, None),
        (5, "ngap:NGSetup/success", False, 5),
        (100, "ngap:InitialUEMessage", False, None),
        (100, "nas-5gs:Registration", False, None),
        (160, "ngap:DownlinkNASTransport", False, None),
        (160, "nas-5gs:Registration/22", False, 60),
        (200, "ngap:UEContextRelease", False, None),
        (210, "ngap:UEContextRelease/success", False, 10),
        (300, "ngap:UEContextReleaseRequest/radioNetwork.20", False, None),
    ],
    "ss7": [
        (0, "m3ua:Up", False, None),
        (2, "m3ua:Up/ack", False, 2),
        (100, "m3ua:Data", False, None),
        (100, "sccp:UDT", False, None),
        (100, "tcap:Dialogue", False, None),
        (100, "map:SendAuthenticationInfo", False, None),
        (150, "m3ua:Data", False, None),
        (150, "sccp:UDT", False, None),
        (150, "tcap:Dialogue/end", False, 50),
        (150, "map:SendAuthenticationInfo/result", False, 50),
        (200, "m3ua:Data", False, None),
        (200, "sccp:UDT", False, None),
        (200, "tcap:Dialogue", False, None),
        (200, "map:UpdateLocation", False, None),
        (280, "m3ua:Data", False, None),
        (280, "sccp:UDT", False, None),
        (280, "tcap:Dialogue/end", False, 80),
        (280, "map:UpdateLocation/8", False, 80),
        (400, "m3ua:Data", False, None),
        (400, "sccp:UDTS/1", False, None),
        (500, "m3ua:Data", False, None),
        (500, "isup:Call", False, None),
        (700, "m3ua:Data", False, None),
        (700, "isup:Call/ringing", False, 200),
        (2700, "m3ua:Data", False, None),
        (2700, "isup:Call/answered", False, 2200),
        (5000, "m3ua:Data", False, None),
        (5000, "isup:Call/16", False, 4500),
        (5010, "m3ua:Data", False, None),
        (5010, "isup:ReleaseComplete", False, None),
    ],
    "http2": [
        (10, "http2:POST nausf-auth", False, None),
        (10, "http2:other", False, None),
        (25, "http2:POST nausf-auth/404", False, 15),
        (30, "http2:other/200", False, 20),
        (40, "http2:POST npcf-smpolicycontrol", False, None),
        (60, "http2:POST npcf-smpolicycontrol/reset", False, 20),
    ],
    "mgcp": [
        (0, "mgcp:CRCX", False, None),
        (5, "mgcp:CRCX/100", False, 5),
        (50, "mgcp:CRCX/200", False, 50),
        (100, "mgcp:DLCX", False, None),
        (110, "mgcp:DLCX/515", False, 10),
    ],
    "megaco": [
        (0, "megaco:Subtract", False, None),
        (8, "megaco:Subtract/reply", False, 8),
        (100, "megaco:Modify", False, None),
        (120, "megaco:Modify/411", False, 20),
    ],
    "dns": [
        (0, "dns:NAPTR", False, None),
        (40, "dns:NAPTR/3", False, 40),
        (100, "dns:A", False, None),
        (5100, "dns:A", True, None),
        (5120, "dns:A/0", False, 5020),
    ],
    "dhcp": [
        (0, "dhcp:Discover", False, None),
        (3, "dhcp:Discover/offer", False, 3),
        (10, "dhcp:Request", False, None),
        (13, "dhcp:Request/nak", False, 3),
    ],
}
