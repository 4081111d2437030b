"""An hour of calls that are drawn again, and how the rule for a network reads it."""

import numpy as np
import pytest

from scripts.experiments import hours
from siamjax.capture import events
from siamjax.identification import adapting, identify, sessions
from siamjax.types import NORMAL
from tests import live_traffic

S = 10**9


@pytest.fixture
def reference(monkeypatch, tmp_path):
    """An hour is 240 s long; the network was learnt at the load of before."""
    monkeypatch.setattr(hours, "HOUR_S", 240.0)
    monkeypatch.setattr(hours, "NORMAL_S", 60.0)
    opened = live_traffic.make_reference(monkeypatch, tmp_path)
    even = live_traffic.capture(tmp_path / "even.pcap", live_traffic.calls(0, 90, 4))
    calls = hours.read_calls(even, 0, 60)
    learnt = [tmp_path / f"{seed}.pcap" for seed in (1, 2)]
    for seed, path in enumerate(learnt, 1):
        drawn = hours.draw_packets(
            [(calls, hours.LOADS["steady"])], np.random.default_rng(seed)
        )
        hours.write_capture(path, drawn)
    network = adapting.read_network(opened.run, "site", learnt)
    return opened._replace(network=adapting.adapt(opened.run, network)), calls


def read(reference, path, parts):
    hours.write_capture(path, hours.draw_packets(parts, np.random.default_rng(0)))
    traffic = sessions.read_traffic(path, reference.run, network=reference.network)
    return identify.compare_session(traffic, reference).spans


def test_calls_are_drawn_whole_each_with_a_name_of_its_own(reference, tmp_path):
    calls = reference[1]
    assert len(calls.calls) == 240 and calls.per_s == 4
    drawn = hours.draw_packets(
        [(calls, hours.LOADS["doubles"])], np.random.default_rng()
    )
    hours.write_capture(tmp_path / "hour.pcap", drawn)
    read_events, _, report = events.read_events(tmp_path / "hour.pcap")
    assert report.messages == len(drawn) and not report.retransmitted
    halves = np.histogram(read_events.time_ns, 2, (0, 240 * S))[0]
    assert halves[1] / halves[0] == pytest.approx(1.75 / 1.25, rel=0.15)


@pytest.mark.parametrize("load", ["doubles", "halved"])
def test_another_load_is_normal_where_the_network_is_known(reference, tmp_path, load):
    calls = reference[1]
    spans = read(reference[0], tmp_path / "x.pcap", [(calls, hours.LOADS[load])])
    assert [span.condition for span in spans] == [NORMAL]


def test_a_fault_is_not_learnt_as_normal_though_it_comes_slowly(reference, tmp_path):
    """Calls without an answer: their share grows from the first minute to the end."""
    calls = reference[1]
    alone = [[call[0]] for call in calls.calls]
    share = lambda t: np.clip((t - 60) / 180, 0, 1)  # noqa: E731
    mute = calls._replace(calls=alone)
    slow = [(calls, lambda t: 1 - share(t)), (mute, share)]
    for parts in (slow, [(mute, hours.LOADS["steady"])]):
        spans = read(reference[0], tmp_path / "x.pcap", parts)
        assert spans[-1].condition == "unknown"
        assert spans[-1].end_s - spans[-1].start_s > 100
