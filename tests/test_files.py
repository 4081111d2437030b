"""Files are old or new as a whole; locks; what strangers wrote is safe to show."""

import errno
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from siamjax import files, streams, text
from siamjax.types import SiamjaxError, UsageError


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(RuntimeError), files.replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert files.read_json(path, "") == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(UsageError, match="is a folder: give the name of a file"):
        files.write_json(tmp_path, {})


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path):
    code = (
        "import os, signal, sys; from siamjax import files\n"
        "with files.replacing(sys.argv[1]) as beside:\n"
        "    beside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "a.txt"
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1  # and it is not a.txt
    files.write_text(path, "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_that_fails_names_its_file():
    with pytest.raises(OSError, match=r"No space left.*/dev/full"):
        with files.open_file("/dev/full", "w") as file:
            file.write("x")
    with pytest.raises(OSError, match=r"No space left.*/dev/full"):
        with files.open_file("/dev/full", "w") as file:
            file.write("x")
            files.sync(file)


def test_a_lock_on_nothing_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.locked(tmp_path / "a" / "b"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), files.locked(tmp_path / "a"):
        files.write_text(tmp_path / "a" / "log", "x")
        raise RuntimeError
    assert (tmp_path / "a" / "log").exists()
    files.check_writable(tmp_path / "c" / "d" / "config.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_another_process_may_remove_a_folder_that_both_try(tmp_path, monkeypatch):
    beside, removed = files._beside, []

    def remove_first(path, mark):
        if not removed:
            removed.append(path.parent.rmdir())
        return beside(path, mark)

    monkeypatch.setattr(files, "_beside", remove_first)
    files.check_writable(tmp_path / "new" / "config.json")
    assert removed and list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UsageError, match=r"a\.txt/new/b cannot be written: Not a dir"):
        files.check_writable(tmp_path / "a.txt" / "new" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path):
    code = (
        "import sys; from siamjax import files\n"
        "print('waits', flush=True)\n"
        "with files.locked(sys.argv[1], wait=True): print('held', flush=True); input()"
    )
    with pytest.raises(RuntimeError), files.locked(tmp_path / "a"):
        waiting = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "a")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert waiting.stdout.readline() == "waits\n"
        time.sleep(0.2)
        raise RuntimeError
    assert waiting.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="in use"), files.locked(tmp_path / "a"):
        pass
    waiting.communicate("\n")


def test_a_folder_that_cannot_be_written_is_said_to_be_so_where_it_is_locked(
    tmp_path, monkeypatch
):
    def refuse(*args, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / ".lock"))

    monkeypatch.setattr("builtins.open", refuse)
    with (
        pytest.raises(
            UsageError, match=r"cannot be written: Read-only .* give another"
        ),
        files.locked(tmp_path),
    ):
        pass


def test_a_damaged_file_is_one_line_with_its_name_and_a_remedy(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\x00{")
    with pytest.raises(files.Damaged, match=r"a\.json is damaged .*: run it again"):
        files.read_json(path, "run it again")


def test_a_lack_of_memory_is_one_line_and_no_damage():
    with pytest.raises(SiamjaxError, match="needs more memory than there is") as error:
        with files.parsing("a.json", "run it again"):
            raise MemoryError
    assert not isinstance(error.value, files.Damaged)


def test_a_failing_read_names_its_file_and_a_defect_passes():
    for error in (MemoryError(), OSError(5, "Input/output error")):
        with pytest.raises(SiamjaxError, match=r"a\.pcap (needs|cannot be read)"):
            with files.reading("a.pcap"):
                raise error
    with pytest.raises(IndexError), files.reading("a.pcap"):
        raise IndexError


def test_a_lock_names_who_holds_it_and_ends_with_the_process(tmp_path):
    code = (
        "import sys; from siamjax import files\n"
        "with files.locked(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    with (
        pytest.raises(UsageError, match=f"process {holder.pid} on"),
        files.locked(tmp_path),
    ):
        raise AssertionError("two processes hold one folder")
    holder.kill()
    holder.communicate()
    with files.locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


@pytest.mark.parametrize(
    "value", ["=1+1", "+49", "-x", "@a", "\tx", "plain", "'a", "'=1", ""]
)
def test_a_cell_is_no_formula_and_comes_back(value):
    cell = files.escape_cell(value)
    assert not cell.startswith(("=", "@", "\t", "-x"))
    assert files.unescape_cell(cell) == value


def test_numbers_are_no_formulas():
    assert files.escape_cell("-0.5") == "-0.5"
    assert files.escape_cell(-0.5) == -0.5


def test_what_is_shown_has_no_control_characters():
    assert text.printable("a\x1b[31m\nb\u202e") == "a\\x1b[31m\\nb\\u202e"
    assert text.printable(os.fsdecode(b"caf\xe9")) == "caf\\udce9"
    assert text.short("x" * 30 + "y" * 600, 21) == "x" * 10 + "…" + "y" * 10


def test_streams_of_all_names_seeds_and_steps_differ():
    names = [v for k, v in vars(streams).items() if k.isupper()]
    assert len(set(names)) == len(names)
    keys = {
        tuple(np.asarray(jax.random.key_data(streams.stream(seed, name, step))))
        for seed in (0, 1, 0x5EED, 0x7091)
        for name in names
        for step in range(5)
    }
    assert len(keys) == 4 * len(names) * 5


def fill(folder, text):
    (folder / "a").write_text(text)
    (folder / "deep").mkdir()
    (folder / "deep/b").write_text(text)


def held(folder):
    return (folder / "a").read_text(), (folder / "deep/b").read_text()


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path, exchange, monkeypatch):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, two: False)
    real = tmp_path / "disk/real"
    for text_ in ("one", "two"):
        with files.replacing_folder(real) as beside:
            fill(beside, text_)
    with pytest.raises(RuntimeError), files.replacing_folder(real) as beside:
        (beside / "a").write_text("half")
        raise RuntimeError
    assert held(real) == ("two", "two")
    (tmp_path / "link").symlink_to(real)
    with files.replacing_folder(tmp_path / "link") as beside:
        fill(beside, "three")
    assert held(real) == ("three", "three") and (tmp_path / "link").is_symlink()
    assert [path.name for path in real.parent.iterdir()] == ["real"]


# Replaces a folder, without an exchange, and dies with the old folder moved aside.
DIES_BETWEEN = """
import os, signal, sys
from siamjax import files
rename = os.rename
def once_then_die(one, two):
    rename(one, two)
    if ".old." in str(two):
        os.kill(os.getpid(), signal.SIGKILL)
files._exchange, os.rename = lambda one, two: False, once_then_die
with files.replacing_folder(sys.argv[1]) as beside:
    (beside / "a").write_text("new")
"""


def test_a_folder_moved_aside_by_a_killed_process_comes_back(tmp_path):
    folder = tmp_path / "set"
    with files.replacing_folder(folder) as beside:
        fill(beside, "old")
    done = subprocess.run([sys.executable, "-c", DIES_BETWEEN, str(folder)])
    assert done.returncode == -signal.SIGKILL and not folder.exists()
    files.recover_folder(folder)
    assert held(folder) == ("old", "old")
    assert len(list(tmp_path.iterdir())) == 2  # and what was to be the new one
    files.remove_leftovers(folder)
    assert list(tmp_path.iterdir()) == [folder]


REPLACES_OFTEN = """
import sys
from siamjax import files
for _ in range(20):
    with files.replacing_folder(sys.argv[1]) as beside:
        for name in "ab":
            (beside / name).write_text(sys.argv[2])
"""


def test_of_two_processes_that_replace_one_folder_one_stays(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    others = [
        subprocess.Popen([sys.executable, "-c", REPLACES_OFTEN, str(folder), number])
        for number in "12"
    ]
    while any(process.poll() is None for process in others):
        assert folder.is_dir()  # at every moment
        time.sleep(0.0001)
    assert [process.returncode for process in others] == [0, 0]
    assert [(folder / name).read_text() for name in "ab"] in (["1"] * 2, ["2"] * 2)
    assert list(tmp_path.iterdir()) == [folder]


def test_files_behind_links_are_listed_once_and_a_circle_ends(tmp_path):
    folder, away = tmp_path / "folder", tmp_path / "away"
    (folder / "sub").mkdir(parents=True)
    away.mkdir()
    for path in (folder / "a", folder / "sub/b", away / "c"):
        path.write_bytes(b"")
    (folder / "link").symlink_to(away)
    (folder / "again").symlink_to(away)
    (away / "circle").symlink_to(folder)
    (folder / "broken").symlink_to(tmp_path / "nothing")
    listed = [str(p.relative_to(folder)) for p in files.list_files(folder)]
    assert listed == ["a", "broken", "again/c", "sub/b"]
