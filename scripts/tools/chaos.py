"""Interrupts every command while it writes, and checks that nothing is lost.

python -m scripts.tools.chaos [--kills N] [--trials N] [--commands train,ingest]

Each command runs once undisturbed, which gives the right bytes and the number of
changes that it makes to its folder. Then it runs many times: killed at a random moment,
or with one change that fails (chaos_shim.c: killed before the change, a full disk from
the change on, an I/O error, a short write). After each of these runs the same command
runs undisturbed and must end with the right bytes. The shim needs a C compiler. Without
one only random kills are tried, and a line says so.

Not compared byte by byte: event files of TensorBoard, which contain the time of day
(their scalars must be the same), checkpoints (compared as arrays), films, and
`compare`, whose study must be complete.
"""

import argparse
import concurrent.futures
import csv
import functools
import hashlib
import json
import logging
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
CAPTURES = ROOT / "data/testbed/captures"
CONDITIONS = "normal blocked capacity_limit callee_down delay busy_reject".split()
EACH = 4  # captures of each condition, the smallest
TIMEOUT_S = 300
GRACE_S = 20  # for the processes of a command that was killed
FAULTS = ("kill", "full", "broken", "short")
RANDOM_KILL = "random kill"

SMALL = (
    "--config.steps=12 --config.log_every=2 --config.evaluate_every=4 "
    "--config.data.dir=data --config.data.novel=('busy_reject',) "
    "--config.data.novel_valid=('delay',) --config.batch.conditions=3 "
    "--config.batch.made_up=2 --config.batch.per_condition=3 "
    "--config.encoder.hidden=(8,) --config.draws=5 --config.trace_frames=4"
).split()
COMPARE = (
    "--losses=triplet,supcon --config.data_sets.testbed.data.dir=data "
    "--config.data_sets.testbed.test_conditions=2 --config.train.steps=4 "
    "--config.train.evaluate_every=2 --config.trials=1 --config.draws=5 "
    "--config.train.batch.conditions=2 --config.train.batch.per_condition=4"
).split()


class Command(NamedTuple):
    """A command, run in a folder with the results of the commands before it."""

    name: str
    argv: list[str]
    judged: str  # the folder or file that it writes
    before: str  # the command whose result it starts from


COMMANDS = [
    Command(
        "ingest",
        "ingest --captures captures --labels labels.csv --out data --workers=2".split(),
        "data",
        "",
    ),
    Command(
        "train",
        ["train", f"--config={ROOT}/configs/default.py", "--workdir=run", *SMALL],
        "run",
        "ingest",
    ),
    Command("evaluate", ["evaluate", "--workdir=run"], "run", "train"),
    Command("visualize", "visualize --workdir=run --frames=6".split(), "run", "train"),
    Command(
        "identify",
        "identify --workdir=run --plot=plots/plot.html".split(),
        "plots",
        "train",
    ),
    Command(
        "compare",
        [
            "compare",
            f"--config={ROOT}/configs/compare_smoke.py",
            "--workdir=study",
            *COMPARE,
        ],
        "study",
        "ingest",
    ),
]


class Trial(NamedTuple):
    """One run of a command that was made to fail, and its outcome."""

    command: str
    fault: str
    place: str  # of the change, or seconds
    code: int | None  # exit code of the run that was made to fail; None: it hung
    outcome: str  # same, lost, hung, traceback
    detail: str


def main() -> None:
    options = _options()
    names = options.commands.split(",") if options.commands else []
    commands = [c for c in COMMANDS if not names or c.name in names]
    folder = pathlib.Path(options.folder or tempfile.mkdtemp(prefix="chaos."))
    shim = build_shim(folder)
    if shim is None:
        print("no C compiler: only kills at random moments are tried")
    bench = Bench(folder, shim)
    bench.prepare()
    trials = []
    for command in commands:
        changes, seconds = bench.reference(command)
        print(f"{command.name}: {changes} changes, {seconds:.1f} s", flush=True)
        planned = plan(changes, seconds, options)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for trial in pool.map(functools.partial(bench.trial, command), planned):
                trials.append(trial)
                if trial.outcome != "same":
                    print(f"  {trial}", flush=True)
        print(table(trials), flush=True)
    if options.out:
        _write_rows(pathlib.Path(options.out), trials)
    if any(trial.outcome != "same" for trial in trials):
        sys.exit(1)


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="at random moments")
    parser.add_argument("--trials", type=int, default=20, help="of each other fault")
    parser.add_argument("--commands", default="", help="such as ingest,train")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default="", help="where it works; else a new one")
    parser.add_argument("--out", default="", help="a CSV of all trials")
    return parser.parse_args()


def build_shim(folder: pathlib.Path) -> pathlib.Path | None:
    """Compiles the shim; None where there is no compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    shim = folder / "shim.so"
    source = ROOT / "scripts/tools/chaos_shim.c"
    flags = ["-O1", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"]
    subprocess.run([compiler, *flags], check=True)
    return shim


def plan(changes, seconds, options):
    """`(fault, change or None, moment in seconds or None)` of each trial.

    Where a command makes fewer changes than trials were asked for, each is tried once.
    """
    draw = random.Random(options.seed)
    kills = [draw.uniform(0, seconds) for _ in range(options.kills)]
    planned = [(RANDOM_KILL, None, moment_s) for moment_s in kills]
    for fault in FAULTS:
        places = range(1, changes + 1)
        if options.trials < changes:
            places = sorted(draw.sample(places, options.trials))
        planned += [(fault, place, None) for place in places]
    return planned


class Bench:
    """The folders of the trials, and the right result of each command."""

    def __init__(self, folder, shim):
        self.folder, self.shim, self.right = folder, shim, {}
        self.commands = {command.name: command for command in COMMANDS}

    def prepare(self):
        """Captures and labels, the beginning of all commands."""
        start = self.folder / "states" / "start"
        shutil.rmtree(start, ignore_errors=True)
        (start / "captures").mkdir(parents=True)
        labels = list(csv.DictReader(open(ROOT / "data/testbed/labels.csv")))
        rows = []
        for condition in CONDITIONS:
            files = sorted(
                CAPTURES.glob(f"{condition}_*"), key=lambda path: path.stat().st_size
            )
            for path in files[:EACH]:
                shutil.copy(path, start / "captures")
                rows += [row for row in labels if row["file"] == path.name]
        with open(start / "labels.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, labels[0])
            writer.writeheader()
            writer.writerows(rows)

    def state(self, name):
        """The folder that a command starts from or ended with, made where needed."""
        path = self.folder / "states" / (name or "start")
        if not path.exists():
            self.reference(self.commands[name])
        return path

    def reference(self, command):
        """Runs a command untouched; keeps its result; its changes and seconds."""
        began = self.state(command.before)
        for _ in range(2):  # the first run may compile, the second is timed
            place, count = self._copy(began), self._count()
            start = time.monotonic()
            done = self._run(command, place, count, {})
            seconds = time.monotonic() - start
            if done.returncode:
                raise SystemExit(f"{command.name} fails untouched:\n{done.stderr}")
        state = self.folder / "states" / command.name
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(place / "work", state, symlinks=True)
        self.right[command.name] = digest(command, place / "work")
        changes = int(np.frombuffer(count.read_bytes(), np.int64)[0])
        shutil.rmtree(place)
        return changes, seconds

    def trial(self, command, planned):
        """One `Trial` of those that `plan` gives."""
        fault, change, moment_s = planned
        place, count = self._copy(self.state(command.before)), self._count()
        faults, where = {}, f"{moment_s:.2f} s" if moment_s is not None else str(change)
        if change is not None:
            faults = {"CHAOS_AT": str(change), "CHAOS_FAULT": fault}
        ended = Trial(command.name, fault, where, None, "hung", "")
        try:
            first = self._run(command, place, count, faults, moment_s)
            ended = ended._replace(code=first.returncode)
            killed = first.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
            if not killed and "Traceback" in first.stderr:
                return ended._replace(
                    outcome="traceback", detail=_last_line(first.stderr)
                )
            again = self._run(command, place, count, {})
        except subprocess.TimeoutExpired as error:
            return ended._replace(detail=str(error)[:200])
        if again.returncode or "Traceback" in again.stderr:
            return ended._replace(outcome="lost", detail=_last_line(again.stderr))
        right, result = self.right[command.name], digest(command, place / "work")
        if differ := sorted(
            k for k in right.keys() | result.keys() if right.get(k) != result.get(k)
        ):
            return ended._replace(outcome="lost", detail=f"differ: {differ[:5]}")
        shutil.rmtree(place)
        return ended._replace(outcome="same")

    def _copy(self, state):
        place = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        shutil.copytree(state, place / "work", symlinks=True)
        return place

    def _count(self):
        handle, path = tempfile.mkstemp(dir=self.folder, prefix="count.")
        os.write(handle, bytes(8))
        os.close(handle)
        return pathlib.Path(path)

    def _run(self, command, place, count, faults, moment_s=None):
        work = place / "work"
        argv = [sys.executable, "-m", f"siamjax.{command.argv[0]}", *command.argv[1:]]
        if command.name == "identify":
            argv += [str(p) for p in sorted((work / "captures").iterdir())[:3]]
        env = dict(
            os.environ,
            PYTHONPATH=str(ROOT),
            XLA_FLAGS="--xla_cpu_multi_thread_eigen=false",
            OMP_NUM_THREADS="1",
        )
        if self.shim and moment_s is None:
            env |= dict(LD_PRELOAD=str(self.shim), CHAOS_FOLDER=str(work))
            env |= dict(CHAOS_COUNT=str(count), **faults)
        with open(place / "out", "w+b") as stdout, open(place / "err", "w+b") as stderr:
            process = subprocess.Popen(
                argv,
                cwd=work,
                env=env,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                process.wait(TIMEOUT_S if moment_s is None else moment_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                if moment_s is None:
                    raise
            finally:
                left = _end_group(process.pid)
        text = [(place / name).read_text(errors="replace") for name in ("out", "err")]
        if left:
            raise subprocess.TimeoutExpired(f"{left} processes left behind by", GRACE_S)
        return subprocess.CompletedProcess(argv, process.returncode, *text)


def _end_group(group):
    """Kills the processes that a command left running; returns their number.

    A process that ends with its parent gets GRACE_S to do so.
    """
    end = time.monotonic() + GRACE_S
    while (left := _members(group)) and time.monotonic() < end:
        time.sleep(0.1)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return len(left)


def _members(group):
    """Processes of a group that still run."""
    running = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue  # it ended meanwhile
        if int(of_group) == group and state != "Z":
            running.append(int(path.parent.name))
    return running


def digest(command: Command, work: pathlib.Path) -> dict[str, str]:
    """{file: hash} of what a command wrote, of the parts that must be the same."""
    if command.name == "compare":
        return _study(work / command.judged)
    judged, hashes = work / command.judged, {}
    for path in sorted(judged.rglob("*")):
        name = path.relative_to(judged).as_posix()
        if not path.is_file() or name == ".lock" or name.startswith("checkpoints/"):
            continue
        if ".tfevents." in name:
            hashes[f"{path.parent.relative_to(judged)}/events"] = "there"
        elif path.suffix in (".mp4", ".gif"):
            hashes[name] = "there"
        else:
            hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if (judged / "checkpoints").exists():
        hashes |= _checkpoints(judged)
        hashes["scalars of TensorBoard"] = _events(judged)
    return hashes


def _study(study):
    """What a complete study holds: every row of the results, sorted."""
    with open(study / "results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if not name.endswith("_s")]
    kept = sorted(json.dumps([row[name] for name in names]) for row in rows)
    files = sorted(p.name for p in study.iterdir() if p.is_file())
    return {"rows": "\n".join(kept), "files": str(files)}


CHECKPOINTS = """
import hashlib, json, sys
import jax, numpy as np
from siamjax.inference import runs
from siamjax.training import checkpoints
made = {}
for which in (checkpoints.LAST, checkpoints.BEST):
    opened = runs.open_checkpoint(sys.argv[1], which)
    for path, leaf in jax.tree_util.tree_leaves_with_path(opened.state):
        name = f"{which}{jax.tree_util.keystr(path)}"
        made[name] = hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
print(json.dumps(made))
"""


def _checkpoints(run):
    """{leaf: hash} of the last and the best checkpoint."""
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", CHECKPOINTS, str(run)],
        cwd=run.parent,
        env=env,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        return {"checkpoints": _last_line(done.stderr)}
    return json.loads(done.stdout.splitlines()[-1])


def _events(run):
    """The scalars that TensorBoard reads of a run's own event files."""
    logging.disable(logging.WARNING)  # TensorBoard tells of every resumed run
    from tensorboard.backend.event_processing import event_accumulator

    from siamjax.reports import scalars

    folder = str(run / scalars.RUN)
    read = event_accumulator.EventAccumulator(folder, {"scalars": 0})
    read.Reload()
    rows = [
        (tag, event.step, event.value)
        for tag in sorted(read.Tags()["scalars"])
        for event in read.Scalars(tag)
    ]
    tensors = [
        (tag, event.step, event.tensor_proto.SerializeToString().hex())
        for tag in sorted(read.Tags()["tensors"])
        for event in read.Tensors(tag)
    ]
    return hashlib.sha256(repr(rows + tensors).encode()).hexdigest()


def table(trials: list[Trial]) -> str:
    """The trials as a table in Markdown: a row for each command and fault."""
    outcomes = ("same", "lost", "hung", "traceback")
    rows = [
        "| command | fault | trials | " + " | ".join(outcomes) + " |",
        "|---|---|--:|" + "--:|" * len(outcomes),
    ]
    kinds = dict.fromkeys((trial.command, trial.fault) for trial in trials)
    for command, fault in kinds:
        mine = [t for t in trials if (t.command, t.fault) == (command, fault)]
        counts = [sum(t.outcome == outcome for t in mine) for outcome in outcomes]
        cells = [command, fault, len(mine), *counts]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def _write_rows(path, trials):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([Trial._fields, *trials])


def _last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


if __name__ == "__main__":
    main()
