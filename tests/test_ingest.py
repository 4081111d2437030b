"""Folders of captures to prepared data sets: every bad input has its line."""

import gc
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import unicodedata
from fnmatch import fnmatch

import numpy as np
import pytest

from siamjax.data import naming, prepare, prepared, sources
from siamjax.data.local_reading import LocalReader
from siamjax.types import Events, SiamjaxError, UsageError
from tests import commands
from tests import packet_builder as build
from tests.capture_folders import HEAD, good, lay_out, run

TESTBED = pathlib.Path(__file__).parent.parent / "data/testbed"


def test_good_captures(tmp_path):
    files = {
        "a.pcap": good(),
        "b.pcapng.xz": build.PACK["xz"](build.pcapng(build.call())),
    }
    folder = lay_out(
        tmp_path / "in", files, ["a.pcap,normal,,", "b.pcapng.xz,delay,1,"]
    )
    printed = run(folder, tmp_path / "out")
    data_set = prepared.read_data_set(tmp_path / "out")
    assert [session.name for session in data_set.sessions] == ["a", "b"]
    assert [len(session.labels) for session in data_set.sessions] == [0, 1]
    assert data_set.kinds == tuple(sorted(data_set.kinds))
    kinds = [data_set.kinds[kind] for kind in data_set.sessions[1].events.kind]
    assert kinds[:3] == ["sip:INVITE", "sip:INVITE/100", "sip:INVITE/180"]
    assert "2 sessions: 1 delay, 1 normal" in printed
    assert re.search(r"^all +14 +14 ", printed, re.MULTILINE)
    kept = "".join(path.read_text() for path in (tmp_path / "out").glob("*.*"))
    assert "192.0.2" not in kept and str(tmp_path) not in kept


# One kind of dirt each, beside two good captures: name, data, row, line, still used.
DIRT = [
    ("x.pcap", b"", "x.pcap,delay,1,", "x.pcap: an empty file", False),
    ("x.txt", b"notes", "x.txt,delay,1,", "x.txt: not a capture", False),
    (
        "x.pcap",
        build.pcap([]),
        "x.pcap,delay,1,",
        "x.pcap: a capture without a packet",
        False,
    ),
    (
        "x.pcap",
        good()[:-9],
        "x.pcap,delay,1,",
        "truncated: files whose last packet is cut",
        True,
    ),
    ("x.pcap", None, "x.pcap,delay,1,", "x.pcap: labelled, but there", False),
    ("x.pcap", good(), None, "x.pcap: no label, left out", False),
    ("x.pcap", good(), "x.pcap,delay,2,", "onset of delay at 2 s is after", False),
    ("x.pcap", good(), "x.pcap,delay,soon,", "row 4: onset_s 'soon' is not", False),
    ("x.pcap", good(), "x.pcap,delay,1,0.5", "row 4: clear_s 0.5 is not after", False),
    (
        "x.pcap",
        good(),
        "x.pcap,delay,1,\nx.pcap,delay,1,",
        "row 5: x.pcap is there twice",
        True,
    ),
]


@pytest.mark.parametrize("name, data, row, line, used", DIRT)
def test_dirt_has_a_clear_line_and_harms_nothing_else(
    tmp_path, name, data, row, line, used
):
    files = {"a.pcap": good(1), "b.pcap": good(2)}
    rows = ["a.pcap,normal,,", "b.pcap,delay,1,"]
    clean = lay_out(tmp_path / "clean", files, rows)
    run(clean, tmp_path / "want")
    files |= {name: data} if data is not None else {}
    dirty = lay_out(tmp_path / "in", files, rows + ([row] if row else []))
    assert line in run(dirty, tmp_path / "out")
    got = prepared.read_data_set(tmp_path / "out").sessions
    assert [session.name for session in got] == ["a", "b"] + ["x"] * used
    for session in "ab":
        path = f"sessions/{session}.npz"
        assert (tmp_path / "out" / path).read_bytes() == (
            tmp_path / "want" / path
        ).read_bytes()


def test_where_nothing_is_left_one_line_says_so(tmp_path):
    folder = lay_out(tmp_path / "in", {"x.pcap": b""}, ["x.pcap,normal,,"])
    with pytest.raises(SiamjaxError, match=r"the only file of .* cannot be used"):
        run(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    folder = lay_out(tmp_path / "none", {}, [])
    with pytest.raises(SiamjaxError, match=r"no file in .* has a usable label in"):
        run(folder, tmp_path / "out")


def test_inputs_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere does not exist"):
        run(tmp_path / "nowhere", tmp_path / "out")
    folder = lay_out(tmp_path / "in", {}, [])
    with pytest.raises(UsageError, match=r"other\.csv does not exist"):
        prepare.prepare_packets(folder, folder / "other.csv", tmp_path / "out")
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match=r"pipe is not a file: give a table of labels"):
        prepare.prepare_packets(folder, folder / "pipe", tmp_path / "out")


def test_a_place_that_cannot_be_written_is_refused_before_captures_are_read(
    tmp_path, monkeypatch
):
    folder = lay_out(tmp_path / "in", {"a.pcap": good()}, ["a.pcap,normal,,"])
    monkeypatch.setattr(prepare.reading, "read_all", None)
    with pytest.raises(UsageError, match=r"a\.pcap/new/out cannot be written: Not a"):
        run(folder, folder / "a.pcap/new/out")


def test_the_events_of_few_captures_are_in_memory_at_once(tmp_path, monkeypatch):
    names = [f"{i}.pcap" for i in range(8)]
    captures = {name: good(i) for i, name in enumerate(names)}
    folder = lay_out(tmp_path / "in", captures, [f"{name},normal,," for name in names])
    counts, write = [], np.savez_compressed

    def count_events(*args, **columns):
        gc.collect()
        counts.append(sum(isinstance(x, Events) for x in gc.get_objects()))
        write(*args, **columns)

    monkeypatch.setattr(prepared.np, "savez_compressed", count_events)
    run(folder, tmp_path / "out", reader=LocalReader(workers=1))
    assert len(counts) == 8 and max(counts) <= 2


def test_nobody_need_read_what_the_command_shows(tmp_path):
    names = [f"{i:0200}.pcap" for i in range(50)]  # more than a pipe's buffer in Python
    folder = lay_out(
        tmp_path / "in",
        {name: good() for name in names},
        [f"{name},normal,," for name in names],
    )
    flags = [f"--captures={folder}", f"--labels={folder}/labels.csv", "--workers=1"]
    end, beginning = os.pipe()
    os.close(end)
    with open(beginning, "wb") as closed:
        result = subprocess.run(
            [sys.executable, "-m", "siamjax.ingest", *flags, f"--out={tmp_path}/out"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 141 and "rror" not in result.stderr
    assert len(prepared.read_data_set(tmp_path / "out").sessions) == 50


def test_a_capture_that_expands_beyond_measure_is_left_out_unless_trusted(tmp_path):
    names = build.block(4, bytes((1 << 24) - 12))  # passed over, all zeros
    large = build.pcapng(build.call()) + names * 2
    files = {"a.pcap": good(), "b.pcapng.zst": build.PACK["zst"](large)}
    folder = lay_out(
        tmp_path / "in", files, ["a.pcap,normal,,", "b.pcapng.zst,normal,,"]
    )
    printed = run(folder, tmp_path / "out")
    line = "b.pcapng.zst: .* expand to more than .* --nolimit_expansion, left out"
    assert re.search(line, printed), printed
    assert [s.name for s in prepared.read_data_set(tmp_path / "out").sessions] == ["a"]
    # The same files, read in another way, are not up to date.
    run(folder, tmp_path / "out", limit_expansion=False)
    assert [s.name for s in prepared.read_data_set(tmp_path / "out").sessions] == [
        "a",
        "b",
    ]


def test_files_of_one_name_keep_apart(tmp_path):
    names = ["mon/a.pcap", "tue/a.pcap", "b.pcap", "b.pcapng"]
    folder = lay_out(
        tmp_path / "in",
        {name: good(i) for i, name in enumerate(names)} | {".hidden/c.pcap": good()},
        [f"{name},normal,," for name in names],
    )
    printed = run(folder, tmp_path / "out")
    got = [
        session.name for session in prepared.read_data_set(tmp_path / "out").sessions
    ]
    assert got == ["b.pcap", "b.pcapng", "mon__a.pcap", "tue__a.pcap"]
    assert "left out" not in printed


def command(*flags):
    return commands.run("ingest", *flags)


def test_the_command(tmp_path):
    folder = lay_out(tmp_path / "in", {"a.pcap": good()}, ["a.pcap,normal,,"])
    inputs = [f"--captures={folder}", f"--labels={folder}/labels.csv"]
    code, printed, errors = command(
        *inputs, f"--out={tmp_path}/out", "--server=192.0.2.2"
    )
    assert code == 0 and "given" in printed and errors.count("\n") <= 1
    assert "192.0.2" not in (tmp_path / "out/meta.json").read_text()

    code, _, errors = command(*inputs, f"--out={tmp_path}/o", "--server=somewhere")
    assert code == 2 and "--server=somewhere is not an IP address" in errors
    (folder / "a.pcap").write_bytes(b"")
    code, _, errors = command(*inputs, f"--out={tmp_path}/o")
    assert code == 1 and errors.count("\n") == 1 and "cannot be used" in errors


def test_the_packaged_captures_have_their_labels():
    inputs = sources.list_inputs(TESTBED / "captures", TESTBED / "labels.csv")
    captures, problems = sources.find_sources(inputs)
    assert problems == [] and len(captures) == 102
    conditions = {label.condition for source in captures for label in source.labels}
    assert len(conditions) == 11
    assert sum(not source.labels for source in captures) == 14


def silent():
    """Two frames that are no IP, 2 s apart."""
    frame = b"\xff" * 12 + b"\x08\x06" + bytes(46)
    return build.pcap([(build.START_NS + i * 2 * 10**9, frame) for i in range(2)])


def test_a_capture_without_a_message_is_no_example_unless_silence_is_the_fault(
    tmp_path,
):
    files = {"a.pcap": good(), "x.pcap": silent()}
    folder = lay_out(tmp_path / "in", files, ["a.pcap,normal,,", "x.pcap,dead,1,"])
    printed = run(folder, tmp_path / "out")
    assert "x.pcap: 0 messages of SIP in 2 packets: 2 not_ip (" in printed
    assert "use it with --allow_empty" in printed
    assert [s.name for s in prepared.read_data_set(tmp_path / "out").sessions] == ["a"]
    printed = run(folder, tmp_path / "out", allow_empty=True)
    assert "2 sessions: 1 dead, 1 normal" in printed
    (folder / "labels.csv").write_text(HEAD + "x.pcap,dead,1,\n")
    for allow_empty in (False, True):
        with pytest.raises(SiamjaxError, match="the only file of"):
            run(folder, tmp_path / "new", allow_empty=allow_empty)


def test_what_was_not_read_of_files_that_are_used_is_said_last(tmp_path):
    files = {"a.pcap": good(), "x.pcap": good()[:-9]}
    folder = lay_out(tmp_path / "in", files, ["a.pcap,normal,,", "x.pcap,normal,,"])
    last = run(folder, tmp_path / "out").splitlines()[-1]
    assert last.startswith(
        "warning: 1 of 2 files were not read completely: 1 truncated ("
    )
    assert last.endswith("; x.pcap")


def test_names_of_strangers_are_safe_to_show_and_to_write(tmp_path):
    names = ["caf\udce9.pcap", "a\x1b[31m\nb.pcap", "=1+1.pcap", "x" * 250 + ".gz"]
    files = {name: good(i) for i, name in enumerate(names)}
    folder = lay_out(tmp_path / "in", files | {"n\udce9\x1b.pcap": b"notes"}, [])
    rows = [f'"{name}",=cmd(),1,\n' for name in [*names, "n\udce9\x1b.pcap"]]
    table = HEAD + "".join(rows)
    (folder / "labels.csv").write_bytes(os.fsencode(table))
    (folder / "\x1b[2J\udcff.pcap").write_bytes(good())  # without a label
    printed = run(folder, tmp_path / "out")
    assert printed.replace("\n", "").isprintable() and "4 =cmd()" in printed
    assert "n\\udce9\\x1b.pcap: not a capture" in printed
    kept = [
        session.name for session in prepared.read_data_set(tmp_path / "out").sessions
    ]
    assert kept[:3] == ["=1+1", "a\\x1b[31m\\nb", "caf\\udce9"]
    assert kept[3].startswith("x" * 150) and len(kept[3]) <= naming.LONGEST
    table = (tmp_path / "out/labels.csv").read_text()
    assert "\n'=1+1,'=cmd(),1.0,\n" in table
    report = json.loads((tmp_path / "out/cleaning.json").read_text())
    assert all(line.isprintable() for line in report["problems"])


@pytest.mark.parametrize(
    "files, names",
    [
        (["a/b.pcap", "c.pcap"], ["b", "c"]),
        (["a/b.pcap", "c/b.pcap"], ["a__b.pcap", "c__b.pcap"]),
        (["B.pcap", "b.pcap"], ["B.pcap-*", "b.pcap-*"]),
        (
            ["a/b.pcap", "a__b.pcap", "a__b.pcapng", "c/b.pcap"],
            ["a__b.pcap-*", "a__b.pcap-*", "a__b.pcapng", "c__b.pcap"],
        ),
        (
            ["a__b.pcap.pcap", "a/b.pcap", "c/b.pcap"],
            ["a__b", "a__b.pcap", "c__b.pcap"],
        ),
        (["caf\u00e9.pcap", "cafe\u0301.pcap"], ["caf*", "caf*"]),
        (["..pcap", ".."], ["..pcap", ".."]),
    ],
)
def test_no_two_sessions_share_a_name(files, names):
    inode = naming.session_names(files)
    assert set(inode) == set(files)
    assert all(fnmatch(inode[file], name) for file, name in zip(files, names))
    alike = {unicodedata.normalize("NFC", name.casefold()) for name in inode.values()}
    assert len(alike) == len(files)
    assert inode == naming.session_names(files[::-1])


def test_a_file_that_the_system_does_not_read_harms_no_other(tmp_path):
    folder = lay_out(tmp_path / "in", {"a.pcap": good()}, [])
    (folder / "x.pcap").symlink_to("/proc/self/mem")
    (folder / "labels.csv").write_text(HEAD + "a.pcap,normal,,\nx.pcap,normal,,\n")
    for _ in range(2):  # the system may read it another time: it is tried again
        printed = run(folder, tmp_path / "out")
        assert re.search(r"^x\.pcap.*Input/output error.*, left out$", printed, re.M)
    assert [s.name for s in prepared.read_data_set(tmp_path / "out").sessions] == ["a"]


def test_a_capture_that_is_there_twice_is_named(tmp_path):
    files = {"a.pcap": good(), "b.pcap": good(1), "x/a.pcap": good()}
    rows = [f"{file},normal,," for file in files]
    folder = lay_out(tmp_path / "in", files, rows)
    said = run(folder, tmp_path / "out")
    line = "warning: 1 files have the content of another: x/a.pcap of a.pcap: it counts"
    assert line in said
    cleaning = json.loads((tmp_path / "out/cleaning.json").read_text())
    assert cleaning["problems"][0].startswith(line)


def test_several_folders_are_joined_with_their_labels(tmp_path):
    rows = ["a.pcap,normal,,", "b.pcap,slow,0.001,"]
    one = lay_out(tmp_path / "one", {"a.pcap": good(), "b.pcap": good(1)}, rows)
    (tmp_path / "x").mkdir()
    rows = ["a.pcap,slow,0.002,", "z.pcap,slow,1,"]
    two = lay_out(tmp_path / "x/two", {"a.pcap": good(2)}, rows)
    flags = [f"--captures={one}", f"--labels={one}/labels.csv"]
    more = [f"--captures={two}", f"--labels={two}/labels.csv"]
    done = commands.run(
        "ingest", *flags, *more, f"--out={tmp_path / 'out'}", "--workers=1"
    )
    assert done.returncode == 0, done.stderr
    assert "x/two/z.pcap: labelled, but there is no such file" in done.stdout
    sessions = prepared.read_data_set(tmp_path / "out").sessions
    assert {s.name: [x.onset_s for x in s.labels] for s in sessions} == {
        "one__a.pcap": [],
        "b": [0.001],
        "x__two__a.pcap": [0.002],
    }
    done = commands.run("ingest", *flags, *more, f"--out={tmp_path / 'out'}")
    assert done.stdout.splitlines()[-1].endswith("out is up to date")
    for wrong, reason in (
        ([*flags, more[0]], "2 --captures have 1 --labels"),
        ([*flags, f"--captures={one / 'a.pcap'}", more[1]], "a.pcap is in "),
    ):
        done = commands.run("ingest", *wrong, f"--out={tmp_path / 'more'}")
        assert done.returncode == 2 and reason in done.stderr


def test_a_named_pipe_is_read_as_it_comes(tmp_path):
    pipe = tmp_path / "a.pcap"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # does not wait for the reader
    os.write(writer, good())
    (tmp_path / "labels.csv").write_text(HEAD + "a.pcap,normal,,\n")
    closing = threading.Timer(1.0, os.close, [writer])
    closing.start()
    said = []
    prepare.prepare_packets(
        pipe,
        tmp_path / "labels.csv",
        tmp_path / "out",
        reader=LocalReader(1),
        say=said.append,
    )
    closing.join()
    assert "out: 1 session: 1 normal" in "\n".join(said)
    assert not (tmp_path / ".out.read").exists()
