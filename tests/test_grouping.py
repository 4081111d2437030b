"""Groups of unknown stretches, by hand."""

import numpy as np

from siamjax.identification import grouping, timeline


def stretch(capture, x, start_s=20.0):
    span = timeline.Span(start_s, start_s + 40, "unknown", 2.0, 0.5, "a@1", "blocked")
    return grouping.Stretch(capture, span, start_s + 8, np.array([x, 0.0]))


def test_what_is_nearer_than_the_threshold_is_one_group():
    far = stretch("c d.pcap", 9.0)
    near = [stretch("x/a.pcap", x, 10 * i) for i, x in enumerate((0.0, 0.4, 1.0))]
    groups = grouping.group_stretches([far, *near], threshold=1.5)
    assert [len(group) for group in groups] == [3, 1]
    assert groups[0][0] is near[1]  # the nearest to the mean, 0.47
    assert [len(g) for g in grouping.group_stretches([far, *near], 20.0)] == [4]
    assert grouping.group_stretches([], 1.0) == []
    assert grouping.group_stretches([far], 1.0) == [[far]]
    lines = grouping.describe_groups(groups, ["--workdir=runs/first"])
    assert lines[0] == "group 1: 3 unknown stretches in 1 capture"
    assert lines[1] == "  x/a.pcap from 0.0 to 40.0 s"  # as the capture was given
    assert lines[4] == "  siamjax learn --workdir=runs/first NAME=x/a.pcap@18"
    assert lines[5] == "group 2: 1 unknown stretch in 1 capture"
    # A name with a space can be given to a shell.
    assert lines[-1].endswith("'NAME=c d.pcap@28'")
