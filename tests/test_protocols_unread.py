"""What is said of packets of protocols that were not read."""

import numpy as np
import pytest

from siamjax.capture import cleaning, tshark
from siamjax.capture import signalling as collecting
from siamjax.data import columns, identity, prepare, prepared
from siamjax.data.local_reading import LocalReader
from siamjax.types import DataSet, SiamjaxError, UsageError
from tests import packet_builder as build
from tests import signalling
from tests.signalling_events import EXPECTED, read


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
    with pytest.raises(SiamjaxError, match="the only file of"):
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
