"""Groups of unknown stretches, by hand."""

import types

import numpy as np
import pytest

from siamjax.identification import grouping, timeline
from siamjax.types import Baseline


def stretch(capture, start_s=20.0, network=None, counts=0.0):
    span = timeline.Span(start_s, start_s + 40, "unknown", 2.0, 0.5, "a@1", "blocked")
    return grouping.Stretch(
        capture,
        span,
        start_s + 8,
        np.full((1, 1), counts),
        Baseline(np.zeros(1), np.ones(1)),
        network,
        across=False,
    )


def make_distances(points):
    points = np.array(points)
    return np.abs(points[:, None] - points)


def test_what_is_nearer_than_the_threshold_is_one_group():
    far = stretch("c d.pcap")
    near = [stretch("x/a.pcap", 10 * i) for i in range(3)]
    stretches, distances = [far, *near], make_distances([9.0, 0.0, 0.4, 1.0])
    groups = grouping.group_stretches(stretches, distances, threshold=1.5)
    assert [len(group) for group in groups] == [3, 1]
    assert groups[0][0] is near[1]  # the nearest to the others
    assert [len(g) for g in grouping.group_stretches(stretches, distances, 20.0)] == [4]
    alone = grouping.group_stretches([far], np.zeros((1, 1)), 1.0)
    assert alone == [[far]]
    lines = grouping.describe_groups(groups, ["--workdir=runs/first"])
    assert lines[0] == "group 1: 3 unknown stretches in 1 capture"
    assert lines[1] == "  x/a.pcap from 0.0 to 40.0 s"  # as the capture was given
    assert lines[4] == "  siamjax learn --workdir=runs/first NAME=x/a.pcap@18"
    assert lines[5] == "group 2: 1 unknown stretch in 1 capture"
    # A name with a space can be given to a shell.
    assert lines[-1].endswith("'NAME=c d.pcap@28'")


class Network(types.SimpleNamespace):
    """A network whose space is stretched."""

    def adapt(self, run, across):
        return types.SimpleNamespace(compared=lambda x, _: self.scale * x[:, 0])


def test_windows_of_two_networks_are_compared_in_both_spaces():
    core, edge = Network(name="core", scale=2.0), Network(name="edge", scale=4.0)
    run = types.SimpleNamespace(compared=lambda x, _: x[:, 0])
    stretches = [
        stretch("a.pcap", network=core, counts=0.0),
        stretch("b.pcap", network=core, counts=1.0),
        stretch("c.pcap", network=edge, counts=3.0),
        stretch("d.pcap", counts=7.0),
    ]
    distances = grouping.measure_distances(run, stretches)
    assert (distances == distances.T).all()
    # 0 to 1 in the space of core; 0 to 3 in that of core and edge; 3 to 7 in that of
    # edge and of no network.
    wanted = {(0, 1): 2.0, (0, 2): (6 + 12) / 2, (2, 3): (16 + 4) / 2}
    assert {pair: distances[pair] for pair in wanted} == pytest.approx(wanted)
    groups = grouping.group_stretches(stretches, distances, 5.0)
    lines = grouping.describe_groups(groups, ["--workdir=x"])
    assert lines[1] == "  a.pcap (core) from 20.0 to 60.0 s"
    # The command names the network of this one capture.
    assert lines[3] == "  siamjax learn --workdir=x --network=core NAME=a.pcap@28"
    assert lines[-1] == "  siamjax learn --workdir=x NAME=d.pcap@28"
