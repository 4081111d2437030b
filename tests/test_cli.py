"""Wrong usage is one clear line and 2, help is no failure, no traceback is shown."""

import os
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
        (
            ["siamjax.identify", "--workdir=x", "c", "--example=unknown=b@1"],
            "give it another name",
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


# Says, logs and fails with a name of strangers.
STRANGE = """
import logging
from siamjax import cli
from siamjax.types import SiamjaxError
def main(argv):
    name = "a\\x1b[2J\\nb" + chr(0xdce9)
    logging.getLogger("siamjax.x").warning("left out: %s", name)
    print(name[-1])
    raise SiamjaxError(f"{name} cannot be read")
cli.run(main)
"""


def test_what_strangers_named_does_not_reach_the_terminal_as_it_is():
    got = subprocess.run(
        [sys.executable, "-c", STRANGE], capture_output=True, text=True, cwd=ROOT
    )
    assert got.returncode == 1 and got.stdout == "\\udce9\n"
    assert got.stderr.splitlines() == [
        "warning: left out: a\\x1b[2J\\nb\\udce9",
        "-c: a\\x1b[2J b\\udce9 cannot be read",
    ]


def test_what_the_system_refuses_is_said_by_file():
    code = "from siamjax import cli; cli.run(lambda argv: open('no\\nwhere'))"
    got = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert got.returncode == 1
    assert got.stderr == "-c: no\\nwhere: No such file or directory\n"


@pytest.mark.parametrize("flags", [[], ["--help"]], ids=["main", "help"])
def test_a_command_whose_output_nobody_reads_ends_in_silence(flags):
    code = "from siamjax import cli; cli.run(lambda argv: print('x' * 100_000))"
    command = [sys.executable, "-c", code, *flags]
    end, beginning = os.pipe()
    os.close(end)
    with open(beginning, "wb") as closed:
        got = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, cwd=ROOT)
    assert (got.returncode, got.stderr) == (141, b"")


def test_a_command_may_have_no_output_at_all():
    code = "import os, sys; os.close(1); os.execv(sys.executable, sys.argv[1:])"
    main = "from siamjax import cli; cli.run(lambda argv: print('x'))"
    command = [sys.executable, "-c", code, sys.executable, "-c", main]
    got = subprocess.run(command, stderr=subprocess.PIPE, cwd=ROOT)
    assert (got.returncode, got.stderr) == (0, b"")
    main = "from siamjax import cli; cli.run(lambda argv: cli.no_arguments([1, 2]))"
    command = [sys.executable, "-c", code.replace("close(1)", "close(2)")]
    assert subprocess.run([*command, sys.executable, "-c", main]).returncode == 2


@pytest.mark.parametrize("when", ["main", "flags"])
def test_sigterm_ends_in_one_line_and_143(when, tmp_path):
    end = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    config = "import ml_collections\nget_config = ml_collections.ConfigDict\n"
    (tmp_path / "c.py").write_text(config + end * (when == "flags"))
    code = (
        "from ml_collections import config_flags; from siamjax import cli\n"
        "config_flags.DEFINE_config_file('config')\n"
        f"cli.run(lambda argv: exec({end!r}))"
    )
    got = subprocess.run(
        [sys.executable, "-c", code, f"--config={tmp_path}/c.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (got.returncode, got.stderr) == (143, "-c: terminated\n")
