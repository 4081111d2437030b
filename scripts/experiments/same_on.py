"""The same training on 1, 2 and 8 devices, and on 2 and 4 processes.

    python -m scripts.experiments.same_on

Starts every number of devices (simulated on a CPU) and of processes from one state.
Prints by how much rows, loss, gradient, statistics and weights differ from those on one
device: the largest difference of an array, as a share of its largest value. Then it
kills one of two processes in the midst of a run, starts both again, and compares the
end with that of a run that was left alone, and stops one without ending it. Exits with
1 where a difference is too large.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from configs import default
from siamjax import cli
from siamjax.commands import train as train_command
from siamjax.config import Config, from_dict
from siamjax.data import prepared, sampler, synthetic
from siamjax.data.splits import open_splits
from siamjax.models import norm
from siamjax.training import (
    checkpoints,
    connection,
    devices,
    hosts,
    loop,
    state,
    step,
)
from siamjax.types import SiamjaxError

_FOLDER = flags.DEFINE_string("folder", None, "Where workers read and write.")
_NAME = flags.DEFINE_string("name", None, "Of what a worker measures.")
_WORK = flags.DEFINE_enum("work", None, ["numbers", "training"], "Of a worker.")
_ADDRESS = flags.DEFINE_list("address", [], "Of a worker: HOST:PORT, processes, which.")
_KILL = flags.DEFINE_integer("kill", 0, "The step at which a worker kills itself.")
_STOP = flags.DEFINE_integer("stop", 0, "The step at which a worker falls silent.")
_LOST = flags.DEFINE_integer("lost_s", connection.LOST_S, "See connection.LOST_S.")

# Batches whose rows are compared; steps before the state that all start from.
BATCHES, BEFORE = 20, 20
LONG = 100  # steps in float64
LIMITS = dict(rows=0.0, loss=1e-6, gradient=1e-6, statistics=1e-6, step=1e-6, long=1e-9)
# The run of which a process is killed: its steps, and the step at which.
STEPS, KILLED = 12, 7
RUN_LIMIT = 1e-5  # for other numbers of processes, after STEPS steps in float32


class Layout(NamedTuple):
    """How many processes, and how many devices each of them has."""

    processes: int
    devices: int

    def __str__(self) -> str:
        if self.processes == 1:
            return f"{self.devices} device{'s' * (self.devices > 1)}"
        return f"{self.processes} processes x {self.devices}"


ONE = Layout(1, 1)
LAYOUTS = (ONE, Layout(1, 2), Layout(1, 8), Layout(2, 1), Layout(2, 4), Layout(4, 1))


def main(argv: Sequence[str]) -> int:
    cli.no_arguments(argv)
    if _WORK.value:
        return work(pathlib.Path(_FOLDER.value))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_data(folder)
        good = print_numbers(folder, LAYOUTS)
        good &= print_restarts(folder, (ONE, Layout(4, 1)))
        for silent in range(2):
            line, passed_s = end_of_silence(folder, silent)
            print(f"process {silent} fell silent; {passed_s:.0f} s later: {line}")
        return 0 if good else 1


def make_data(folder: pathlib.Path) -> None:
    """Writes the data set that the workers read."""
    data = synthetic.make_data_set(0, sessions=32, conditions=4, bins=96, onset=48)
    prepared.write_data_set(folder / "data", data, {})


def print_numbers(folder: pathlib.Path, layouts: Sequence[Layout]) -> bool:
    """Prints the table of layouts; whether all of them give the same numbers.

    Args:
      folder: with the data of `make_data`; gets a file of numbers for each layout.
      layouts: the first one is what the others are compared with.
    """
    print(f"| layout |{'|'.join(LIMITS)}|\n|---|{'--:|' * len(LIMITS)}")
    good, first = True, None
    for layout in layouts:
        name = str(layout).replace(" ", "_")
        finish(start(folder, layout, "numbers", name))
        with np.load(folder / f"{name}.npz") as file:
            numbers = dict(file)
        first = first or numbers
        apart = {kind: difference(numbers, first, kind) for kind in LIMITS}
        good &= all(apart[kind] <= limit for kind, limit in LIMITS.items())
        print(
            f"| {layout} |{'|'.join(f'{x:.1e}' for x in apart.values())}|", flush=True
        )
    print(f"|limit|{'|'.join(f'{x:.0e}' for x in LIMITS.values())}|")
    return good


def difference(
    numbers: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray], kind: str
) -> float:
    """The largest difference of an array of a kind, as a share of its largest value."""
    apart = [0.0]
    for name in first:
        if name.partition("/")[0] == kind:
            size = np.abs(first[name]).max(initial=0) or 1
            apart.append(np.abs(numbers[name] - first[name]).max(initial=0) / size)
    return float(max(apart))


def print_restarts(folder: pathlib.Path, layouts: Sequence[Layout]) -> bool:
    """Kills one of two processes, starts both again, and compares the end.

    Args:
      folder: with the data of `make_data`; gets a workdir for each run.
      layouts: that go on from the same checkpoint as well.
    """
    two = Layout(2, 1)
    finish(start(folder, two, "training", "quiet"))
    killed = start(folder, two, "training", "killed", {1: [f"--kill={KILLED}"]})
    codes = [process.wait() for process in killed]
    if codes != [1, -signal.SIGKILL]:
        raise SiamjaxError(f"exit codes of the killed run: {codes}")
    print(f"\nprocess 1 of 2 was killed at step {KILLED}; the other one ended with:")
    print((folder / "killed.0.txt").read_text().splitlines()[-1])
    kept = folder / "kept"
    subprocess.run(["cp", "-r", folder / "killed", kept], check=True)
    good, quiet = True, arrays_of(folder / "quiet")
    for layout in (two, *layouts):
        name = f"on_{layout}".replace(" ", "_")
        subprocess.run(["cp", "-r", kept, folder / name], check=True)
        finish(start(folder, layout, "training", name))
        apart = difference(arrays_of(folder / name), quiet, "state")
        good &= apart <= (0 if layout == two else RUN_LIMIT)
        print(f"restarted on {layout}: the end differs by {apart:.1e}")
    return good


def end_of_silence(
    folder: pathlib.Path, silent: int, lost_s: int = connection.LOST_S
) -> tuple[str, float]:
    """What one of two processes says when the other is stopped, and after how long.

    Args:
      folder: with the data of `make_data`; gets a workdir.
      silent: the process that is stopped, without ending, at step KILLED.
      lost_s: see `connection.LOST_S`.
    Returns:
      The last line of the other process, and the seconds from the stop to its end.
    """
    name, lost = f"silent_{silent}", f"--lost_s={lost_s}"
    options = {silent: [lost, f"--stop={KILLED}"], 1 - silent: [lost]}
    processes = start(folder, Layout(2, 1), "training", name, options)
    try:
        os.waitid(os.P_PID, processes[silent].pid, os.WSTOPPED | os.WEXITED)
        stopped_s = time.monotonic()
        code = processes[1 - silent].wait()
        passed_s = time.monotonic() - stopped_s
    finally:
        for process in processes:
            process.kill()
            process.wait()
    lines = (folder / f"{name}.{1 - silent}.txt").read_text().splitlines()
    if code != 1 or not lines:
        raise SiamjaxError(f"process {1 - silent} ended with {code}: {lines[-1:]}")
    return lines[-1], passed_s


def arrays_of(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of the last checkpoint of a run, by names that begin with `state`."""
    with checkpoints.open_checkpoints(workdir) as saved:
        kept = saved.restore(checkpoints.LAST)
    assert kept is not None and kept.step == STEPS
    return named("state", kept.state)


def start(
    folder: pathlib.Path,
    layout: Layout,
    work: str,
    name: str,
    options: Mapping[int, Sequence[str]] = types.MappingProxyType({}),
) -> list[subprocess.Popen]:
    """Starts the processes of a layout; what they print is in NAME.PROCESS.txt.

    Args:
      folder: of all files.
      layout: of the processes.
      work: see --work.
      name: see --name.
      options: process -> further flags.
    """
    port, processes = free_port(), []
    for i in range(layout.processes):
        command = [sys.executable, "-m", "scripts.experiments.same_on"]
        command += [f"--folder={folder}", f"--work={work}", f"--name={name}"]
        if layout.processes > 1:
            command.append(f"--address=localhost:{port},{layout.processes},{i}")
        command += options.get(i, ())
        with open(folder / f"{name}.{i}.txt", "w") as said:
            environment = os.environ | dict(JAX_NUM_CPU_DEVICES=str(layout.devices))
            environment["JAX_PLATFORMS"] = "cpu"
            process = subprocess.Popen(
                command, stdout=said, stderr=said, env=environment
            )
        processes.append(process)
    return processes


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def finish(processes: Sequence[subprocess.Popen]) -> None:
    """Waits for processes; raises if one failed."""
    codes = [process.wait() for process in processes]
    if any(codes):
        commands = [" ".join(map(str, process.args)) for process in processes]
        raise SiamjaxError(f"{commands[0]}: exit codes {codes}")


def work(folder: pathlib.Path) -> int:
    """What a worker does."""
    joined = contextlib.nullcontext()
    if _ADDRESS.value:
        connection.LOST_S = _LOST.value
        coordinator, processes, process = _ADDRESS.value
        address = connection.Address(coordinator, int(processes), int(process))
        joined = connection.connected(
            address, command="same_on", restarted=train_command.RESTARTED
        )
    with joined:
        if _WORK.value == "training":
            train(folder)
        else:
            numbers = measure(folder)
            if hosts.is_first():
                np.savez(folder / f"{_NAME.value}.npz", **numbers)
    return 0


def make_config(folder: pathlib.Path) -> Config:
    """A small training with statistics of the batch."""
    config = default.get_config()
    config.steps = 200
    config.data.update(
        dir=str(folder / "data"), bins=16, bin_s=1.0, hop_s=4.0, baseline_s=24.0
    )
    config.data.update(novel=("condition 3",), novel_valid=())
    config.batch.update(conditions=3, made_up=5, per_condition=4)
    config.made_up.kinds = ("multiplied", "added")
    config.encoder.update(hidden=(16,), norm="batch")
    config.heads.match.update(dim=8, loss="triplet")
    config.heads.view = None
    return from_dict(config)


def run_config(folder: pathlib.Path) -> Config:
    """Of the run of which a process is killed; each reads its windows from disk."""
    steps = dict(steps=STEPS, log_every=1, evaluate_every=4, draws=2, trace_frames=0)
    config = make_config(folder)
    batch = dataclasses.replace(config.batch, made_up=0)  # quicker to compile
    data = dataclasses.replace(config.data, counts_dir=str(folder / "counts"))
    return dataclasses.replace(config, batch=batch, data=data, **steps)


def train(folder: pathlib.Path) -> None:
    """Trains a run; the process ends or falls silent at the step of a flag."""
    signals = {_KILL.value: signal.SIGKILL, _STOP.value: signal.SIGSTOP}
    assert_moved = norm.assert_moved

    def signal_at(stats, steps):
        if steps in signals:
            os.kill(os.getpid(), signals[steps])
        assert_moved(stats, steps)

    norm.assert_moved = signal_at  # the loop calls it at each step that it logs
    loop.train(run_config(folder), folder / _NAME.value)


def measure(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Rows, loss, gradient, statistics, a step and many steps on this layout."""
    devices.prepare_devices("cpu")
    config = make_config(folder)
    splits = open_splits(config.data)
    mesh = devices.make_mesh(jax.devices())
    parts = step.build_parts(
        config, columns=splits.columns, classes=len(splits.conditions.known), mesh=mesh
    )
    everywhere = devices.replicated(mesh)
    data = loop.place_data(splits, config.batch.batch_from, parts, config.seed)
    before = start_state(folder, parts, data)

    def draw_rows(data):
        steps = jnp.arange(BATCHES)
        draw = jax.vmap(
            lambda i: sampler.batch_rows(data.seed, i, data.table, parts.sampling.shape)
        )
        return draw(steps)

    def one_step(state, data):
        after, details = step.train_step(state, data, parts)
        return after, details.total, details.gradients

    rows = jax.jit(draw_rows, out_shardings=everywhere)(data)
    start_at = devices.place(before, everywhere)
    after, loss, gradient = jax.jit(one_step, out_shardings=everywhere)(start_at, data)
    numbers = named("rows", rows) | named("loss", loss) | named("gradient", gradient)
    numbers |= named("statistics", after.batch_stats) | named("step", after)
    with jax.enable_x64(True):
        start_at, data = devices.place(
            widen((before, jax.device_get(data))), everywhere
        )
        end, _ = step.compile_run(parts)(start_at, LONG, data)
        return numbers | named("long", end)


def start_state(folder, parts, data):
    """The state of the file, as NumPy arrays; the first layout makes the file.

    It is computed in float64, so that it does not follow from the order of the sums.
    """
    path = folder / "start.npz"
    first = state.create_state(0, parts)
    if not path.exists():
        everywhere = devices.replicated(parts.mesh)
        with jax.enable_x64(True):
            wide = devices.place(widen(jax.device_get((first, data))), everywhere)
            made, _ = step.compile_run(parts)(wide[0], BEFORE, wide[1])
        made = jax.tree.map(lambda x, like: np.asarray(x, like.dtype), made, first)
        np.savez(path, *jax.tree.leaves(made))
        return made
    with np.load(path) as file:
        leaves = [file[name] for name in file.files]
    return jax.tree.unflatten(jax.tree.structure(first), leaves)


def widen(tree):
    """Floats of a tree in float64."""

    def wide(x):
        x = np.asarray(x)
        return x.astype(np.float64) if x.dtype == np.float32 else x

    return jax.tree.map(wide, tree)


def named(prefix, tree):
    """`{prefix/name: array}` of the leaves of a tree."""
    return {
        f"{prefix}/{jax.tree_util.keystr(path, simple=True, separator='/')}": (
            np.asarray(leaf)
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


if __name__ == "__main__":
    cli.run(main)
