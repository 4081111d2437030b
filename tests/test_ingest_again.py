"""An ingest that is repeated: what was read is kept, what changed is read again."""

import itertools
import shutil
import signal
import subprocess
import sys

import pytest

from siamjax.data import prepare, prepared
from siamjax.data.local_reading import LocalReader
from tests import packet_builder as build
from tests.capture_folders import HEAD, digests, good, lay_out, run


def test_the_same_input_gives_the_same_bytes_with_one_worker_or_two(tmp_path):
    names = [f"{i}.pcap" for i in range(5)]
    files = {name: good(i) for i, name in enumerate(names)}
    folder = lay_out(tmp_path / "in", files, [f"{name},normal,," for name in names])
    run(folder, tmp_path / "one", reader=LocalReader(1))
    run(folder, tmp_path / "two", reader=LocalReader(2))
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_a_set_is_made_again_only_of_other_input(tmp_path):
    folder = lay_out(tmp_path / "in", {"a.pcap": good()}, ["a.pcap,normal,,"])
    run(folder, tmp_path / "out")
    inode = (tmp_path / "out/meta.json").stat().st_ino
    assert "is up to date" in run(folder, tmp_path / "out")
    assert (tmp_path / "out/meta.json").stat().st_ino == inode
    (folder / "a.pcap").write_bytes(good(1))
    assert "up to date" not in run(folder, tmp_path / "out")
    (folder / "labels.csv").write_text(HEAD + "a.pcap,delay,1,\n")
    assert "up to date" not in run(folder, tmp_path / "out")
    assert (
        prepared.read_data_set(tmp_path / "out").sessions[0].labels[0].condition
        == "delay"
    )


@pytest.mark.parametrize("name", ["meta.json", "labels.csv", "sessions/a.npz"])
def test_a_damaged_set_is_made_again(tmp_path, name):
    folder = lay_out(tmp_path / "in", {"a.pcap": good()}, ["a.pcap,delay,1,"])
    run(folder, tmp_path / "out")
    before = digests(tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(b"\xff\0{")
    assert "up to date" not in run(folder, tmp_path / "out")
    assert digests(tmp_path / "out") == before


def test_a_file_that_was_read_without_enough_memory_is_tried_again(
    tmp_path, monkeypatch
):
    files = {"a.pcap": good(), "x.pcap": good(1)}
    folder = lay_out(tmp_path / "in", files, ["a.pcap,normal,,", "x.pcap,normal,,"])
    read = prepare.events.read_events

    def short_of_memory(path, *arguments, **options):
        if path.name == "x.pcap":
            raise MemoryError
        return read(path, *arguments, **options)

    monkeypatch.setattr(prepare.events, "read_events", short_of_memory)
    assert "x.pcap: not enough memory to read it, left out" in run(
        folder, tmp_path / "out"
    )
    monkeypatch.undo()
    assert "2 sessions" in run(folder, tmp_path / "out")


# Ingests until the data set is half written, and waits to be ended.
HALF_WRITTEN = """
import pathlib, sys, time
from siamjax import cli
from siamjax.data import naming, prepare, prepared
from siamjax.data.local_reading import LocalReader
fill = prepared._fill
def fill_and_wait(folder, *rest):
    fill(folder, *rest)
    print("written", flush=True)
    time.sleep(60)
prepared._fill = fill_and_wait
folder, out = map(pathlib.Path, (sys.argv.pop(1), sys.argv.pop(1)))
cli.run(lambda argv: prepare.prepare_packets(
    folder, folder / "labels.csv", out, reader=LocalReader(1), say=lambda line: None
))
"""


def test_what_was_read_before_is_not_read_again(tmp_path, monkeypatch):
    """Not after more files came, not after Ctrl-C; but after another option."""
    files = {f"{name}.pcap": good(i) for i, name in enumerate("abc")}
    rows = [f"{name},normal,," for name in files]
    folder = lay_out(tmp_path / "in", files, rows[:2])
    read, paths, stops = prepare.events.read_events, [], [True]

    def read_noting(path, *arguments, **options):
        paths.append(path.name)
        if path.name == "c.pcap" and stops and stops.pop():
            raise KeyboardInterrupt
        return read(path, *arguments, **options)

    monkeypatch.setattr(prepare.events, "read_events", read_noting)
    run(folder, tmp_path / "out")
    assert paths == ["a.pcap", "b.pcap"]
    (folder / "d.pcap").write_bytes(good(3))
    text = HEAD + "\n".join([*rows, "d.pcap,delay,0.001,"]) + "\n"
    (folder / "labels.csv").write_text(text)
    (folder / "a.pcap").write_bytes(good(7))  # it changed
    paths.clear()
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out")
    assert paths == ["a.pcap", "c.pcap"]
    paths.clear()
    said = run(folder, tmp_path / "out")
    assert paths == ["c.pcap", "d.pcap"] and "2 of 4 files were read before" in said
    # The same as if all were read at once.
    paths.clear()
    run(folder, tmp_path / "fresh")
    assert len(paths) == 4
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")
    assert len(list((tmp_path / ".out.read").iterdir())) == 4
    paths.clear()
    run(folder, tmp_path / "out", protocols=["sip"])
    assert len(paths) == 4
    # A damaged entry counts as none.
    entry = sorted((tmp_path / ".out.read").iterdir())[0]
    entry.write_bytes(entry.read_bytes()[:99])
    (folder / "labels.csv").write_text(text + "\n")
    paths.clear()
    run(folder, tmp_path / "out", protocols=["sip"])
    assert len(paths) == 1


def test_a_file_that_grows_is_read_so_far_and_again_when_it_has_grown(
    tmp_path, monkeypatch
):
    whole = good()
    cuts = [0, len(build.pcap(build.call()[:4])) + 30, len(whole) - 9, len(whole)]
    pieces = [whole[start:end] for start, end in itertools.pairwise(cuts)]
    folder = lay_out(tmp_path / "in", {"a.pcap": pieces[0]}, ["a.pcap,normal,,"])
    said = run(folder, tmp_path / "out")
    assert "1 truncated (files whose last packet is cut, perhaps still being" in said
    read, appended = prepare.events.read_events, [pieces[1]]

    def read_while_it_grows(path, *arguments, **options):
        result = read(path, *arguments, **options)
        with open(path, "ab") as file:
            file.write(appended.pop() if appended else b"")
        return result

    monkeypatch.setattr(prepare.events, "read_events", read_while_it_grows)
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / ".out.read")
    said = run(folder, tmp_path / "out")
    assert (
        "a.pcap: still being written: what was complete is used; ingest again" in said
    )
    assert len(prepared.read_data_set(tmp_path / "out").sessions[0].events.kind) == 4
    # It has not grown since, but more than what was read.
    said = run(folder, tmp_path / "out")
    assert "a.pcap: still being written" not in said and "up to date" not in said
    assert len(prepared.read_data_set(tmp_path / "out").sessions[0].events.kind) == 6
    assert run(folder, tmp_path / "out").endswith("is up to date")
    with open(folder / "a.pcap", "ab") as file:
        file.write(pieces[2])
    run(folder, tmp_path / "out")
    run(lay_out(tmp_path / "x", {"a.pcap": whole}, ["a.pcap,normal,,"]), tmp_path / "y")
    assert digests(tmp_path / "out") == digests(tmp_path / "y")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_ingest_that_is_ended_leaves_the_old_set_and_nothing_beside_it(
    tmp_path, number
):
    folder = lay_out(tmp_path / "in", {"a.pcap": good()}, ["a.pcap,normal,,"])
    data_set = tmp_path / "sets/out"
    run(folder, data_set)
    before = digests(data_set)
    (folder / "a.pcap").write_bytes(good(1))
    child = subprocess.Popen(
        [sys.executable, "-c", HALF_WRITTEN, str(folder), str(data_set)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "written\n"
    child.send_signal(number)
    _, errors = child.communicate(timeout=20)
    assert digests(data_set) == before and "Traceback" not in errors
    if number == signal.SIGTERM:
        assert child.returncode == 143 and errors.count("\n") == 1
    else:
        assert len(list(data_set.parent.iterdir())) == 3
        run(folder, data_set)
    readings = data_set.parent / ".out.read"  # kept for the next ingest
    assert set(data_set.parent.iterdir()) == {data_set, readings}
    assert len(list(readings.iterdir())) == 1
