"""What --protocols and --decode_as take, and protocols at other ports."""

import re

import pytest

from siamjax.capture import decode_as, tshark
from siamjax.capture.protocols import PROTOCOLS
from siamjax.data import columns, prepared
from siamjax.identification import sessions
from siamjax.types import UsageError
from tests import commands, fake_run, signalling
from tests import packet_builder as build
from tests.signalling_events import EXPECTED, HAS_TSHARK


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
