"""Signalling other than SIP: packets to events to counts, worked out by hand.

The packets are in tests/signalling.py. tshark is not needed: what it prints of them is
recorded, and the last tests compare the recording where tshark is installed.
"""

import itertools
import json
import pathlib
import re
import sys
from collections import Counter

import numpy as np
import pytest

from siamjax.capture import cleaning, decode_as, events, messages, tshark
from siamjax.capture import signalling as collecting
from siamjax.capture.protocols import PROTOCOLS
from siamjax.capture.protocols.table import ERROR, RESENT, SEPARATOR, Frame, Message
from siamjax.data import columns, counts, identity, prepare, prepared
from siamjax.data.local_reading import LocalReader
from siamjax.identification import sessions
from siamjax.types import FROM_SERVER, TO_SERVER, DataSet, SiamjaxError, UsageError
from tests import commands, fake_run, signalling
from tests import packet_builder as build

MS = 1_000_000
HAS_TSHARK = tshark.find_tshark() is not None


@pytest.fixture
def recorded(monkeypatch):
    """tshark as it was recorded."""
    monkeypatch.setattr(tshark, "Run", signalling.RecordedRun)
    monkeypatch.setattr(tshark, "find_tshark", lambda: "tshark")
    monkeypatch.setattr(tshark, "tshark_version", lambda program: "4.0.17")


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


@pytest.mark.parametrize("name", EXPECTED)
def test_a_conversation_by_hand(tmp_path, recorded, name):
    wanted = EXPECTED[name]
    protocols = {kind.partition(":")[0] for _, kind, _, _ in wanted}
    records = signalling.CONVERSATIONS[name]
    _, rows, report = read(tmp_path / "a", records, sorted(protocols))
    # A packet with several messages gives them in the order of the protocols.
    assert sorted(rows, key=str) == sorted(wanted, key=str)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    said = Counter(
        kind.partition(":")[0]
        for _, kind, _, _ in wanted
        if not kind.endswith((ERROR, RESENT))
    )
    assert report.by_protocol == said and report.messages == said.total()
    assert report.tshark == "4.0.17" and cleaning.not_read(report) == {}


@pytest.mark.parametrize("name", ["radius", "gtpv1", "diameter"])
def test_the_server_is_who_is_asked(tmp_path, recorded, name):
    records = signalling.CONVERSATIONS[name]
    read_events, rows, report = read(tmp_path / "a", records, [name])
    assert report.server == cleaning.FOUND
    up = ["/" not in kind and not kind.endswith(ERROR) for _, kind, _, _ in rows]
    assert read_events.direction.tolist() == [
        TO_SERVER if asks else FROM_SERVER for asks in up
    ]


def test_each_protocol_has_its_own_server(tmp_path, recorded):
    """A server of SIP that was given says nothing of the server of RADIUS."""
    calls = build.call("a", client="192.0.2.7", server="192.0.2.8")
    path = tmp_path / "a"
    path.write_bytes(build.pcap(sorted(calls + signalling.CONVERSATIONS["radius"])))
    for given, state in (None, cleaning.FOUND), (b"\xc0\0\2\x08", cleaning.GIVEN):
        read_events, kinds, report = events.read_events(path, given)
        assert report.servers == {"sip": state, "radius": cleaning.FOUND}
        assert report.server == state
        of_access = read_events.kind == kinds.index("radius:Access")
        assert set(read_events.direction[of_access]) == {TO_SERVER}


def test_a_server_that_is_unclear_is_not_hidden_by_another(tmp_path, recorded):
    """Also where both protocols have the same number of messages."""
    peers = [("192.0.2.7", "192.0.2.8"), ("192.0.2.8", "192.0.2.7")]
    calls = [
        record
        for i, ends in enumerate(peers)
        for record in build.call(f"c{i}", build.START_NS + i * MS, *ends)
    ]
    radius = signalling.CONVERSATIONS["radius"]
    for extra in calls[:11], calls:
        _, _, report = read(tmp_path / "a", sorted(extra + radius), None)
        assert report.servers == {"sip": "unclear", "radius": "found"}
        assert report.server == "unclear"
        line = cleaning.format_reports([report]).splitlines()[1]
        assert "unclear: sip" in line
        assert cleaning.without_server(report) == ["SIP"]


def test_components_of_camel_and_calls_of_h323_from_text():
    """As tshark prints them of real captures: their packets are too long to build."""

    def messages_of(name, **fields):
        cells = {field.replace("__", "."): value for field, value in fields.items()}
        needed = ("frame.protocols", *PROTOCOLS[name].markers, *PROTOCOLS[name].fields)
        places = {field: i for i, field in enumerate(needed)}
        frame = Frame([cells.get(field, "") for field in needed], places)
        return [tuple(message[:3]) for message in PROTOCOLS[name].read(frame)]

    both = SEPARATOR.join
    asked = messages_of(
        "camel",
        tcap__otid="aa",
        camel__invoke_element=both(["1", "1"]),
        camel__invokeID=both(["1", "2"]),
        camel__local=both(["0", "23"]),
    )
    assert asked == [
        ("InitialDP", "", ("aa", "1")),
        ("RequestReport", "", ("aa", "2")),
    ]
    failed = messages_of(
        "camel",
        tcap__dtid="aa",
        camel__returnError_element="1",
        camel__invokeID="1",
        camel__error_code_local="12",
    )
    assert failed == [("", "12", ("aa", "1"))]
    called = dict(q931__call_ref="77f4")
    assert messages_of("h225", h225__h323_message_body="0", **called) == [
        ("Call", "", ("call", "77f4"))
    ]
    busy = dict(q931__cause_value="17", **called)
    assert messages_of("h225", h225__h323_message_body="5", **busy) == [
        ("Call", "17", ("call", "77f4"))
    ]
    refused = dict(h225__RasMessage="11", h225__requestSeqNum="3")
    assert messages_of("h225", **refused) == [
        ("Admission", "reject", ("Admission", "3"))
    ]


def test_answers_and_waits_count_in_the_columns_of_the_protocol(tmp_path, recorded):
    records = signalling.CONVERSATIONS["gtpv1"]
    (tmp_path / "a").write_bytes(build.pcap(records))
    session, kinds, _ = prepared.session_from_capture(tmp_path / "a", None, ["gtpv1"])
    binned = counts.bin_session(session, kinds, 1.0, ["gtpv1"])
    names = [column.name for column in columns.event_columns(["gtpv1"])]
    assert binned.shape == (7, len(names))

    def column(name):
        return binned[:, names.index(f"gtpv1 {name}")].tolist()

    assert column("CreatePDP") == [2, 0, 0, 0, 0, 1, 0]
    assert column("CreatePDP/success") == [1, 0, 0, 0, 0, 0, 0]
    assert column("CreatePDP/rejection") == [0, 0, 0, 0, 0, 1, 0]
    assert column("199 no resources available") == [0, 0, 0, 0, 0, 1, 0]
    assert column("128 request accepted") == [1, 0, 0, 0, 0, 0, 1]
    assert column("retransmitted requests") == [0, 0, 0, 0, 0, 1, 0]
    assert column("CreatePDP without answer") == [1, 1, 1, 1, 1, 0, 0]
    latency_ms = column("CreatePDP to answer ms")
    np.testing.assert_array_equal(latency_ms, [40, *[np.nan] * 4, 5100, np.nan])


def test_a_request_without_answer_is_open_until_its_timer(tmp_path, recorded):
    """The last request of RADIUS is never answered: 30 s from second 5 on."""
    records = signalling.CONVERSATIONS["radius"]
    (tmp_path / "a").write_bytes(build.pcap(records))
    session, kinds, _ = prepared.session_from_capture(tmp_path / "a", None, ["radius"])
    binned = counts.bin_session(session._replace(span_s=60.0), kinds, 1.0, ["radius"])
    names = [column.name for column in columns.event_columns(["radius"])]
    still_open = binned[:, names.index("radius Stop without answer")]
    assert np.flatnonzero(still_open).tolist() == list(range(5, 35))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_kind_of_a_table_counts_in_the_right_columns(name):
    protocol = PROTOCOLS[name]
    table = columns.protocol_columns(protocol)
    names = [column.name for column in table]
    assert len(set(names)) == len(names)
    roles = {column.name: column.role for column in table}
    for procedure in (*protocol.procedures, "unheard"):
        kind = f"{name}:{procedure}"
        role = "other" if procedure == "unheard" else "request"
        (column,) = columns.names_of_kind(kind)
        assert roles[column] == role
        for outcome in (*protocol.causes, *_samples(protocol)):
            answer = columns.names_of_kind(f"{kind}/{outcome}")
            notice = procedure in protocol.notices
            first = "request" if notice else "class"
            wanted = [first] + ["code"] * (outcome in protocol.causes)
            assert [roles[column] for column in answer] == wanted
            group = procedure if procedure in protocol.answered else "rest"
            if not notice:
                assert f"{group}/{protocol.class_of(outcome)}" in answer[0]
    for fault in (ERROR, RESENT):
        for column in columns.names_of_kind(f"{name}:{fault}"):
            assert roles[column] in ("icmp", "resent", "other")
    for wait in protocol.waits:
        assert wait.procedure in protocol.procedures and wait.timer_s > 0
    for procedure in protocol.answered:
        assert procedure in protocol.procedures
    assert protocol.notices <= set(protocol.procedures)


def _samples(protocol):
    """Outcomes of each class, from its patterns; ? stands for a digit."""
    for patterns in protocol.classes.values():
        for pattern in patterns:
            if "[" not in pattern and "*" not in pattern:
                yield pattern.replace("?", "0")


def test_the_table_of_the_page_is_a_protocol():
    """The example of docs/protocols.md reads a message and has columns."""
    page = pathlib.Path(__file__).parent.parent / "docs/protocols.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    names = {}
    exec(code, names)
    protocol = names["SGSAP"]
    fields = (*protocol.markers, *protocol.fields)
    frame = Frame(["11", "2", "1"], {field: i for i, field in enumerate(fields)})
    assert list(protocol.read(frame)) == [Message("LocationUpdate", "2", ("1",))]
    table = columns.protocol_columns(protocol)
    assert {"sgsap Paging/success", "sgsap 2 unknown IMSI"} <= {c.name for c in table}
    assert len({column.name for column in table}) == len(table)


def test_without_tshark_a_line_names_what_was_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tshark, "find_tshark", lambda: None)
    records = sorted(build.call() + signalling.CONVERSATIONS["radius"])
    _, _, report = read(tmp_path / "a", records, None)
    assert report.by_protocol == {"sip": 7} and report.tshark == ""
    assert cleaning.not_read(report) == {"no_tshark": 11}
    assert cleaning.without_tshark([report]) == [
        "warning: udp 11: 11 RADIUS, not read: tshark missing; install it, such as apt "
        "install tshark"
    ]


def test_a_run_of_another_protocol_is_told_what_is_missing(tmp_path, monkeypatch):
    """Without tshark, and in captures and data sets that do not have it."""
    monkeypatch.setattr(tshark, "find_tshark", lambda: None)
    records = signalling.CONVERSATIONS["radius"]
    _, _, report = read(tmp_path / "a", records, ["radius"])
    assert cleaning.sentence(report) == (
        "0 messages of RADIUS in 12 packets: 12 no_tshark (packets of signalling that "
        "only tshark reads, which is not installed)"
    )
    session, kinds, _ = prepared.session_from_capture(tmp_path / "a", None, ["sip"])
    trained = identity.Trained(
        dir="runs/set",
        sha256="",
        captures={},
        conditions=("normal",),
        known=1,
        columns=columns.event_columns(["radius", "gtpv1"]),
        scaler=None,
        baseline=None,
    )
    both = DataSet((session,), kinds, {"protocols": ["sip", "gtpv1", "radius"]})
    identity.check_columns(both, trained, "runs/both")
    other = both._replace(meta={"protocols": ["sip", "gtpv1"]})
    with pytest.raises(UsageError, match=r"lacks radius.*--protocols=radius,gtpv1"):
        identity.check_columns(other, trained, "runs/other")


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--protocols=sip,foo"], ["foo", "choose of sip, diameter"]),
        (["--protocols="], ["--protocols is empty"]),
        (["--protocols=,"], ["--protocols is empty", "choose of sip, diameter"]),
        (["--protocols=sip,"], ["labels", "is not a file"]),
        (["--protocols=sip", "--format=counters"], ["is for packets"]),
        (["--decode_as=diameter=x"], ["--decode_as=diameter=x: write NAME=PORT"]),
    ],
)
def test_a_wrong_protocol_is_one_line(tmp_path, flags, words):
    paths = [f"--{name}={tmp_path}" for name in ("captures", "labels")]
    done = commands.run("ingest", *paths, f"--out={tmp_path / 'out'}", *flags)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)


def at_other_ports(records, ports):
    """The packets with other ports of UDP or TCP, {usual: other}."""
    swap = {
        old.to_bytes(2, "big"): new.to_bytes(2, "big") for old, new in ports.items()
    }
    return [
        (
            time_ns,
            frame[:34]
            + b"".join(swap.get(p, p) for p in (frame[34:36], frame[36:38]))
            + frame[38:],
        )
        for time_ns, frame in records
    ]


OTHER_PORTS = {
    "radius": {1812: 18120, 1813: 18130},
    "diameter": {3868: 13868},
    "gtpv1": {2123: 21230},
    "http2": {7777: 17777},
}


@pytest.mark.parametrize("name", OTHER_PORTS)
def test_a_protocol_is_read_at_the_ports_that_are_given(
    tmp_path, monkeypatch, recorded, name
):
    swap = OTHER_PORTS[name]
    back = {new: old for old, new in swap.items()}

    class Moved(signalling.RecordedRun):
        """It reads a packet at another port where it was told of it."""

        def send(self, packet, time_ns, link, frame, length):
            told = all(f"port=={port}," in " ".join(self.decode_as) for port in back)
            [(_, usual)] = at_other_ports([(0, frame)], back if told else {})
            super().send(packet, time_ns, link, usual, length)

    monkeypatch.setattr(tshark, "Run", Moved)
    (tmp_path / "a").write_bytes(
        build.pcap(at_other_ports(signalling.CONVERSATIONS[name], swap))
    )
    ports = decode_as.parse_ports([f"{name}={port}" for port in back], [name])
    session, kinds, report = prepared.session_from_capture(
        tmp_path / "a", None, [name], ports
    )
    got = [
        (t / 1e6, kinds[k]) for t, k in zip(session.events.time_ns, session.events.kind)
    ]
    assert got == [row[:2] for row in EXPECTED[name]]
    if name != "http2":  # it is known by its first bytes
        _, _, report = prepared.session_from_capture(tmp_path / "a", None, [name])
        assert report.messages == 0


def test_identification_reads_at_the_ports_of_the_training(
    tmp_path, monkeypatch, recorded
):
    told = []
    monkeypatch.setattr(
        tshark,
        "Run",
        lambda *a, decode_as, **options: (
            told.append(decode_as)
            or signalling.RecordedRun(*a, decode_as=decode_as, **options)
        ),
    )
    run = fake_run.make_run(tmp_path)
    run.columns, run.ports = columns.event_columns(["radius"]), {"radius": [18120]}
    (tmp_path / "a").write_bytes(build.pcap(signalling.CONVERSATIONS["radius"]))
    sessions.reader_of(run).read(tmp_path / "a")
    assert told == [("udp.port==18120,radius",)]


@pytest.mark.parametrize(
    "given, words",
    [
        ("diameter", "NAME=PORT"),
        ("diameter=0", "NAME=PORT"),
        ("diameter=70000", "NAME=PORT"),
        ("foo=1", "choose of diameter, radius, gtpv1"),
        ("sip=5080", "SIP is found at any port"),
        ("map=1", "no port of MAP, only of diameter, radius"),
        ("sccp=14002", "no port of SCCP"),
        ("dns=54", "--protocols does not have dns"),
        ("radius=9,pfcp=9", "udp.port==9 is given to radius and pfcp"),
    ],
)
def test_a_port_that_cannot_be_given_is_refused(given, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        decode_as.parse_ports(given.split(","), ["radius", "diameter", "pfcp"])


def test_ports_are_given_for_the_transports_that_tshark_takes():
    ports = decode_as.parse_ports(["h225=7", "Diameter=9", "diameter=8", "gtpv2=9"])
    assert decode_as.decode_entries(ports) == [
        *(f"{way}.port=={n},diameter" for way in ("tcp", "sctp") for n in (8, 9)),
        "udp.port==9,gtp",
        "udp.port==7,h225",
    ]
    s1ap = decode_as.parse_ports(["s1ap=40000"], ["nas-eps"])  # which carries it
    assert s1ap == {"s1ap": [40000]}


@pytest.mark.skipif(not HAS_TSHARK, reason="tshark is not installed")
def test_tshark_takes_the_port_of_each_protocol():
    ports = {
        name: [9000 + i]
        for i, (name, protocol) in enumerate(PROTOCOLS.items())
        if decode_as.transports_of(protocol)
    }
    run = tshark.Run(
        tshark.find_tshark(),
        [PROTOCOLS["radius"]],
        lambda cells, packet: None,
        decode_as=decode_as.decode_entries(ports),
    )
    run.finish()
    assert not run.failed and len(ports) > 10


def test_sip_alone_never_asks_for_tshark(tmp_path, monkeypatch):
    def fail(*arguments):
        raise AssertionError("tshark was started")

    monkeypatch.setattr(tshark, "Run", fail)
    _, rows, report = read(tmp_path / "a", build.call(), None)
    assert len(rows) == 7 and report.tshark == ""
    mixed = sorted(build.call() + signalling.CONVERSATIONS["radius"])
    _, rows, report = read(tmp_path / "b", mixed, ["sip"])
    assert report.by_protocol == {"sip": 7} and len(rows) == 7 + 12


def test_what_was_not_asked_for_is_named(tmp_path, recorded):
    talks = signalling.CONVERSATIONS
    mixed = sorted(build.call() + talks["radius"] + talks["s1ap"] + talks["http2"])
    _, _, of_sip = read(tmp_path / "a", mixed, ["sip"])
    counts = "11 packets of RADIUS, 7 packets of S1AP, 6 packets of HTTP/2"
    assert cleaning.list_also([of_sip]) == [f"also there, not asked for: {counts}"]
    _, _, report = read(tmp_path / "a", mixed, ["dns", "radius"])
    assert set(report.also) == {"sip", "s1ap", "http2"} and report.also["sip"] == 7
    _, _, report = read(tmp_path / "a", talks["gtpv2"], ["sip", "gtpv1"])
    assert set(report.also) == {"gtpv2"}
    _, _, report = read(tmp_path / "a", talks["radius"], ["sip"])
    says = "; also there, not asked for: 11 packets of RADIUS"
    assert cleaning.sentence(report).endswith(says)


@pytest.mark.parametrize(
    "name, carrier",
    [("nas-eps", "s1ap"), ("nas-5gs", "ngap"), ("isup", "m3ua"), ("map", "m3ua")],
)
def test_a_protocol_is_read_without_the_one_that_carries_it(
    tmp_path, recorded, name, carrier
):
    conversation = next(
        talk
        for talk, rows in EXPECTED.items()
        if any(kind.startswith(f"{name}:") for _, kind, _, _ in rows)
    )
    records = signalling.CONVERSATIONS[conversation]
    _, rows, _ = read(tmp_path / "a", records, [name, carrier])
    _, alone, report = read(tmp_path / "a", records, [name])
    assert alone and report.by_protocol[name]
    assert alone == [row for row in rows if row[1].startswith(f"{name}:")]


def test_a_capture_that_only_tshark_reads_is_not_taken_for_silence(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tshark, "find_tshark", lambda: None)
    path = tmp_path / "a.pcap"
    path.write_bytes(build.pcap(signalling.CONVERSATIONS["radius"]))
    (tmp_path / "labels.csv").write_text(
        "file,condition,onset_s,clear_s\na.pcap,normal,,\n"
    )
    lines = []
    with pytest.raises(SiamjaxError, match="none of 1 files"):
        prepare.prepare_packets(
            tmp_path,
            tmp_path / "labels.csv",
            tmp_path / "out",
            reader=LocalReader(1),
            say=lines.append,
        )
    assert any("install tshark to read it" in line for line in lines)
    assert not any("--allow_empty" in line for line in lines)


def test_a_packet_with_a_message_is_not_counted_as_one_without(tmp_path, recorded):
    mixed = sorted(build.call() + signalling.CONVERSATIONS["radius"])
    _, alone, _ = read(tmp_path / "a", mixed, ["radius"])
    _, rows, report = read(tmp_path / "b", mixed, ["sip", "radius"])
    assert report.messages == 7 + 11
    assert len(rows) == 7 + len(alone) + 1  # SIP counts the error of ICMP, too
    assert "other" not in {kind for _, kind, *_ in rows}


@pytest.mark.parametrize("name", ["radius", "diameter", "http2", "ngap", "s1ap"])
def test_each_packet_has_a_message_or_one_cause(tmp_path, recorded, monkeypatch, name):
    """Also those that were given to tshark and hold no message of their own."""
    contents, finish = [], collecting.Collector.finish

    def note(*arguments):
        contents.append(finish(*arguments))
        return contents[-1]

    monkeypatch.setattr(collecting.Collector, "finish", note)
    records = sorted(build.call() + signalling.CONVERSATIONS[name])
    _, _, report = read(tmp_path / "a", records, ["sip", name])
    with_row = len(np.unique(contents[0].rows.packet))
    assert report.packets == 7 + with_row + sum(report.causes.values())


def test_a_data_set_has_the_columns_of_its_protocols(tmp_path, recorded):
    folder = tmp_path / "in"
    folder.mkdir()
    mixed = sorted(build.call() + signalling.CONVERSATIONS["radius"])
    (folder / "a.pcap").write_bytes(build.pcap(mixed))
    (folder / "labels.csv").write_text(
        "file,condition,onset_s,clear_s\na.pcap,normal,,\n"
    )
    for protocols, named in (
        (None, ["sip", "radius"]),
        (("radius",), ["radius"]),
    ):
        lines = []
        prepare.prepare_packets(
            folder,
            folder / "labels.csv",
            tmp_path / "out",
            protocols=protocols,
            reader=LocalReader(1),
            say=lines.append,
        )
        data_set = prepared.read_data_set(tmp_path / "out")
        assert data_set.meta["protocols"] == named
        assert data_set.meta["tshark"] == ["4.0.17"]
        report = json.loads((tmp_path / "out/cleaning.json").read_text())
        assert report["total"]["by_protocol"]["radius"] == 11
    assert {kind.partition(":")[0] for kind in data_set.kinds} == {"radius"}
    assert len(data_set.sessions[0].events.time_ns) == 12
    kept = "".join(path.read_text() for path in (tmp_path / "out").glob("*.*"))
    assert "192.0.2" not in kept


def test_runs_of_tshark_overlap_and_lose_and_repeat_nothing(
    tmp_path, recorded, monkeypatch
):
    monkeypatch.setattr(tshark, "MOST_PACKETS", 4)
    monkeypatch.setattr(tshark, "OVERLAP", 2)
    records = signalling.CONVERSATIONS["radius"]
    assert read(tmp_path / "a", records, ["radius"])[1] == EXPECTED["radius"]


@pytest.mark.skipif(not HAS_TSHARK, reason="tshark is not installed")
def test_tshark_itself_gives_the_same_events(tmp_path):
    records = itertools.chain(*signalling.CONVERSATIONS.values())
    protocols = [name for name, protocol in PROTOCOLS.items() if protocol.filter]
    _, rows, report = read(tmp_path / "a", sorted(records), protocols)
    assert sorted(rows, key=str) == sorted(itertools.chain(*EXPECTED.values()), key=str)
    assert cleaning.not_read(report) == {} and report.tshark


# Prints the lines of the first packets of RADIUS, and then neither reads nor prints.
HANGING = """#!{python}
import sys, time
if "--version" in sys.argv:
    print("TShark 4.0.17")
    sys.exit()
sys.stdin.buffer.read(600)
sys.stdout.write(open("{lines}").read())
sys.stdout.flush()
time.sleep(60)
"""


def test_a_tshark_that_hangs_is_ended_and_keeps_what_it_printed(tmp_path, monkeypatch):
    fields = tshark.fields_of([PROTOCOLS["radius"]])
    recorded = json.loads(signalling.RECORDED.read_text())["radius"]
    printed = [
        "\t".join([str(number), *(cells.get(name, "") for name in fields[1:])])
        for number, cells in enumerate(recorded[:4], 1)
        if cells
    ]
    (tmp_path / "lines").write_text("\n".join(printed) + "\n")
    program = tmp_path / "tshark"
    program.write_text(HANGING.format(python=sys.executable, lines=tmp_path / "lines"))
    program.chmod(0o755)
    monkeypatch.setattr(tshark, "find_tshark", lambda: str(program))
    monkeypatch.setattr(tshark, "PATIENCE_S", 0.5)
    records = signalling.CONVERSATIONS["radius"]
    _, rows, report = read(tmp_path / "a", records, ["radius"])
    expected = [row for row in EXPECTED["radius"] if row[0] <= rows[-1][0]]
    assert rows == expected and 2 <= len(rows) <= 4
    (note,) = report.notes
    assert note == (
        "tshark hung for 0.5 s and was ended: packets 5 to "
        f"{len(records)} were given to it and not read"
    )
    assert cleaning.not_read(report)["tshark"] == len(records) - 4


@pytest.mark.skipif(not HAS_TSHARK, reason="tshark is not installed")
def test_real_runs_of_tshark_that_overlap(tmp_path, monkeypatch):
    monkeypatch.setattr(tshark, "MOST_PACKETS", 5)
    monkeypatch.setattr(tshark, "OVERLAP", 3)
    records = signalling.CONVERSATIONS["diameter"]
    _, rows, report = read(tmp_path / "a", records, ["diameter"])
    assert rows == EXPECTED["diameter"] and cleaning.not_read(report) == {}


def test_hashes_of_sip_are_those_of_older_versions(tmp_path):
    """Worked out by version 0.1 before kinds named their protocol."""
    (tmp_path / "one.pcap").write_bytes(build.pcap(build.call()))
    session, kinds, _ = prepared.session_from_capture(tmp_path / "one.pcap")
    assert messages.OTHER not in kinds
    data_set = DataSet((session,), kinds, {})
    assert prepared.content_hashes(data_set)["one"].startswith(OLD_HASHES[0])
    assert prepared.data_hash(data_set).startswith(OLD_HASHES[1])
    bare = data_set._replace(kinds=tuple(kind.partition(":")[2] for kind in kinds))
    assert prepared.content_hashes(bare) == prepared.content_hashes(data_set)
    prepared.write_data_set(tmp_path / "old", bare, {})
    assert prepared.read_data_set(tmp_path / "old").kinds == kinds


OLD_HASHES = ("80b861ad4609d332", "74ca521451508540")
