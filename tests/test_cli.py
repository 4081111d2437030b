"""Wrong usage is one clear line and 2, help is no failure, no traceback is shown."""

import os
import pathlib
import subprocess
import sys

import pytest

import siamjax
from siamjax import cli, commands, comparison, usage
from siamjax.commands import completion
from tests.commands import run

ROOT = pathlib.Path(__file__).parent.parent
NAMES = pytest.mark.parametrize("name", commands.NAMES)


@pytest.fixture(autouse=True)
def in_a_clone(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["train", "--workdir=x", "--config.stpes=3"],
            "no field 'stpes' (did you mean steps?); see",
        ),
        (["train", "--workdir=x", "--config.steps=many"], "steps"),
        (["train", "--workdir=x", "--config.steps=-5"], "config.steps is -5: it must"),
        (["train", "--workdir=x", "stray"], "unexpected argument 'stray'"),
        (["train"], "--workdir must be given; see siamjax train --help"),
        (["ingest"], "--captures and --labels and --out must be given; see"),
        (["train", "--wrokdir=x"], "no flag --wrokdir (did you mean --workdir?); see"),
        (["visualize", "--frames=a"], "--frames=a: it must be an integer; see"),
        (["audit", "--cure=a"], "--cure=a: it must be one of debias, precise"),
        (["visualize", "--follow=a"], "--follow=a: it must be true or false"),
        (["check", "triplet", "--sizes=8,x"], "--sizes has 'x'"),
        (["train", "--workdir="], "--workdir is empty: write --workdir=TEXT; see"),
        (["evaluate", "--workdir=x", "--data="], "--data is empty"),
        (["identify", "--workdir=x", "c", "--library="], "--library is empty"),
        (["identify", "--workdir=x", ""], "an argument is empty: give CAPTURE..."),
        (["train", "--workdir=x", "--config.data.dir="], "config.data.dir is '': "),
        (["train", "--workdir=/proc/x", "--config.platform="], "/proc/x"),
        (["train", "--workdir=x", "--config="], "--config=: the value is empty"),
        (["train", "--workdir=x", "--config=nowhere.py"], "nowhere.py"),
        (["train", "--workdir=/proc/x"], "/proc/x"),
        (["ingest", "--captures=a", "--labels=b", "--out=/proc/x"], "/proc/x"),
        (["compare", "--workdir=/proc/x"], "/proc/x"),
        (["identify", "--workdir=x"], "name one capture or more"),
        (
            ["identify", "--workdir=x", "c", "--baseline=3", "--network=d"],
            "not both",
        ),
        (
            ["monitor", "--workdir=x", "-", "--network=a=10.0.0.1"],
            "is for some servers: give --session_by server, or",
        ),
        (["learn", "--workdir=x", "a=b"], "NAME=CAPTURE@SECONDS"),
        (["learn", "--workdir=x", "a=b@-1"], "seconds from 0"),
        (["learn", "--workdir=x", "unknown=b@1"], "give it another name"),
        (["learn", "--workdir=x"], "name one example or more"),
        (["adapt", "--workdir=x", "--network=a"], "name one capture of normal"),
        (["group", "--workdir=x"], "name one capture or more"),
        (["list"], "give --library DIR, or --workdir DIR"),
        (["forget", "--library=nowhere", "a"], "there is no library nowhere"),
        (["forget", "--library=nowhere"], "name what to forget"),
        (["export", "--library=nowhere"], "name one file"),
        (["import", "--library=nowhere", "nowhere.zip"], "no file nowhere.zip"),
        (["train", "--flagfile=nowhere"], "--flagfile=nowhere: No such file"),
        (["completion", "tcsh"], "bash, zsh or fish"),
    ],
)
def test_wrong_usage_is_one_line_and_two(arguments, says):
    done = run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""


def test_a_flagfile_that_is_missing_is_one_line_before_the_command_is_imported():
    done = subprocess.run(
        [sys.executable, "-m", "siamjax", "board", "--flagfile=nowhere"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "siamjax board: --flagfile=nowhere: No such file or directory: give a file of "
        "flags; see siamjax board --help\n",
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x = 1", "has no function get_config(): give a Python file whose"),
        ("def get_config(): pass", "returns None: give a Python file whose"),
        ("def get_config(): return {}", "returns a dict: give a Python file whose"),
        ("def get_config():\n return 1 / 0", "line 2: the config fails with ZeroD"),
        ("def get_config():\n return int('x')", "line 2: the config fails with Value"),
        ("import nowhere", "line 1: the config fails with ModuleNotFoundError"),
        ("def get_config(:", "the config fails with SyntaxError"),
    ],
)
@pytest.mark.parametrize("name", ["train", "compare"])
def test_a_file_that_is_no_config_is_one_line(name, content, says, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(content)
    done = run(name, f"--workdir={tmp_path / 'run'}", f"--config={path}")
    assert done.returncode == 2 and says in done.stderr and str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_a_config_is_checked_without_the_extra_packages(monkeypatch, tmp_path):
    for name in ("reproduce", "run", "tables"):  # these need optuna
        monkeypatch.setitem(sys.modules, f"siamjax.comparison.{name}", None)
        monkeypatch.delattr(comparison, name, raising=False)
    flags = [f"--workdir={tmp_path}/x", "--config=configs/default.py"]
    for more in ([], ["--losses=triplet"]):
        done = run("compare", *flags, *more)
        assert done.returncode == 2
        assert "is missing: configs/compare.py shows every field" in done.stderr


@NAMES
@pytest.mark.parametrize("columns", [80, 60, 200])
def test_help_shows_the_flags_of_the_command_alone(name, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    done = run(name, "--help")
    assert done == run(name, "-h") and done.returncode == 0 and done.stderr == ""
    assert "siamjax " + name in done.stdout and "xample" in done.stdout
    assert "--verbosity" not in done.stdout and "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= min(columns, 100)
    for flag in usage.own_flags(getattr(commands, name).COMMAND):
        assert f"--{flag.name}" in done.stdout.replace("[no]", "")
    assert "--verbosity" in run(name, "--helpfull").stdout


def test_examples_of_a_help_run_as_they_are_copied(monkeypatch):
    """A command that is wider than the terminal goes on behind a backslash."""
    monkeypatch.setenv("COLUMNS", "60")
    lines = run("ingest", "--help").stdout.replace("\\\n", " ").splitlines()
    commands = [line.split() for line in lines if line.startswith("  siamjax ")]
    flags = "--format counters --captures DIR --labels labels.csv --out runs/mine"
    assert ["siamjax", "ingest", *flags.split()] in commands


def test_help_of_train_shows_the_fields_of_the_config_it_is_given(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("train", "--help").stdout
    assert "--config.log_every=20         steps\n" in shown
    assert (
        "--config.data.bins=32         of a window, which lasts bins * bin_s seconds\n"
        in shown
    )
    assert "--config.optimizer.warmup=20  steps\n" in shown
    shown = run("train", "--help", "--config", "configs/kddi.py").stdout
    assert (
        "--config.data.bins=5          of a window, which lasts bins * bin_s seconds\n"
        in shown
    )


@pytest.mark.parametrize("name", ["compare", "board"])
def test_help_of_many_trainings_shows_no_field_of_one_training(name):
    shown = run(name, "--help").stdout
    assert "--config.workers=0" in shown
    assert "log_every" not in shown and len(shown.splitlines()) < 80


def test_a_config_of_the_package_is_found_outside_a_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags in ([], ["--config=configs/all.py"], ["--config", "configs/kddi.py"]):
        assert "config.log_every=20" in run("train", "--help", *flags).stdout
    done = run("train", "--workdir=x", "--config=configs/none.py")
    assert done.returncode == 2 and "configs/none.py" in done.stderr
    assert str(cli.CONFIGS.parent) not in sys.path


@NAMES
def test_every_command_has_its_line_and_its_version(name):
    assert run(name, "--version").stdout == f"siamjax {siamjax.__version__}\n"
    assert f"\n  {name} " in usage.overview(commands.modules())


def test_one_command_starts_all(capsys, monkeypatch):
    for arguments, code, says in (
        (["siamjax"], 0, "commands:"),
        (["siamjax", "--help"], 0, "commands:"),
        (["siamjax", "--version"], 0, siamjax.__version__),
        (["siamjax", "help"], 0, "commands:"),
        (["siamjax", "trian"], 2, "no command 'trian' (did you mean train?); see"),
        (["siamjax", "xyz"], 2, "no command 'xyz' among ingest, label"),
        (["siamjax", "--foo"], 2, "--foo stands before the command: write siamjax"),
    ):
        monkeypatch.setattr(sys, "argv", arguments)
        if code:
            with pytest.raises(SystemExit, match=str(code)):
                commands.run()
        else:
            commands.run()
        assert says in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["siamjax train", "siamjax.train"])
def test_a_command_has_two_names_in_a_process(name):
    done = subprocess.run(
        [sys.executable, "-m", *name.split()], capture_output=True, text=True
    )
    assert done.returncode == 2 and "siamjax train: --workdir must" in done.stderr


def test_help_of_a_command_has_two_names():
    command = [sys.executable, "-m", "siamjax", "help", "evaluate"]
    # In this process it would change how all later tests log.
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == run("evaluate", "--help").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_names_each_command_and_flag(shell):
    script = run("completion", shell).stdout
    for name, flags in completion.list_flags().items():
        assert name in script
        assert all(flag.name in script for flag in flags)


def test_bash_completes():
    script = run("completion", "bash").stdout
    ask = "COMP_WORDS=({}); COMP_CWORD={}; _siamjax; echo ${{COMPREPLY[@]}}"
    for words, place, replies in (
        ("siamjax ev", 1, "evaluate"),
        ("siamjax train --wor", 2, "--workdir"),
        ("siamjax-ingest --lab", 1, "--labels"),
    ):
        done = subprocess.run(
            ["bash", "-c", script + ask.format(words, place)], capture_output=True
        )
        assert done.stdout.decode().strip() == replies


def test_a_run_that_is_not_there_is_a_failure_of_the_work(tmp_path):
    done = run("evaluate", f"--workdir={tmp_path / 'none'}")
    assert done.returncode == 1
    assert "holds no run" in done.stderr and "Traceback" not in done.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "siamjax.evaluate", "--workdir=/none", "--debug"],
        capture_output=True,
        text=True,
    )
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
    done = subprocess.run(
        [sys.executable, "-c", STRANGE], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1 and done.stdout == "\\udce9\n"
    assert done.stderr.splitlines() == [
        "warning: left out: a\\x1b[2J\\nb\\udce9",
        "-c: a\\x1b[2J b\\udce9 cannot be read",
    ]


def test_what_the_system_refuses_is_said_by_file():
    code = "from siamjax import cli; cli.run(lambda argv: open('no\\nwhere'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr == "-c: no\\nwhere: No such file or directory\n"


MANY = "from siamjax import cli; cli.run(lambda argv: print('x' * 100_000))"


@pytest.mark.parametrize(
    "arguments",
    [["-c", MANY], ["-c", MANY, "--help"], ["-m", "siamjax"]],
    ids=["main", "help", "overview"],
)
def test_a_command_whose_output_nobody_reads_ends_in_silence(arguments):
    command = [sys.executable, *arguments]
    end, beginning = os.pipe()
    os.close(end)
    with open(beginning, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, cwd=ROOT)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_command_may_have_no_output_at_all():
    code = "import os, sys; os.close(1); os.execv(sys.executable, sys.argv[1:])"
    main = "from siamjax import cli; cli.run(lambda argv: print('x'))"
    command = [sys.executable, "-c", code, sys.executable, "-c", main]
    done = subprocess.run(command, stderr=subprocess.PIPE, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, b"")
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
    done = subprocess.run(
        [sys.executable, "-c", code, f"--config={tmp_path}/c.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (143, "-c: terminated\n")


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_a_destructor_ends_the_command_in_one_line(name, code):
    """Python cannot raise there: it prints a traceback and goes on."""
    program = f"""
import signal, sys, time
from siamjax import cli

class Odd:
    def __del__(self):
        signal.raise_signal(signal.{name})

def main(argv):
    Odd()
    time.sleep(20)

sys.argv = ["odd"]
cli.Command("odd", "Is interrupted.").run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=15
    )
    ended = "interrupted" if name == "SIGINT" else "terminated"
    assert (done.returncode, done.stderr) == (code, f"odd: {ended}\n")
