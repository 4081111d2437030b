"""The monitor: what it says of a capture that is replayed, and of a stream."""

import os
import pathlib
import threading
import time

import pytest

from siamjax.identification.timeline import Span
from siamjax.monitoring import monitor, records, session, sources, watching
from siamjax.types import UsageError
from tests import commands, live_traffic
from tests import packet_builder as build

CAPTURES = pathlib.Path(__file__).parent.parent / "data" / "testbed" / "captures"
S = 10**9


def watch(reference, path, speed=0.0):
    tally = sources.Tally()
    return list(
        watching.watch(
            monitor.Monitor(reference, tally),
            sources.replay(path, speed, tally),
            source=str(path),
            heartbeat_s=1e6,
        )
    )


FAULT = live_traffic.FAULT


def test_the_start_is_told_before_what_happens_to_the_source(reference):
    watched, saved = monitor.Monitor(reference, sources.Tally()), []
    packets = [(t, 1, frame, len(frame)) for t, frame in FAULT[:10]]
    batches = [
        sources.Batch([], 0.0, [sources.Notice(records.LOST, "eth9 is down")]),
        sources.Batch(packets, 0.0),
    ]
    made = watching.watch(
        watched, batches, source="eth9", heartbeat_s=1e6, save=lambda _: saved.append(0)
    )
    assert [record.kind for record in made] == ["start", "source", "heartbeat", "stop"]
    assert len(saved) == 2  # with the first packets, and at the end


def test_a_replayed_capture_gives_what_identify_says(reference, tmp_path):
    path = live_traffic.capture(tmp_path / "x.pcap", FAULT)
    made = watch(reference, path)
    live_traffic.assert_as_identified(made, path, reference)
    changes = live_traffic.of_kind(made, records.Change)
    assert [c.state for c in changes][:2] == ["cleared", "raised"]
    conditions = ["normal", "unknown", "recovering", "normal"]
    assert [c.condition for c in changes] == conditions
    raised, recovering, cleared = changes[1:]
    assert raised.moved and raised.severity == records.UNKNOWN
    assert recovering.ends == raised.stretch and cleared.ends == recovering.stretch
    end_ns = records.parse_time(recovering.onset) - build.START_NS
    assert abs(end_ns - 70 * S) < 4 * S
    onset_ns = records.parse_time(raised.onset) - build.START_NS
    assert abs(onset_ns - 40 * S) < 4 * S
    assert records.parse_time(raised.time) - build.START_NS < 48 * S
    assert isinstance(made[0], records.Start) and isinstance(made[-1], records.Stop)
    ids = [record.id for record in made if isinstance(record, records.Change)]
    assert len(set(ids)) == len(ids)
    beat = live_traffic.of_kind(made, records.Heartbeat)[-1]
    assert (beat.packets, beat.conditions) == (len(FAULT), {"all": "normal"})


@pytest.mark.parametrize("name, unknown", [("blocked_001", 6), ("link_flap_001", 2)])
def test_a_packaged_capture_replayed_gives_what_identify_says(reference, name, unknown):
    path = CAPTURES / f"{name}.pcap.xz"
    rule = live_traffic.RULE._replace(unknown=unknown, penalty=1.0)
    reference = reference._replace(rule=rule)
    made = watch(reference, path)
    live_traffic.assert_as_identified(made, path, reference)
    assert len(live_traffic.of_kind(made, records.Stretch)) > 1


def test_a_replay_takes_as_long_as_it_should(reference, tmp_path):
    path = live_traffic.capture(tmp_path / "x.pcap", live_traffic.calls(0, 30))
    start_s = time.monotonic()
    made = watch(reference, path, speed=30)
    assert 0.9 < time.monotonic() - start_s < 5
    live_traffic.assert_as_identified(made, path, reference)


def test_a_stream_gives_what_its_file_gives(reference, tmp_path):
    path = live_traffic.capture(tmp_path / "x.pcap", FAULT)
    reader, writer = os.pipe()
    tally = sources.Tally()
    batches = sources.stream(open(reader, "rb", buffering=0), "stdin", tally)
    data = path.read_bytes()

    def write():
        with open(writer, "wb", buffering=0) as file:
            for start in range(0, len(data), 5000):
                file.write(data[start : start + 5000])

    thread = threading.Thread(target=write)
    thread.start()
    made = list(
        watching.watch(
            monitor.Monitor(reference, tally), batches, source="-", heartbeat_s=1e6
        )
    )
    thread.join()
    assert live_traffic.of_kind(made, records.Stretch) == live_traffic.of_kind(
        watch(reference, path), records.Stretch
    )


def span(condition, start_s, end_s=100.0):
    return Span(start_s, end_s, condition, 0.5, 0.1, "x@1", "other")


def steps(before, *spans):
    """The steps from one timeline to the next: condition, state, previous, ends."""
    known, _ = session.compare_reports([], before, lambda s: f"@{s:g}")
    known, made = session.compare_reports(known, spans, lambda s: f"@{s:g}")
    assert [k.condition for k in known] == [s.condition for s in spans]
    return [(spans[s.place].condition, s.state, s.previous, s.ends) for s in made]


def test_differences_of_timelines_are_told_as_changes():
    normal, odd, slow = span("normal", 0), span("unknown", 40), span("slow", 60)
    assert steps([normal], normal) == []
    assert steps([normal], normal, odd) == [("unknown", "raised", "normal", None)]
    assert steps([normal, odd], normal, odd, slow) == [
        ("slow", "raised", "unknown", "@40")
    ]
    assert steps([normal, odd], normal, odd, span("normal", 60)) == [
        ("normal", "cleared", "unknown", "@40")
    ]
    # The beginning of a fault gets the name of the fault.
    assert steps([normal, odd], normal, span("slow", 39.5)) == [
        ("slow", "revised", "unknown", None)
    ]
    assert steps([normal, odd, slow], normal, span("slow", 40)) == [
        ("slow", "revised", "slow", "@60")
    ]
    # It was nothing.
    assert steps([normal, odd], normal) == [("normal", "cleared", "unknown", "@40")]
    # The onset is known better.
    assert steps([normal, slow], normal, span("slow", 58)) == [
        ("slow", "revised", "slow", None)
    ]
    assert steps([normal, slow], normal, span("slow", 59.5)) == []
    # What lies behind does not matter any more.
    assert steps([normal, odd, slow], normal, span("busy", 40), slow) == []


def test_small_movements_of_an_onset_do_not_add_up_unnoticed():
    known, _ = session.compare_reports([], [span("slow", 60.0)], str)
    for start_s in (60.4, 60.8):
        known, made = session.compare_reports(known, [span("slow", start_s)], str)
        assert not made
    assert session.compare_reports(known, [span("slow", 61.1)], str)[1]


def test_the_command_refuses_what_it_cannot_watch():
    for arguments, said in (
        ([], "say where packets come from"),
        (["-", "--read=x.pcap"], "say where packets come from, once"),
        (["--read=x.pcap", "--hep=:1"], "say where packets come from, once"),
        (["x.pcap"], "say where packets come from"),
        (["-", "--filter=udp"], "--filter goes with --interface"),
        (["--read=tests"], "--read=tests is a folder: give a file"),
        (["--read=x.pcap", "--speed=inf"], "--speed inf is not from"),
        (["--read=x.pcap", "--speed=1e308"], "--speed 1e+308 is not from"),
        (["--read=x.pcap", "--speed=1e-12"], "--speed 1e-12 is not from"),
        (["-", "--heartbeat_s=nan"], "--heartbeat_s nan is no number of seconds"),
        (["-", "--silent_s=inf"], "--silent_s inf is no number of seconds"),
    ):
        done = commands.run("monitor", "--workdir=x", *arguments)
        assert done.returncode == 2 and said in done.stderr


def test_a_run_that_normalises_by_whole_sessions_is_refused(reference):
    reference.run.config.encoder.norm = "session"
    with pytest.raises(UsageError, match="normalises by whole sessions"):
        monitor.Monitor(reference, sources.Tally())
