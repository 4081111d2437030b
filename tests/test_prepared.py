"""The prepared data set as a folder: back as it was, whole or not at all."""

import json
import math

import numpy as np
import pytest

from siamjax import files
from siamjax.data import prepared
from siamjax.types import (
    DataSet,
    Events,
    Label,
    Series,
    Session,
    SiamjaxError,
    UsageError,
)
from tests import packet_builder as build
from tests.capture_folders import digests

# Every byte takes 5 s: each test run tries some.
STRIDE = 17


def events(count, seed=0, packets=None):
    rng = np.random.default_rng(seed)
    return Events(
        np.sort(rng.integers(0, 10**11, count)),
        rng.integers(0, 3, count).astype(np.int8),
        rng.integers(0, 2, count).astype(np.int32),
        rng.integers(0, 2, count).astype(bool),
        rng.integers(-1, 10**9, count),
        packets,
    )


def data_set():
    labels = (Label("blocked", 0.1 + 0.2, 40.0), Label("delay", 1 / 3 + 50, math.inf))
    sessions = (
        Session("a", 99.926005, labels, events(50, packets=np.arange(50)), None),
        Session("b", 10.0, (), events(0), None),
    )
    return DataSet(
        sessions, ("sip:INVITE", "sip:INVITE/200"), {"version": "1", "options": {}}
    )


def assert_same(one, two):
    assert one.kinds == two.kinds
    for a, b in zip(one.sessions, two.sessions, strict=True):
        assert (a.name, a.span_s, a.labels) == (b.name, b.span_s, b.labels)
        columns = zip(a.events or a.series, b.events or b.series, strict=True)
        for x, y in columns:
            np.testing.assert_array_equal(x, y)
            assert np.asarray(x).dtype == np.asarray(y).dtype


def test_what_was_written_is_read(tmp_path):
    prepared.write_data_set(tmp_path / "new/set", data_set(), {"total": 1})
    got = prepared.read_data_set(tmp_path / "new/set")
    assert_same(got, data_set())
    assert got.meta["version"] == "1"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["set"]


def test_counters_are_read_as_series(tmp_path):
    values = np.array([[1.5, np.nan], [2.5, 3.5]], np.float32)
    series = Series(np.array([0, 60 * 10**9]), values)
    original = DataSet((Session("day", 60.0, (), None, series),), ("cpu", "rx"), {})
    prepared.write_data_set(tmp_path / "set", original, {})
    got = prepared.read_data_set(tmp_path / "set")
    assert got.sessions[0].events is None
    assert_same(got, original)


def test_the_same_set_has_the_same_bytes(tmp_path):
    prepared.write_data_set(tmp_path / "one", data_set(), {"x": 1})
    prepared.write_data_set(tmp_path / "two", data_set(), {"x": 1})
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_a_write_that_fails_leaves_the_old_set(tmp_path):
    prepared.write_data_set(tmp_path / "set", data_set(), {})
    before = digests(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        prepared.write_data_set(tmp_path / "set", data_set(), {"rate": math.nan})
    assert digests(tmp_path) == before


def test_a_set_is_replaced_and_what_else_stands_there_is_not(tmp_path):
    prepared.write_data_set(tmp_path / "set", data_set(), {})
    fewer = data_set()._replace(sessions=data_set().sessions[:1])
    prepared.write_data_set(tmp_path / "set", fewer, {})
    assert_same(prepared.read_data_set(tmp_path / "set"), fewer)

    (tmp_path / "empty").mkdir()
    prepared.write_data_set(tmp_path / "empty", fewer, {})

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("years of work")
    (tmp_path / "file").write_text("also")
    for name, says in dict(mine="has notes.txt", file="is not a folder").items():
        with pytest.raises(UsageError, match=says):
            prepared.write_data_set(tmp_path / name, fewer, {})
    assert (tmp_path / "mine/notes.txt").read_text() == "years of work"


def test_reading_says_how_a_missing_set_is_made(tmp_path):
    with pytest.raises(UsageError, match=r"siamjax ingest --captures=DIR"):
        prepared.read_data_set(tmp_path / "none")


def test_another_format_is_refused(tmp_path):
    prepared.write_data_set(tmp_path / "set", data_set(), {})
    meta = tmp_path / "set/meta.json"
    meta.write_text(meta.read_text().replace('"format": 1', '"format": 0'))
    with pytest.raises(UsageError, match="format 0, this version reads 1"):
        prepared.read_data_set(tmp_path / "set")


@pytest.mark.parametrize(
    "path, name",
    [
        ("a/b/blocked_001.pcap.xz", "blocked_001"),
        ("x.PCAPNG", "x"),
        ("2026-01-02.csv.gz", "2026-01-02"),
        ("trace.pcap.3", "trace.pcap.3"),
        ("v1.2", "v1.2"),
        (".pcap", ".pcap"),
    ],
)
def test_a_session_has_the_name_of_its_file(path, name):
    assert prepared.session_name(path) == name


def test_a_bare_capture_is_a_session(tmp_path):
    path = tmp_path / "some.pcap"
    path.write_bytes(build.pcap(build.call()))
    session, kinds, report = prepared.session_from_capture(path)
    assert (session.name, session.span_s, session.labels) == ("some", 2.0, ())
    assert len(session.events.time_ns) == 7 and "sip:INVITE/200" in kinds
    assert report.messages == 7


def test_the_hash_of_a_session_does_not_depend_on_the_others():
    original = data_set()
    wider = original._replace(
        kinds=("sip:ACK", *original.kinds), sessions=original.sessions[:1]
    )
    kinds = wider.sessions[0].events.kind + np.int32(1)
    events_ = wider.sessions[0].events._replace(kind=kinds)
    wider = wider._replace(sessions=(wider.sessions[0]._replace(events=events_),))
    assert prepared.content_hashes(wider)["a"] == prepared.content_hashes(original)["a"]
    assert prepared.data_hash(wider) != prepared.data_hash(original)


def counted(values, names):
    series = prepared.to_series(np.array(values, float), 10**9)
    return DataSet((Session("day", 3.0, (), None, series),), names, {})


def test_a_column_that_was_not_measured_changes_no_hash():
    original = counted([[1, 2], [3, 4]], ("cpu", "rx"))
    other = counted([[2, np.nan, 1], [4, np.nan, 3]], ("rx", "temp", "cpu"))
    assert prepared.content_hashes(original) == prepared.content_hashes(other)
    assert prepared.data_hash(original) != prepared.data_hash(other)
    grows = original._replace(meta={"growing": ["rx"]})
    assert prepared.data_hash(grows) != prepared.data_hash(original)


@pytest.mark.parametrize("part", ["time_ns", "direction", "kind", "latency_ns"])
def test_a_changed_event_changes_the_hash(part):
    original = data_set()
    session = original.sessions[0]
    column = getattr(session.events, part).copy()
    column[7] += 1 if column[7] == 0 else -1
    for changed in (
        session._replace(events=session.events._replace(**{part: column})),
        session._replace(labels=session.labels[:1]),
        session._replace(span_s=session.span_s + 1e-9),
    ):
        other = original._replace(sessions=(changed, original.sessions[1]))
        assert prepared.data_hash(other) != prepared.data_hash(original)
        assert (
            prepared.content_hashes(other)["b"]
            == prepared.content_hashes(original)["b"]
        )


def test_hashes_are_kept_and_a_set_without_them_is_read(tmp_path):
    prepared.write_data_set(tmp_path / "set", data_set(), {})
    meta = json.loads((tmp_path / "set/meta.json").read_text())
    assert meta["content_sha256"] == prepared.content_hashes(data_set())
    assert meta["data_sha256"] == prepared.data_hash(
        prepared.read_data_set(tmp_path / "set")
    )
    del meta["content_sha256"], meta["data_sha256"]  # as older versions wrote it
    (tmp_path / "set/meta.json").write_text(json.dumps(meta))
    assert_same(prepared.read_data_set(tmp_path / "set"), data_set())


def test_each_flipped_byte_of_a_set_is_said_in_one_line(tmp_path):
    small = data_set()
    small = small._replace(sessions=small.sessions[1:])
    prepared.write_data_set(tmp_path / "set", small, {})
    for name in ("sessions/b.npz", "labels.csv", "meta.json"):
        path = tmp_path / "set" / name
        data = path.read_bytes()
        for place in range(0, len(data), STRIDE):
            changed = bytearray(data)
            changed[place] ^= 0x24
            path.write_bytes(changed)
            try:
                assert_same(prepared.read_data_set(tmp_path / "set"), small)
            except SiamjaxError as error:
                assert "siamjax ingest" in str(error) and "\n" not in str(error)
                assert str(tmp_path / "set") in str(error)
        path.write_bytes(data)


@pytest.mark.parametrize("name", ["sessions/a.npz", "labels.csv", "meta.json"])
@pytest.mark.parametrize("data", [b"", b"\xff\0{", b"[]", b'"' + b"x" * 200_000, None])
def test_a_damaged_or_lost_file_is_named_with_what_to_do(tmp_path, name, data):
    prepared.write_data_set(tmp_path / "set", data_set(), {})
    path = tmp_path / "set" / name
    path.write_bytes(data) if data is not None else path.unlink()
    lost = "set is not a" if (name, data) == ("meta.json", None) else name
    with pytest.raises(SiamjaxError, match=f"{lost}.*siamjax ingest"):
        prepared.read_data_set(tmp_path / "set")


def test_labels_changed_by_hand_are_not_taken_for_those_written(tmp_path):
    prepared.write_data_set(tmp_path / "set", data_set(), {})
    path = tmp_path / "set/labels.csv"
    path.write_text(path.read_text().replace("blocked", "delay"))
    with pytest.raises(files.Damaged, match=r"sessions/a\.npz, or its labels in"):
        prepared.read_data_set(tmp_path / "set")
