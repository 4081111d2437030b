"""The monitor goes on after a restart, and its memory is bounded."""

import json

import numpy as np
import pytest

from siamjax import files
from siamjax.identification import examples, references, sessions
from siamjax.monitoring import (
    monitor,
    packing,
    records,
    sources,
    states,
    watching,
)
from siamjax.types import UsageError
from tests import commands, live_traffic
from tests import packet_builder as build
from tests.live_traffic import S, batches, watch

FAULT = live_traffic.FAULT


def verdicts(made):
    kinds = records.Change, records.Stretch
    return [record for record in made if isinstance(record, kinds)]


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
