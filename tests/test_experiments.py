"""The runner of experiments: nothing is done twice, nothing lost, nobody waited for."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from configs import default
from siamjax import files
from siamjax.config import from_dict
from siamjax.experiments import runner, settings
from siamjax.types import SiamjaxError, UsageError

ROOT = pathlib.Path(__file__).parent.parent
CELLS = [dict(number=n, name="x") for n in range(4)]


def square(cell):
    with open(cell.get("log", os.devnull), "a") as file:
        file.write(f"{cell['number']}\n")
    return dict(square=cell["number"] ** 2)


def only_even(cell):
    if cell["number"] % 2:
        raise ValueError("an odd number")
    return cell["number"]


def test_a_cell_that_has_a_row_is_not_run_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    cells = [dict(cell, log=str(tmp_path / "log")) for cell in CELLS]
    first = runner.run_cells(square, cells[:3], path)
    assert runner.run_cells(square, cells[::-1], path) == [dict(square=9), *first[::-1]]
    assert sorted((tmp_path / "log").read_text().split()) == list("0123")


@pytest.mark.parametrize("cut", [1, 20])
def test_a_row_that_was_cut_is_dropped_and_run_again(tmp_path, cut):
    path = tmp_path / "rows.jsonl"
    runner.run_cells(square, CELLS[:3], path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(runner.read_rows(path)) == 2
    assert runner.run_cells(square, CELLS, path) == [square(cell) for cell in CELLS]
    assert [row["cell"] for row in runner.read_rows(path)] == CELLS


def test_a_damaged_row_is_one_line_with_a_remedy(tmp_path):
    path = tmp_path / "rows.jsonl"
    for content in (b"\x00\xff{\n", b"[1]\n"):
        path.write_bytes(content)
        with pytest.raises(files.Damaged, match="delete the damaged line"):
            runner.run_cells(square, CELLS, path)


def test_a_failed_cell_stops_no_other(tmp_path):
    path = tmp_path / "rows.jsonl"
    with pytest.raises(SiamjaxError, match=r"2 of 4 cells failed.*an odd number"):
        runner.run_cells(only_even, CELLS, path)
    assert [row["result"] for row in runner.read_rows(path)] == [0, 2]


def test_a_run_without_a_row_leaves_nothing(tmp_path):
    def refuse(cell):
        raise UsageError("there is no data")

    path = tmp_path / "a" / "b" / "rows.jsonl"
    with pytest.raises(UsageError, match="there is no data"):
        runner.run_cells(refuse, CELLS, path)
    assert list(tmp_path.iterdir()) == []
    runner.run_cells(square, CELLS[:1], path)
    with pytest.raises(UsageError, match="there is no data"):
        runner.run_cells(refuse, CELLS, path)
    assert len(runner.read_rows(path)) == 1


def test_one_process_runs_on_a_file(tmp_path):
    path = tmp_path / "rows.jsonl"

    def again(cell):
        runner.run_cells(square, CELLS, path)

    with pytest.raises(UsageError, match="in use by another process"):
        runner.run_cells(again, CELLS, path)


@pytest.mark.parametrize(
    "items",
    [
        ("a", "b", "c"),
        ("triplet:margin=soft,mining=hard", "my.mine"),
        ("memory:loss=(triplet:margin=1,mining=all)", "x:b=2"),
        ("wide:encoder.hidden=(128,),steps=400", "default"),
    ],
)
def test_lists_of_losses_and_settings(items):
    assert settings.split_list(",".join(items)) == items


def test_a_setting_is_checked_as_the_config_is():
    config = from_dict(default.get_config())
    wide = settings.apply_setting(config, "wide:encoder.hidden=(128,),data.clip=3.0")
    assert wide.encoder.hidden == (128,) and wide.data.clip == 3.0
    assert settings.apply_setting(config, "default") == config
    for text, message in (
        ("x:steps=-5", r"config\.steps is -5"),
        ("x:data.depth=1", r"config\.data\.depth is no field"),
        ("x:steps", "not key=value"),
        ("x:steps=1+y:steps=2", "is not NAME:field=value"),
    ):
        with pytest.raises(UsageError, match=message):
            settings.apply_setting(config, text)
    settings.check_names(["a:steps=1", "a:steps=1", "b"])
    with pytest.raises(UsageError, match="two settings are named a"):
        settings.check_names(["a:steps=1", "a:steps=2"])


WORK = """
import os, signal, sys, time

if __name__ != "__main__":
    {at_import}

def work(number):
    {before}
    return 10 * number

if __name__ == "__main__":
    from siamjax.experiments import runner
    for index, outcome in runner.run_unordered(work, range(4), workers=2):
        print(index, outcome, flush=True)
"""


def script(tmp_path, at_import="pass", before="pass"):
    path = tmp_path / "script.py"
    path.write_text(WORK.format(at_import=at_import, before=before))
    return dict(
        args=[sys.executable, path], env=os.environ | dict(PYTHONPATH=str(ROOT))
    )


def answers(tmp_path, **how):
    made = subprocess.run(
        **script(tmp_path, **how),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return dict(line.split(maxsplit=1) for line in made.stdout.splitlines())


def test_workers_share_the_cells(tmp_path):
    assert answers(tmp_path) == {"0": "0", "1": "10", "2": "20", "3": "30"}


@pytest.mark.parametrize(
    "death, says", [("raise ImportError", "code 1"), ("os._exit(7)", "code 7")]
)
def test_workers_that_die_at_import_are_told(tmp_path, death, says):
    told = answers(tmp_path, at_import=death)
    assert sorted(told) == list("0123") and all("Failed" in x for x in told.values())
    assert all(f"died with exit {says}" in x for x in told.values())


def test_a_worker_that_is_killed_is_told_and_the_other_goes_on(tmp_path):
    killed = "number == 1 and os.kill(os.getpid(), signal.SIGKILL)"
    told = answers(tmp_path, before=killed)
    assert "was killed by SIGKILL" in told.pop("1")
    assert told == {"0": "0", "2": "20", "3": "30"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_began_them(tmp_path, number):
    ended = tmp_path / "ended"
    ended.mkdir()
    before = f"""
    try:
        print("began", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        open(f"{ended}/{{number}}", "w")
        raise"""
    parent = subprocess.Popen(
        **script(tmp_path, before=before),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(2):
        assert parent.stdout.readline(), "a worker did not begin"
    parent.send_signal(number)
    parent.communicate(timeout=60)  # the workers hold the other end of this pipe, too
    interrupted = {path.name for path in ended.iterdir()}
    assert interrupted == (set() if number == signal.SIGKILL else {"0", "1"})
