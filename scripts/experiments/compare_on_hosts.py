"""One comparison on two hosts, one of which is killed, and what a cell costs.

    python -m scripts.experiments.compare_on_hosts \\
        --storage=postgresql+psycopg://user@host/name

A host is a process of this machine, in a working folder of its own and, where the
system lets it, with a name of its own. First, one host compares alone. Then two hosts
with two workers each compare the same, and the second one is killed in the midst of it.
Prints who did what, and whether the results are equal: weights and tables to the byte,
without columns of seconds. Exits with 1 where they are not.

--trials prints instead what a cell costs besides its training, in a search of so many
trials for each of four losses.
"""

import ctypes
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import optuna
from absl import flags

from siamjax import cli
from siamjax.comparison import config as configs
from siamjax.comparison import protocol, run, studies, tables, trainer, workers
from siamjax.configs import compare
from siamjax.experiments import runner, sources
from siamjax.types import SiamjaxError

COMMAND = cli.Command("python -m scripts.experiments.compare_on_hosts", __doc__)
_STORAGE = flags.DEFINE_string(
    "storage", None, "URL of the database that hosts share.", COMMAND.flags
)
_TRIALS = flags.DEFINE_integer(
    "trials", 0, "Measure a search of so many trials.", flag_values=COMMAND.flags
)
_HOST = flags.DEFINE_string("host", "", "Be this host.", COMMAND.flags)
_WORKDIR = flags.DEFINE_string("workdir", "", "Of a host.", COMMAND.flags)
_DATA = flags.DEFINE_string("data", "", "The data set of a host.", COMMAND.flags)

CLONE_NEWUTS = 0x04000000  # of Linux's unshare: a host name of its own
ROOT = pathlib.Path(__file__).parents[2]
LOSSES = ("triplet", "contrastive", "supcon", "multi_similarity")
TRIALS = 8  # where no others are asked for
# The second host is killed when it has done so many slots.
KILL_AFTER = 3
# Columns of seconds, which no two runs share.
SECONDS = re.compile(r"train_s|\w+\.best_s")


def main(argv: Sequence[str]) -> int:
    cli.no_arguments(argv)
    if _HOST.value:
        be_host()
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if _TRIALS.value:
            url = _STORAGE.value or f"sqlite:///{folder / 'shared.db'}"
            print_costs(folder, url, _TRIALS.value)
            return 0
        return 0 if compare_twice(folder, _STORAGE.value) else 1


def make_config(folder: str, trials: int) -> configs.CompareConfig:
    """A comparison on made-up counters whose cells train in a moment."""
    config = compare.get_config("synthetic")
    config.losses = LOSSES
    config.trials, config.random_trials, config.repeats = trials, 4, 3
    config.workers, config.draws, config.baselines = 2, 5, ("whole windows",)
    config.train.steps, config.train.evaluate_every = 4, 2
    config.train.batch.update(conditions=3, per_condition=4)
    config.train.encoder.hidden = (4,)
    config.train.heads.match.dim = 4
    config.train.heads.view = None
    config.train.trace_frames = 2
    config.data_sets.synthetic.source.update(conditions=9, sessions=72)
    config.data_sets.synthetic.data.dir = folder
    config.data_sets.synthetic.test_conditions = 3
    return configs.from_dict(config)


def compare_twice(folder: pathlib.Path, url: str | None) -> bool:
    """Whether two hosts, one of them killed, end where one host ends.

    Args:
      folder: gets all files.
      url: of the database that the two hosts share; None: a file of `folder`.
    """
    finish(start_host(folder, "alone", "alone", f"sqlite:///{folder / 'alone.db'}"))
    url = url or f"sqlite:///{folder / 'shared.db'}"
    studies.open_storage(url).engine.dispose()  # makes the tables, once
    first, second = (
        start_host(folder, name, "shared", url) for name in ("first", "second")
    )
    while not in_the_midst(folder / "shared", url, second):
        if second.poll() is not None:
            raise SiamjaxError("the second host ended before it was killed")
        time.sleep(0.1)
    os.killpg(second.pid, signal.SIGKILL)
    second.wait()
    finish(first)
    print((folder / "shared" / "workers.csv").read_text())
    got, want = (read_results(folder / name) for name in ("shared", "alone"))
    every = sorted(got.keys() | want.keys())
    other = [name for name in every if got.get(name) != want.get(name)]
    print(f"{len(every)} files, of which {len(other)} differ: {', '.join(other)}")
    return not other


def start_host(
    folder: pathlib.Path, name: str, workdir: str, url: str, trials: int = 0
) -> subprocess.Popen:
    """Starts a host as a group of processes with a working folder of its own.

    Args:
      folder: of all hosts; the data set is in `data`.
      name: of the host.
      workdir: name of the workdir in `folder`.
      url: of the database.
      trials: not 0: it measures a search of so many trials.
    """
    place = folder / f"host_{name}"
    place.mkdir()
    command = [sys.executable, "-m", "scripts.experiments.compare_on_hosts"]
    command += [f"--host={name}", f"--storage={url}", f"--trials={trials}"]
    command += [f"--data={folder / 'data'}", f"--workdir={folder / workdir}"]
    with open(place / "output.txt", "w") as output:
        return subprocess.Popen(
            command,
            cwd=place,
            env=os.environ | dict(PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu"),
            start_new_session=True,
            stdout=output,
            stderr=output,
        )


def finish(host: subprocess.Popen) -> None:
    """Waits for a host; raises if it failed."""
    if host.wait():
        raise SiamjaxError(f"{host.args}: exit code {host.returncode}")


def be_host() -> None:
    """Takes part in the comparison of --workdir, or measures it."""
    if not ctypes.CDLL(None).unshare(CLONE_NEWUTS):
        socket.sethostname(_HOST.value)
    if _TRIALS.value:
        print(json.dumps(measure_cells()))
        return
    config = make_config(_DATA.value, TRIALS)
    run.compare(config, _WORKDIR.value, storage=_STORAGE.value)


def in_the_midst(workdir: pathlib.Path, url: str, host: subprocess.Popen) -> bool:
    """Whether a host has done KILL_AFTER slots and is at work on another one."""
    if not (workdir / protocol.CONFIG).exists():
        return False
    place = workers.open_place(workdir, url)
    states = []
    for study in optuna.get_all_study_names(place.store):
        if study.startswith(place.prefix):
            opened = optuna.load_study(study_name=study, storage=place.store)
            for trial in opened.get_trials(deepcopy=False):
                _, process = trial.user_attrs.get(studies.WORKER, (None, 0))
                if process and _is_of(host, process):
                    states.append(trial.state)
    place.store.engine.dispose()
    running = states.count(optuna.trial.TrialState.RUNNING)
    return len(states) >= KILL_AFTER + running and running > 0


def _is_of(host, process):
    try:
        return os.getpgid(process) == host.pid
    except ProcessLookupError:
        return False


def read_results(workdir: pathlib.Path) -> dict[str, bytes]:
    """The weights and tables of a comparison, without columns of seconds."""
    results = {path.name: path.read_bytes() for path in workdir.glob("weights/[!.]*")}
    rows = [
        {name: value for name, value in row.items() if not SECONDS.fullmatch(name)}
        for row in tables.read_csv(workdir / "results.csv")
    ]
    results["results.csv"] = json.dumps(rows).encode()
    return results | {"pairs.csv": (workdir / "pairs.csv").read_bytes()}


def print_costs(folder: pathlib.Path, url: str, trials: int) -> None:
    """Prints what a cell costs besides its training, on two hosts of one worker."""
    config = make_config(str(folder / "data"), trials)
    data_set = config.data_sets["synthetic"]
    sources.make_if_missing(data_set.source, str(folder / "data"), "source")
    (folder / "shared").mkdir()
    protocol.claim_prefix(folder / "shared")
    studies.open_storage(url).engine.dispose()  # makes the tables, once
    hosts = [start_host(folder, f"host_{i}", "shared", url, trials) for i in range(2)]
    for host in hosts:
        finish(host)
    measured = [
        json.loads(
            (folder / f"host_host_{i}" / "output.txt").read_text().splitlines()[-1]
        )
        for i in range(2)
    ]
    total = {name: sum(m[name] for m in measured) for name in measured[0]}
    shown = {
        name: f"{1e3 * seconds / total['cells']:.0f} ms"
        for name, seconds in total.items()
    }
    print(
        f"{total['cells']} cells ({' and '.join(str(m['cells']) for m in measured)}): "
        f"{shown['train_s']} of training each ({shown['train_cpu_s']} of a processor), "
        f"and {shown['other_s']} besides ({shown['other_cpu_s']} of a processor)"
    )


def measure_cells() -> dict[str, float]:
    """Works in this process until all is done: cells, and the seconds they took.

    Returns:
      `cells`; `train_s` in `trainer.train_cells`; `other_s` in all else, without
      waiting for slots of the other host; and the same of a processor, `..._cpu_s`.
    """
    runner.use_one_thread()
    config = make_config(_DATA.value, _TRIALS.value)
    place = workers.open_place(pathlib.Path(_WORKDIR.value), _STORAGE.value)
    clocks = dict(s=time.perf_counter, cpu_s=time.process_time)
    spent = dict.fromkeys(
        ("cells", "train_s", "train_cpu_s", "wait_s", "wait_cpu_s"), 0
    )

    def timed(name, work):
        def run(*arguments, **options):
            begun = {unit: clock() for unit, clock in clocks.items()}
            result = work(*arguments, **options)
            for unit, clock in clocks.items():
                spent[f"{name}_{unit}"] += clock() - begun[unit]
            if name == "train":
                spent["cells"] += len(result)
            return result

        return run

    trainer.train_cells = timed("train", trainer.train_cells)
    time.sleep = timed("wait", time.sleep)
    begun = {unit: clock() for unit, clock in clocks.items()}
    workers.work_until_done(config, place)
    for unit, clock in clocks.items():
        spent[f"other_{unit}"] = (
            clock() - begun[unit] - spent[f"train_{unit}"] - spent.pop(f"wait_{unit}")
        )
    return spent


if __name__ == "__main__":
    COMMAND.run(main)
