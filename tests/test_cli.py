"""Wrong usage is one clear line and 2, help is no failure, no traceback is shown."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def run(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=cwd
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["siamjax.train", "--workdir=x", "--config.stpes=3"], "no field 'stpes' Did"),
        (["siamjax.train", "--workdir=x", "--config.steps=many"], "steps"),
        (["siamjax.train", "--workdir=x", "stray"], "unexpected argument 'stray'"),
        (["siamjax.train"], "workdir"),
        (["siamjax.train", "--workdir=x", "--config=nowhere.py"], "nowhere.py"),
        (["siamjax.identify", "--workdir=x"], "name one capture or more"),
        (
            [
                "siamjax.identify",
                "--workdir=x",
                "c",
                "--baseline=3",
                "--baseline_capture=d",
            ],
            "not both",
        ),
        (
            ["siamjax.identify", "--workdir=x", "c", "--example=a=b"],
            "NAME=CAPTURE@SECONDS",
        ),
        (
            ["siamjax.identify", "--workdir=x", "c", "--example=a=b@-1"],
            "seconds from 0",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_two(arguments, says):
    got = run(*arguments)
    assert got.returncode == 2
    assert says in got.stderr and "Traceback" not in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1 and got.stdout == ""


@pytest.mark.parametrize("main", ["ingest", "train", "evaluate", "identify"])
def test_help_is_no_failure(main):
    got = run(f"siamjax.{main}", "--help")
    assert got.returncode == 0 and "--" in got.stdout


def test_a_run_that_is_not_there_is_a_failure_of_the_work(tmp_path):
    got = run("siamjax.evaluate", f"--workdir={tmp_path / 'none'}")
    assert got.returncode == 1
    assert "holds no run" in got.stderr and "Traceback" not in got.stderr
    shown = run("siamjax.evaluate", f"--workdir={tmp_path / 'none'}", "--debug")
    assert shown.returncode == 1 and "Traceback" in shown.stderr
