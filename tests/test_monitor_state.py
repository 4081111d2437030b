"""The monitor goes on after a restart, a gap, a silence; and memory is bounded."""

import itertools
import json

import numpy as np
import pytest

from siamjax import files
from siamjax.capture import messages
from siamjax.identification import examples, references, sessions
from siamjax.monitoring import (
    judging,
    monitor,
    packing,
    records,
    servers,
    sources,
    states,
    watching,
)
from siamjax.types import UsageError
from tests import commands, live_traffic
from tests import packet_builder as build

S = 10**9
FAULT = live_traffic.FAULT


@pytest.fixture
def reference(monkeypatch, tmp_path):
    return live_traffic.make_reference(monkeypatch, tmp_path)


def batches(frames, size=100, first=0, *, in_file=True, is_live=False):
    """Batches of frames `(time_ns, frame)`, as of a file."""
    for start in range(first, len(frames), size):
        some = [(t, 1, frame, len(frame)) for t, frame in frames[start : start + size]]
        position = sources.Position("x.pcap", start) if in_file else None
        yield sources.Batch(some, 0.0, (), position, is_live)


def verdicts(made):
    kinds = records.Change, records.Stretch
    return [record for record in made if isinstance(record, kinds)]


def watch(watched, source):
    made = [record for batch in source for record in watched.add(batch)]
    return made + watched.finish()


@pytest.fixture
def at_once(reference):
    return verdicts(watch(monitor.Monitor(reference, sources.Tally()), batches(FAULT)))


@pytest.mark.parametrize("stops", [[300], [700, 1900], [2500], [3100, 3150]])
def test_a_restart_loses_nothing_and_doubles_nothing(
    reference, tmp_path, at_once, stops
):
    made, first = [], 0
    for stop in [*stops, None]:
        watched = monitor.Monitor(reference, sources.Tally())
        assert states.restore_state(tmp_path, watched) == bool(first)
        first = watched.position.offset if watched.position else 0
        for batch in batches(FAULT, first=first):
            made += watched.add(batch)
            if stop is not None and batch.position.offset >= stop:
                break
        states.save_state(tmp_path, watched)
        first = 1
    made += watched.finish()
    assert verdicts(made) == at_once
    beat = watched.heartbeat()
    assert beat.packets == len(FAULT)
    assert watched.last_changes() == [r for r in at_once if "previous" in vars(r)][-1:]


def test_what_is_told_again_after_a_crash_has_its_old_id(reference, tmp_path, at_once):
    watched = monitor.Monitor(reference, sources.Tally())
    made = []
    for i, batch in enumerate(batches(FAULT)):
        if i == 3:
            states.save_state(tmp_path, watched)
        made += watched.add(batch)
    again = monitor.Monitor(reference, sources.Tally())
    states.restore_state(tmp_path, again)
    made += watch(again, batches(FAULT, first=again.position.offset))
    by_id = {record.id: record for record in verdicts(made)}
    assert len(verdicts(made)) > len(at_once)
    assert list(by_id.values()) == at_once


def test_open_transactions_are_known_again(reference, tmp_path, monkeypatch):
    """Only as much of a file is read again as the rule needs."""
    monkeypatch.setattr(monitor, "_REWIND_NS", 20 * S)
    watched = monitor.Monitor(reference, sources.Tally())
    frames = live_traffic.calls(0, 100)
    for batch in batches(frames, 50):
        watched.add(batch)
    states.save_state(tmp_path, watched)
    again = monitor.Monitor(reference, sources.Tally())
    states.restore_state(tmp_path, again)
    assert 400 < again.position.offset < 600
    assert again.heartbeat().messages == watched.heartbeat().messages


def test_without_files_a_restart_skips_what_it_did_not_see(reference, tmp_path):
    watched = monitor.Monitor(reference, sources.Tally())
    frames = live_traffic.calls(0, 300)
    made = watch_some(watched, [f for f in frames if f[0] < build.START_NS + 60 * S])
    states.save_state(tmp_path, watched)
    again = monitor.Monitor(reference, sources.Tally())
    states.restore_state(tmp_path, again)
    later = [f for f in frames if f[0] > build.START_NS + 200 * S]
    made += watch_some(again, later)
    changes = [r for r in made if isinstance(r, records.Change)]
    assert [c.condition for c in changes] == ["normal"]
    beat = again.heartbeat()
    assert beat.packets == len(later) + watched.heartbeat().packets
    assert beat.windows > 60 + 80


def watch_some(watched, frames):
    made = []
    for batch in batches(frames, in_file=False):
        made += watched.add(batch)
    return made


def test_the_state_of_another_run_or_a_damaged_one_is_refused(
    reference, tmp_path, monkeypatch
):
    watched = monitor.Monitor(reference, sources.Tally())
    assert not states.restore_state(tmp_path, watched)
    watch_some(watched, FAULT[:400])
    states.save_state(tmp_path, watched)
    other = reference._replace(run=reference.run._replace(step=9))
    with pytest.raises(UsageError, match="of another run"):
        states.restore_state(tmp_path, monitor.Monitor(other, sources.Tally()))
    by_server = monitor.Monitor(reference, sources.Tally(), by_server=True)
    with pytest.raises(UsageError, match="of other sessions"):
        states.restore_state(tmp_path, by_server)
    with monkeypatch.context() as patch:
        patch.setattr(states, "_FORMAT", states._FORMAT + 1)
        with pytest.raises(UsageError, match=r"another version .* remove"):
            states.restore_state(tmp_path, monitor.Monitor(reference, sources.Tally()))
    path = tmp_path / states.FILE
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(files.Damaged, match="to begin anew"):
        states.restore_state(tmp_path, monitor.Monitor(reference, sources.Tally()))


def test_a_kill_before_the_first_heartbeat_loses_nothing(reference, tmp_path):
    """The state is saved with the first packets: a ring of files goes on from there."""
    for count in (40, 600):  # before the first bin, and behind the first verdict
        folder = tmp_path / str(count)
        watched = monitor.Monitor(reference, sources.Tally())
        made = watching.watch(
            watched,
            batches(FAULT[:count], size=20),
            source="x.pcap",
            heartbeat_s=1e6,
            save=lambda m, folder=folder: states.save_state(folder, m),
        )
        for _ in made:
            if watched.heartbeat().packets >= 40:
                break  # killed
        again = monitor.Monitor(reference, sources.Tally())
        assert states.restore_state(folder, again)
        assert again.position == sources.Position("x.pcap", 0)
        watch(again, batches(FAULT[:count]))
        assert again.heartbeat().packets == count


def test_each_record_has_an_id_of_its_own_without_a_packet_between(reference):
    watched = monitor.Monitor(reference, sources.Tally())
    watch_some(watched, FAULT[:10])
    made = [watched.heartbeat() for _ in range(3)] + [watched.stop("x")]
    notices = [sources.Notice("lost", "x"), sources.Notice("back", "x")] * 2
    made += watched.add(sources.Batch([], 0.0, notices))
    assert len({record.id for record in made}) == len(made)


def test_a_state_that_cannot_be_saved_is_said_and_tried_again(reference, caplog):
    tried = []

    def save(_):
        tried.append(0)
        if len(tried) < 3:
            raise OSError(28, "No space left on device", "state.npz")

    watched = monitor.Monitor(reference, sources.Tally())
    options = dict(source="x", heartbeat_s=0.0, save=save)
    made = list(watching.watch(watched, batches(FAULT[:300]), **options))
    assert isinstance(made[-1], records.Stop) and len(tried) > 3
    assert caplog.text.count("the state is not saved: [Errno 28]") == 2


def test_a_network_that_was_learnt_anew_is_judged_anew(reference, tmp_path):
    traffic = sessions.measure_baseline(
        np.ones((40, len(reference.run.columns)), np.float32), reference.run
    )
    compared = []
    for mean in (0.0, 0.0, 1.0):
        baseline = traffic._replace(mean=np.asarray(traffic.mean) + mean)
        network = sessions.Adapted("site", baseline, (), (), None)
        watched = monitor.Monitor(reference._replace(network=network), sources.Tally())
        compared.append(watched.state()["compared"])
    assert compared[0] == compared[1] != compared[2]


def test_what_was_learnt_since_names_the_fault_that_lasts(reference, tmp_path):
    """After a restart; the stretch keeps its name, so its alarm is corrected."""
    example = live_traffic.capture(tmp_path / "old.pcap", FAULT)
    taught = references.open_reference(
        reference.run, places=[examples.Place("slow", str(example), 52.0)]
    )
    made, first = [], 0
    for compared, end_s in ((reference, 62), (taught, 160)):
        frames = [p for p in FAULT if p[0] < FAULT[0][0] + end_s * S]
        watched = monitor.Monitor(compared, sources.Tally())
        states.restore_state(tmp_path, watched)
        first = watched.position.offset if watched.position else 0
        for batch in batches(frames, first=first):
            made += watched.add(batch)
        states.save_state(tmp_path, watched)
    changes = live_traffic.of_kind(made, records.Change)
    told = [(c.state, c.condition) for c in changes]
    assert told[:3] == [
        ("cleared", "normal"),
        ("raised", "unknown"),
        ("revised", "slow"),
    ]
    assert changes[2].stretch == changes[1].stretch
    assert told[-1] == ("cleared", "normal")
    assert changes[1].stretch in [change.ends for change in changes]


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


def conditions(made):
    return [r.condition for r in made if isinstance(r, records.Change)]


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
    wrong_ns, begin = 7000 * S, sources.Position("x.pcap", 0)
    for position, packet in ((None, 400), (None, 1), (begin, 400), (begin, 1)):
        watched = monitor.Monitor(reference, sources.Tally())
        some = [(t, 1, frame, len(frame)) for t, frame in frames]
        t, _, frame, length = some[packet]
        some.insert(packet, (t + wrong_ns, 1, frame, length))
        made = []
        for start in range(0, len(some), 90):
            place = position and position._replace(offset=start)
            batch = sources.Batch(some[start : start + 90], 0.0, (), place, True)
            made += watched.add(batch)
        assert said(made) == ["clock_step", "clock_step"] and watched.windows < 100
        assert conditions(made) == ["normal"] or packet == 1


def test_several_wrong_times_are_no_silent_hours(reference):
    """Each of them is ahead of the one before, and none is ahead of the right time."""
    watched = monitor.Monitor(reference, sources.Tally())
    some = [(t, 1, frame, len(frame)) for t, frame in live_traffic.calls(0, 80)]
    for packet, wrong_s in ((400, 70_000), (401, 40_000), (402, 10_000)):
        t, *rest = some[packet]
        some[packet] = (t - wrong_s * S, *rest)
    made = []
    for start in range(0, len(some), 90):
        batch = sources.Batch(some[start : start + 90], 0.0, is_live=True)
        made += watched.add(batch)
    assert watched.windows < 100 and said(made) == ["clock_step"] * 4


def test_no_answer_behind_a_step_of_the_clock_is_late(reference):
    """It is not compared with the time of its request, which lies before the step."""
    watched = monitor.Monitor(reference, sources.Tally())
    invite, *_, final, _, _, _ = build.call("x", build.START_NS + 39 * S)
    frames = [*live_traffic.calls(0, 50), invite, (final[0] + 3 * S, final[1])]
    for t, frame in sorted(frames):
        t += 3600 * S * (t > build.START_NS + 40 * S)
        some = [(t, 1, frame, len(frame))]
        watched.add(sources.Batch(some, 0.0, is_live=True))
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


def test_each_server_is_a_session(reference):
    """One of two is overloaded; the other is not."""
    calls, other = live_traffic.calls, "192.0.2.99"
    first = [*calls(0, 70), *calls(70, 100, 12), *calls(100, 150)]
    both = sorted([*first, *calls(0, 150, server=other)])
    watched = monitor.Monitor(reference, sources.Tally(), by_server=True)
    made = watch(watched, batches(both))
    by_session = {}
    for record in made:
        if isinstance(record, records.Change):
            by_session.setdefault(record.session, []).append(record.condition)
    assert len(by_session) == 2
    assert sorted(map(len, by_session.values())) == [1, 4]
    assert by_session[other] == ["normal"]


def test_servers_watched_together_are_judged_as_each_alone(reference, monkeypatch):
    """Their windows are compared in one call, their events counted in another; the
    windows of their baselines wait for their turn."""
    loads = ((1, 6), (2, 1))
    servers_calls = {
        f"192.0.2.{100 + i}": [
            *live_traffic.calls(0, 70, before, server=f"192.0.2.{100 + i}"),
            *live_traffic.calls(70, 90, after, server=f"192.0.2.{100 + i}"),
            *live_traffic.calls(90, 115, before, server=f"192.0.2.{100 + i}"),
        ]
        for i, (before, after) in enumerate(loads)
    }

    def stretches(frames):
        watched = monitor.Monitor(reference, sources.Tally(), by_server=True)
        seconds = itertools.groupby(sorted(frames), lambda frame: frame[0] // S)
        made = watch(watched, (b for _, x in seconds for b in batches(list(x), 10**6)))
        return [r for r in made if isinstance(r, records.Stretch)]

    with monkeypatch.context() as patch:
        patch.setattr(judging, "_AT_ONCE", 4)
        together = stretches(itertools.chain(*servers_calls.values()))
    assert len(together) > len(loads)
    for name, frames in servers_calls.items():
        mine = [r for r in together if r.session == name]
        alone = stretches(frames)
        assert [r.condition for r in mine] == [r.condition for r in alone]
        numbers = [(r.start_s, r.end_s, r.distance) for r in alone]
        np.testing.assert_allclose(
            [(r.start_s, r.end_s, r.distance) for r in mine], numbers, atol=1e-5
        )


def test_an_address_that_is_asked_seldom_is_no_server():
    known = servers.Servers()
    rows = live_traffic.read(
        (t, 1, frame, len(frame)) for t, frame in live_traffic.calls(0, 70)
    )
    taken = rows.take()[0]
    known.learn(taken, rows.addresses)
    assert known.names == [build.SERVER]
    # Numbers of addresses grow for ever; memory does not.
    later = {packed: number + 10**15 for packed, number in rows.addresses.items()}
    moved = taken._replace(source=taken.source + 10**15, target=taken.target + 10**15)
    assert (known.assign(moved, later) == known.assign(taken, rows.addresses)).all()


def test_many_servers_with_the_same_load_are_all_recognised():
    """And no address that is asked far less than they are."""
    known = servers.Servers()
    count, asked = 200, 500
    target = np.concatenate([np.arange(count).repeat(asked), np.full(24, count)])
    none = np.zeros(len(target), np.int64)
    rows = messages.Messages(*(none for _ in messages.Messages._fields))._replace(
        source=np.full(len(target), count),
        target=target,
        says=np.full(len(target), messages.CREATES),
        time_ns=np.linspace(0, 31 * S, len(target)).astype(np.int64),
    )
    addresses = {bytes([10, 0, i // 256, i % 256]): i for i in range(count + 1)}
    known.learn(rows, addresses)
    assert len(known.names) == count and "10.0.0.200" not in known.names
    place = known.assign(rows, addresses)
    np.testing.assert_array_equal(place, np.where(target < count, target, servers.NONE))


def test_servers_beyond_the_limit_are_said_once(monkeypatch, caplog):
    monkeypatch.setattr(servers, "MOST_SERVERS", 2)
    known = servers.Servers()
    for i in range(5):
        known.add(bytes([10, 0, 0, i]))
    assert known.names == ["10.0.0.0", "10.0.0.1"]
    (record,) = caplog.records
    assert "10.0.0.2 and those after it are not watched" in record.getMessage()


def test_the_command_goes_on_where_it_was_stopped(reference, tmp_path):
    path = live_traffic.capture(tmp_path / "x.pcap", FAULT)
    options = ["--workdir=run", f"--read={path}", "--speed=0"]
    options += [f"--state={tmp_path / 'state'}", "--json"]
    done = commands.run("monitor", *options)
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert made[0]["kind"] == "start" and made[-1]["kind"] == "stop"
    changes = [m for m in made if m["kind"] == "change"]
    conditions = ["normal", "unknown", "recovering", "normal"]
    assert [c["condition"] for c in changes] == conditions
    done = commands.run("monitor", *options)
    again = [json.loads(line) for line in done.stdout.splitlines()]
    assert [m["id"] for m in again if m["kind"] == "change"] == [changes[-1]["id"]]
    assert again[0]["resumed"]
    # Without a folder a replay begins anew.
    done = commands.run("monitor", *options[:3], "--json")
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert [m["id"] for m in made if m["kind"] == "change"] == [
        c["id"] for c in changes
    ]


def test_any_bytes_are_counted_and_harm_nothing(reference):
    """Frames are damaged, cut and given wrong links and times; then all is well."""
    rng = np.random.default_rng(0)
    watched = monitor.Monitor(reference, sources.Tally())
    calls = live_traffic.calls(0, 60)
    frames = []
    for time_ns, frame in calls:
        damaged = bytearray(frame)
        for place in rng.integers(0, len(frame), rng.integers(1, 9)):
            damaged[place] = rng.integers(256)
        cut = bytes(damaged[: rng.integers(len(frame) + 1)])
        step_ns = int(rng.choice([0, 0, 0, -5, 5, 90_000])) * S
        link = int(rng.choice([1, 1, 1, 12, 101, 113, 276, 999]))
        frames += [
            (time_ns, 1, frame, len(frame)),
            (time_ns + step_ns, link, cut, int(rng.integers(0, 2000))),
        ]
    made = []
    for start in range(0, len(frames), 50):
        some = frames[start : start + 50]
        made += watched.add(sources.Batch(some, 0.0))
    beat = watched.heartbeat()
    assert beat.packets == len(frames)
    assert beat.not_read and beat.messages >= len(calls) - 20
    assert json.dumps([records.as_json(record) for record in made], allow_nan=False)
    watched.finish()


def test_packets_of_other_protocols_alone_are_said_once(reference, caplog):
    watched = monitor.Monitor(reference, sources.Tally())
    watched.heartbeat()  # no packet yet
    assert not caplog.records
    frame = build.ethernet(build.ipv4(build.udp(b"hello", 40000, 1812)))
    frames = [(build.START_NS + i * S, frame) for i in range(9)]
    watch_some(watched, frames)
    watched.heartbeat()
    watched.heartbeat()
    (line,) = caplog.messages
    assert "no message of SIP was read in 9 packets" in line


def test_the_state_of_many_sessions_is_small_and_keeps_every_number(
    reference, tmp_path
):
    """Counts are packed, what a window costs is not kept: a quarter of what it was."""
    watched = monitor.Monitor(reference, sources.Tally())
    watch_some(watched, FAULT)
    states.save_state(tmp_path, watched)
    again = monitor.Monitor(reference, sources.Tally())
    states.restore_state(tmp_path, again)
    first, second = (x._judge.sessions["all"] for x in (watched, again))
    np.testing.assert_array_equal(first._counts.values, second._counts.values)
    np.testing.assert_array_equal(
        first._tracker._windows.costs, second._tracker._windows.costs
    )
    unpacked = first._counts.values.nbytes + first._tracker._windows.costs.nbytes
    assert 0 < (tmp_path / states.FILE).stat().st_size < unpacked / 2


def test_counts_are_packed_without_a_change_of_any_number():
    columns = [0, 1, 255], [0.5, 1, 2], [np.nan, 1, 2], [256, 0, 0], [-1, 0, 0]
    counts = np.array([*columns, [np.inf, 0, 0], [2.0**60, 0, 0]], np.float32).T
    packed = packing.pack_counts(counts)
    assert packed["small"].tolist() == [[0], [1], [255]]
    np.testing.assert_array_equal(packing.unpack_counts(packed), counts)
    none = packing.unpack_counts(packing.pack_counts(counts[:0]))
    assert none.shape == (0, 7) and none.dtype == np.float32
