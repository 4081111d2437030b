"""Several processes that train or evaluate one run: the same end, one line where one
fails or is lost."""

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

import siamjax
from scripts.experiments import same_on
from siamjax import cli
from siamjax.assessment import evaluate
from siamjax.commands import evaluate as evaluate_command
from siamjax.commands import joining
from siamjax.config import to_plain
from siamjax.training import checkpoints, connection, hosts, loop
from siamjax.types import SiamjaxError, UsageError
from tests import small_data

TWO = same_on.Layout(2, 1)
# What an evaluation writes, besides the projector's files.
WRITTEN = (
    *("results.json", "rule.json", "space.npz", "examples.npz", "examples.csv"),
    *("results.csv", "intervals.csv", "differences.csv", "confusion.csv"),
)
CONFIG = """
import ml_collections

def get_config():
    return ml_collections.ConfigDict({fields})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hosts")
    same_on.make_data(path)
    return path


def run_command(folder, *flags):
    """`siamjax` in two processes; each has a current folder of its own.

    Args:
      folder: of the processes' folders 0 and 1.
      flags: of each process, after `siamjax`.
    Returns:
      The exit code and the lines of each process.
    """
    port, processes = same_on.free_port(), []
    for i, of_process in enumerate(flags):
        (folder / str(i)).mkdir(exist_ok=True)
        command = [sys.executable, "-m", "siamjax", *of_process]
        command += [f"--coordinator_address=localhost:{port}"]
        command += ["--num_processes=2", f"--process_id={i}"]
        environment = os.environ | dict(JAX_NUM_CPU_DEVICES="1", JAX_PLATFORMS="cpu")
        processes.append(
            subprocess.Popen(
                command,
                cwd=folder / str(i),
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    lines = [process.communicate()[0].splitlines() for process in processes]
    return [(process.returncode, said) for process, said in zip(processes, lines)]


@pytest.fixture(scope="module")
def restarted(folder):
    """What two processes say: of which one is killed, and of the same command again.

    The second one has no folder of the run, and the data elsewhere.
    """
    killed = same_on.start(
        folder, TWO, "training", "run", {1: [f"--kill={same_on.KILLED}"]}
    )
    assert [process.wait() for process in killed] == [1, -signal.SIGKILL]
    before = [(folder / f"run.{i}.txt").read_text().splitlines() for i in range(2)]
    with checkpoints.open_checkpoints(folder / "run") as saved:
        assert saved.restore(checkpoints.LAST).step == 4
    fields = to_plain(same_on.run_config(folder))
    (folder / "config.py").write_text(CONFIG.format(fields=fields))
    shutil.copytree(folder / "data", folder / "1" / "copy")
    train = "train", f"--config={folder / 'config.py'}"
    after = run_command(
        folder,
        [*train, f"--workdir={folder / 'run'}"],
        [*train, "--workdir=absent", "--config.data.dir=copy"],
    )
    return before, after


def test_two_processes_of_which_one_is_killed_end_where_one_process_ends(
    folder, restarted
):
    (first, second), ended = restarted
    assert "process 0 of 2 ends, since another one failed" in first[-1]
    assert "training goes on from its last checkpoint" in first[-1]
    assert f"step {same_on.KILLED - 1}: loss" in first[-2] + first[-3] and not second
    assert [code for code, _ in ended] == [0, 0]
    with small_data.one_device():
        loop.train(same_on.run_config(folder), folder / "alone")
    got, want = (same_on.arrays_of(folder / name) for name in ("run", "alone"))
    assert same_on.difference(got, want, "state") <= same_on.RUN_LIMIT
    # Each step was logged once, by the first process.
    rows = (folder / "run" / "scalars.csv").read_text().splitlines()
    assert sum(",loss," in row for row in rows) == same_on.STEPS


def test_two_processes_write_and_say_what_one_process_does(folder, restarted):
    (_, said), (_, other) = restarted[1]
    assert not other and not (folder / "1" / "absent").exists()
    shutil.copytree(folder / "run", folder / "judged")
    lines = []
    with small_data.one_device():
        evaluate.evaluate_run(folder / "judged", say=lines.append)
    for name in WRITTEN:
        both = [(folder / run / name).read_bytes() for run in ("run", "judged")]
        assert both[0] == both[1], name
    assert said[-3:] == lines[-3:]


def test_an_error_of_one_process_is_one_line_of_the_first(folder, restarted):
    (folder / "1" / "empty").mkdir()
    evaluated = "evaluate", f"--workdir={folder / 'run'}"
    (code, said), other = run_command(
        folder,
        [*evaluated, f"--data={folder / 'data'}"],
        [*evaluated, "--data=empty"],
    )
    assert code == 2 and other == (2, [])
    assert said[-1].startswith("siamjax evaluate: process 1 of 2: empty"), said


@pytest.mark.slow
@pytest.mark.parametrize("silent", [0, 1])
def test_a_process_that_falls_silent_is_taken_for_lost(folder, silent):
    line, passed_s = same_on.end_of_silence(folder, silent, lost_s=10)
    assert f"process {1 - silent} of 2 ends, since another one failed" in line
    assert passed_s < 60


@pytest.mark.slow
def test_the_same_numbers_on_devices_and_processes(folder):
    assert same_on.print_numbers(folder, same_on.LAYOUTS)


def test_a_difference_is_a_share_of_the_largest_value():
    first = {"step/a": np.array([0.0, 4.0]), "loss": np.array(2.0)}
    numbers = {"step/a": np.array([1.0, 4.0]), "loss": np.array(2.5)}
    assert same_on.difference(numbers, first, "step") == 0.25
    assert same_on.difference(numbers, first, "loss") == 0.25


def test_one_process_is_the_first_and_asks_nobody():
    assert hosts.is_first() and hosts.most_of(15) == 15
    assert hosts.from_first(lambda: dict(step=3)) == dict(step=3)
    hosts.check_same(dict(data="a"))
    with hosts.on_first(small_data.one_device):
        assert len(jax.devices()) == 1


def test_a_process_with_other_facts_is_refused(monkeypatch):
    of_first = dict(config=hosts._hash(1), data=hosts._hash("a"))
    monkeypatch.setattr(hosts, "from_first", lambda make: of_first)
    hosts.check_same(dict(config=1, data="a"))
    with pytest.raises(UsageError, match="differs from the first one in its data:"):
        hosts.check_same(dict(config=1, data="b"))


def test_a_full_disk_of_another_process_keeps_its_kind(monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device", "/data/00000.f32")
    said = 1, str(full), hosts._of_system(full)
    monkeypatch.setattr(hosts, "_gather", lambda value: [value, said])
    with pytest.raises(OSError, match="No space left") as raised:
        hosts._fail_together(None)
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename.startswith("process 1 of ")
    assert raised.value.filename.endswith(": /data/00000.f32")


def test_a_cluster_is_asked_only_for_what_the_address_leaves_open(monkeypatch):
    methods = []

    def fail(*_, cluster_detection_method, **__):
        methods.append(cluster_detection_method)
        raise RuntimeError("Kubernetes API Error: 403\n- Forbidden")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    for address in (connection.Address("host0:1", 2, 1), connection.Address()):
        with pytest.raises(UsageError, match=r"Error: 403 - Forbidden.: give all"):
            connection._initialize(address)
    assert methods == ["deactivate", None]


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        address = connection.Address(f"127.0.0.1:{port}", 2, 0)
        with pytest.raises(SiamjaxError, match=f"cannot listen on port {port} "):
            connection._initialize(address)
    for wrong in ("host0", "host0:", "host0:70000", "4321"):
        with pytest.raises(UsageError, match=f"={wrong} is not HOST:PORT"):
            connection._initialize(connection.Address(wrong, 2, 1))


def test_a_signal_ends_a_process_that_waits_for_the_others(monkeypatch):
    """JAX waits in C++, where the main thread would see no signal."""

    def wait(_):
        with contextlib.suppress(KeyboardInterrupt):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            ended.wait(10)

    ended, at_exit = threading.Event(), []
    monkeypatch.setattr(connection, "_initialize", wait)
    monkeypatch.setattr(connection, "_replace_abort", lambda farewell: None)
    monkeypatch.setattr(connection.atexit, "register", lambda *x: at_exit.append(x))
    with pytest.raises(KeyboardInterrupt):
        with connection.connected(
            connection.Address(), command="x", restarted="", debug=True
        ):
            pass
    ended.set()
    assert at_exit == [(connection._leave, 130)]


def test_a_process_of_another_version_is_refused_before_it_works(monkeypatch):
    asked, begun = [], []

    def refuse(facts):
        asked.append(facts)
        raise UsageError("process 1 differs")

    monkeypatch.setattr(connection, "_initialize", lambda address: None)
    monkeypatch.setattr(connection, "_replace_abort", lambda farewell: None)
    monkeypatch.setattr(connection.atexit, "register", lambda *_: None)
    monkeypatch.setattr(hosts, "check_same", refuse)
    with pytest.raises(UsageError, match="process 1 differs"):
        with connection.connected(
            connection.Address(), command="x", restarted="", debug=True
        ):
            begun.append(True)
    assert asked == [dict(versions=[siamjax.__version__, jax.__version__])]
    assert not begun


def test_the_line_of_a_lost_process_says_what_its_command_does_next(monkeypatch):
    """An evaluation has no checkpoint from which it could go on."""

    def lose(facts):
        raise jax.errors.JaxRuntimeError("UNAVAILABLE: connection closed")

    monkeypatch.setattr(connection, "_initialize", lambda address: None)
    monkeypatch.setattr(connection, "_replace_abort", lambda farewell: None)
    monkeypatch.setattr(connection.atexit, "register", lambda *_: None)
    monkeypatch.setattr(hosts, "check_same", lose)
    command = cli.Command("siamjax x", "")
    of_command = joining.Joining(command, evaluate_command.RESTARTED)
    command.flags(["x", "--distributed", "--debug"])
    line = "again on all hosts; the evaluation begins again, and no file is half-w"
    with pytest.raises(SiamjaxError, match=line):
        with of_command.connected():
            pass


@pytest.mark.parametrize(
    "error, lost",
    [
        (jax.errors.JaxRuntimeError("UNAVAILABLE: Gloo: connection closed"), True),
        (ValueError("INTERNAL: Gloo: connection closed"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), False),
        (ValueError("a loss is not finite"), False),
    ],
)
def test_memory_that_runs_out_is_not_taken_for_a_lost_process(error, lost):
    assert connection._is_of_collective(error) == lost


def test_the_number_of_a_process_is_less_than_how_many_there_are():
    with pytest.raises(UsageError, match=r"process_id=2 must be .*num_processes=2"):
        connection._initialize(connection.Address("host0:1", 2, 2))


def test_facts_are_all_but_where_data_are_and_the_platform(folder):
    config = same_on.run_config(folder)
    splits = loop.open_splits(config.data)
    other = dataclasses.replace(
        config, platform="cpu", data=dataclasses.replace(config.data, dir="elsewhere")
    )
    assert loop._facts(config, splits) == loop._facts(other, splits)
    other = dataclasses.replace(config, seed=1)
    assert loop._facts(config, splits) != loop._facts(other, splits)
    here, there, in_memory = (
        dataclasses.replace(
            config, data=dataclasses.replace(config.data, counts_dir=folder)
        )
        for folder in ("here", "there", "")
    )
    assert loop._facts(here, splits) == loop._facts(there, splits)
    assert loop._facts(here, splits) != loop._facts(in_memory, splits)
