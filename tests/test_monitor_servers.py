"""Many servers watched at once: each is a session."""

import itertools

import numpy as np

from siamjax.capture import messages
from siamjax.monitoring import judging, monitor, records, servers, sources
from tests import live_traffic
from tests import packet_builder as build
from tests.live_traffic import S, batches, watch


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
