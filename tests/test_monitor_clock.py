"""What the monitor says of silence, of lost packets and of wrong times."""

import numpy as np

from siamjax.monitoring import monitor, records, sources, states
from tests import live_traffic
from tests import packet_builder as build
from tests.live_traffic import S, batches, conditions, watch


class FakeTime:
    """Time passes only when a test says so."""

    def __init__(self, monkeypatch):
        self.now_s = 1000.0
        monkeypatch.setattr(monitor.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(
            monitor.time,
            "time_ns",
            lambda: build.START_NS + round((self.now_s - 1000.0) * S),
        )

    def feed(self, watched, frames, *, late_s=0.0):
        """Gives frames to a monitor when they are due."""
        made = []
        for t, frame in sorted(frames):
            self.now_s = 1000.0 + (t - build.START_NS) / S
            packet = (t, 1, frame, len(frame))
            made += watched.add(
                sources.Batch([packet], self.now_s - late_s, is_live=True)
            )
        return made

    def wait(self, watched, seconds):
        made = []
        for _ in range(round(seconds)):
            self.now_s += 1.0
            made += watched.add(sources.Batch([], self.now_s, is_live=True))
        return made


def said(made):
    return [r.what for r in made if isinstance(r, records.Source)]


def test_a_silent_source_is_an_event_and_time_goes_on(reference, monkeypatch):
    clock = FakeTime(monkeypatch)
    watched = monitor.Monitor(reference, sources.Tally(), silent_s=10.0)
    made = clock.feed(watched, live_traffic.calls(0, 40))
    assert said(made) == [] and conditions(made) == ["normal"]
    made = clock.wait(watched, 60)
    assert said(made) == ["silent"]
    assert conditions(made) == ["unknown"]  # nobody calls any more
    made = clock.feed(watched, live_traffic.calls(100, 140))
    assert said(made) == ["back"]
    assert conditions(made)[-1] == "normal"
    windows = watched.windows
    assert [r.what for r in clock.wait(watched, 5)] == []
    made = clock.wait(watched, 600)
    assert said(made) == ["silent"] and watched.windows > windows + 550


def test_a_source_that_never_sends_is_silent(reference, monkeypatch, tmp_path):
    """Also after a restart; without a packet no time is judged."""
    clock = FakeTime(monkeypatch)
    watched = monitor.Monitor(reference, sources.Tally(), silent_s=10.0)
    assert said(clock.wait(watched, 60)) == ["silent"] and watched.windows == 0
    clock.feed(watched, live_traffic.calls(60, 120))
    states.save_state(tmp_path, watched)
    again = monitor.Monitor(reference, sources.Tally(), silent_s=10.0)
    states.restore_state(tmp_path, again)
    assert said(clock.wait(again, 60)) == ["silent"]
    assert again.windows == watched.windows
    assert said(clock.feed(again, live_traffic.calls(200, 201))) == ["back"]


def test_what_was_lost_is_not_judged(reference, monkeypatch):
    clock = FakeTime(monkeypatch)
    watched = monitor.Monitor(reference, sources.Tally())
    clock.feed(watched, live_traffic.calls(0, 40))
    notices = [sources.Notice("lost", "eth0 is down")]
    made = watched.add(sources.Batch([], clock.now_s, notices, None, True))
    made += clock.wait(watched, 60)
    assert said(made) == ["lost"]
    notices = [sources.Notice("back", "eth0 is up")]
    made = watched.add(sources.Batch([], clock.now_s, notices, None, True))
    made += clock.feed(watched, live_traffic.calls(110, 150))
    assert said(made) == ["back"] and conditions(made) == []
    assert watched.heartbeat().conditions == {"all": "normal"}


def test_a_clock_that_is_set_is_an_event_and_no_fault(reference, monkeypatch):
    clock = FakeTime(monkeypatch)
    watched = monitor.Monitor(reference, sources.Tally())
    clock.feed(watched, live_traffic.calls(0, 40))
    for first_s, shift_s in ((40, 3600), (80, 0), (120, -900)):
        made = []
        for t, frame in live_traffic.calls(first_s, first_s + 40):
            clock.now_s += 1 / 7
            packet = (t + shift_s * S, 1, frame, len(frame))
            made += watched.add(sources.Batch([packet], clock.now_s, is_live=True))
        assert said(made)[:1] == ["clock_step"], shift_s
        assert conditions(made) == [], shift_s


def test_a_packet_with_a_wrong_time_is_no_silent_hour(reference):
    """Inside a batch, too; in a file that is read later an hour is a pause."""
    frames = live_traffic.calls(0, 80)
    wrong_ns, first = 7000 * S, sources.Position("x.pcap", 0)
    for position, place in ((None, 400), (None, 1), (first, 400), (first, 1)):
        watched = monitor.Monitor(reference, sources.Tally())
        packets = live_traffic.as_packets(frames)
        t, *rest = packets[place]
        packets.insert(place, (t + wrong_ns, *rest))
        made = []
        for start in range(0, len(packets), 90):
            begin = position and position._replace(offset=start)
            batch = sources.Batch(packets[start : start + 90], 0.0, (), begin, True)
            made += watched.add(batch)
        assert said(made) == ["clock_step", "clock_step"] and watched.windows < 100
        assert conditions(made) == ["normal"] or place == 1


def test_several_wrong_times_are_no_silent_hours(reference):
    """Each of them is ahead of the one before, and none is ahead of the right time."""
    watched = monitor.Monitor(reference, sources.Tally())
    packets = live_traffic.as_packets(live_traffic.calls(0, 80))
    for place, wrong_s in ((400, 70_000), (401, 40_000), (402, 10_000)):
        t, *rest = packets[place]
        packets[place] = (t - wrong_s * S, *rest)
    made = []
    for start in range(0, len(packets), 90):
        batch = sources.Batch(packets[start : start + 90], 0.0, is_live=True)
        made += watched.add(batch)
    assert watched.windows < 100 and said(made) == ["clock_step"] * 4


def test_no_answer_behind_a_step_of_the_clock_is_late(reference):
    """It is not compared with the time of its request, which lies before the step."""
    watched = monitor.Monitor(reference, sources.Tally())
    invite, *_, final, _, _, _ = build.call("x", build.START_NS + 39 * S)
    frames = [*live_traffic.calls(0, 50), invite, (final[0] + 3 * S, final[1])]
    for t, frame in sorted(frames):
        t += 3600 * S * (t > build.START_NS + 40 * S)
        packets = live_traffic.as_packets([(t, frame)])
        watched.add(sources.Batch(packets, 0.0, is_live=True))
    names = [column.name for column in reference.run.columns]
    counted = watched._judge.sessions["all"]._counts.values
    assert np.nanmax(counted[:, names.index("INVITE to final ms")]) < 1000


def test_a_pause_in_a_file_is_silence_and_no_step_of_the_clock(reference):
    """Wherever batches end."""
    calls = live_traffic.calls
    frames = [*calls(0, 40), *calls(60, 90)]
    for size in (280, 300):
        watched = monitor.Monitor(reference, sources.Tally())
        made = watch(watched, batches(frames, size, is_live=True))
        assert said(made) == [] and conditions(made) == ["normal", "unknown", "normal"]


def test_packets_that_wait_too_long_are_left_out_and_counted(reference, monkeypatch):
    clock = FakeTime(monkeypatch)
    watched = monitor.Monitor(reference, sources.Tally())
    clock.feed(watched, live_traffic.calls(0, 40))
    made = clock.feed(watched, live_traffic.calls(40, 60), late_s=6.0)
    assert said(made) == ["shed"] and watched.heartbeat().shed == 140
    made = clock.feed(watched, live_traffic.calls(60, 90))
    assert said(made) == ["back"] and conditions(made) == []
