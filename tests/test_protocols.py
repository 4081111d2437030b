"""Signalling other than SIP: packets to events to counts, worked out by hand.

The packets are in tests/signalling.py. tshark is not needed: what it prints of them is
recorded, and tests/test_tshark.py compares the recording where tshark is installed.
"""

import json
import pathlib
import re
from collections import Counter

import numpy as np
import pytest

from siamjax.capture import cleaning, events, messages
from siamjax.capture.protocols import PROTOCOLS
from siamjax.capture.protocols.table import ERROR, RESENT, SEPARATOR, Frame, Message
from siamjax.data import columns, counts, prepare, prepared
from siamjax.data.local_reading import LocalReader
from siamjax.types import FROM_SERVER, TO_SERVER, DataSet
from tests import packet_builder as build
from tests import signalling
from tests.signalling_events import EXPECTED, read

MS = 1_000_000


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
