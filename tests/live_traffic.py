"""Live traffic for tests of the monitor, and what it is compared with."""

import pathlib

import numpy as np

from siamjax.capture import messages
from siamjax.identification import enrol, identify, references, rules
from siamjax.inference import runs
from siamjax.monitoring import records, sources
from tests import fake_run
from tests import packet_builder as build

DATA = pathlib.Path(__file__).parent.parent / "data"
RULE = rules.Rule(unknown=0.2, penalty=0.3, onset_s=5.0, clear_s=2.0)
S = 10**9


def make_reference(monkeypatch, folder, **options):
    """The run of `fake_run`, opened by its path, too."""
    run = fake_run.make_run(folder / "run", **options)
    enrolment = fake_run.examples_of(run), RULE
    monkeypatch.setattr(runs, "open_run", lambda workdir: run)
    monkeypatch.setattr(enrol, "read_enrolment", lambda opened: enrolment)
    return references.open_reference(run)


def calls(first_s, end_s, each_s=1, server=build.SERVER):
    """Calls of seven messages, so many a second, as `(time_ns, frame)`."""
    return [
        (build.START_NS + (i * S + (time_ns - build.START_NS) // 4) // each_s, frame)
        for i in range(first_s * each_s, end_s * each_s)
        for time_ns, frame in build.call(f"{server}-{i}", server=server)
    ]


# 40 s of normal traffic, 30 s with twelve times the load, and normal traffic again.
FAULT = sorted([*calls(0, 40), *calls(40, 70, 12), *calls(70, 160)])


def capture(path, some):
    path.write_bytes(build.pcap(sorted(some)))
    return path


def of_kind(made, kind):
    return [record for record in made if isinstance(record, kind)]


def read(packets):
    """A reader that took packets."""
    reader = messages.MessageReader()
    for packet in packets:
        reader.add(*packet)
    reader.finish()
    return reader


def as_packets(frames):
    """Packets, as of a capture of Ethernet, of frames `(time_ns, frame)`."""
    return [(time_ns, 1, frame, len(frame)) for time_ns, frame in frames]


def batches(frames, size=100, first=0, *, in_file=True, is_live=False):
    """Batches of frames `(time_ns, frame)`, as of a file."""
    for start in range(first, len(frames), size):
        packets = as_packets(frames[start : start + size])
        position = sources.Position("x.pcap", start) if in_file else None
        yield sources.Batch(packets, 0.0, (), position, is_live)


def watch(watched, source):
    """The records of a monitor that gets all batches of a source."""
    made = [record for batch in source for record in watched.add(batch)]
    return made + watched.finish()


def conditions(made):
    return [r.condition for r in made if isinstance(r, records.Change)]


def assert_as_identified(made, path, reference):
    """Stretches are what `identify` says of the capture, whose spans are returned."""
    spans = identify.compare_capture(path, reference).spans
    stretches = of_kind(made, records.Stretch)
    assert [s.condition for s in stretches] == [span.condition for span in spans]
    for stretch, span in zip(stretches, spans):
        got = stretch.start_s, stretch.end_s, stretch.distance or np.nan
        want = span.start_s, span.end_s, span.distance
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
        assert stretch.example == span.example
    last = of_kind(made, records.Change)[-1]
    assert (last.condition, last.stretch) == (
        spans[-1].condition,
        stretches[-1].stretch,
    )
    return spans
