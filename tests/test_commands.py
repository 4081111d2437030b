"""The commands as a user types them: cut by signals, resumed, judged, used."""

import itertools
import json
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from siamjax import losses
from siamjax.training import checkpoints
from tests import commands, small_data

ROOT = pathlib.Path(__file__).parent.parent
CAPTURES = ROOT / "data" / "testbed" / "captures"
STEPS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "prepared"
    small_data.write(path)
    return path


@pytest.fixture(autouse=True, scope="module")
def one_device():
    """What runs in this process has the programs of the processes that are started."""
    with small_data.one_device():
        yield


@pytest.fixture(scope="module")
def quiet(folder, tmp_path_factory):
    """A run without interruption."""
    workdir = tmp_path_factory.mktemp("quiet")
    process = start(folder, workdir)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return workdir, stdout


def overrides(folder, steps=STEPS):
    """A small config that is quick to compile."""
    return [*small_data.overrides(folder, steps), "--config.batch.made_up=0"]


def start(folder, workdir, *more, cwd=ROOT, steps=STEPS):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "siamjax.train",
            f"--workdir={workdir}",
            f"--config={ROOT}/configs/default.py",
            *overrides(folder, steps),
            *more,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.parametrize(
    "size",
    [pytest.param(9000, marks=pytest.mark.slow), 18_000],
    ids=["scalars", "checkpoint"],
)
def test_a_disk_that_takes_no_more_is_one_line(folder, quiet, tmp_path, size):
    """Orbax and tensorstore log many lines about it, from their threads."""
    config = [f"--config={ROOT}/configs/default.py", *overrides(folder)]
    train = ["-m", "siamjax.train", f"--workdir={tmp_path}", *config]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *train],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert str(tmp_path) in done.stderr.splitlines()[-1]


def saved(workdir, which):
    """Step of a checkpoint, the best score so far, and the arrays as read back."""
    with checkpoints.open_checkpoints(workdir) as checkpoint:
        restored = checkpoint.restore(which)
        return restored.step, restored.meta["best"], restored.state


def flat(tree):
    if isinstance(tree, dict):
        return [x for key in sorted(tree) for x in flat(tree[key])]
    if isinstance(tree, list | tuple):
        return [x for sub in tree for x in flat(sub)]
    return [np.asarray(tree)]


def same_run(one, other):
    for which in (checkpoints.LAST, checkpoints.BEST):
        step, best, state = saved(one, which)
        step_other, best_other, state_other = saved(other, which)
        assert (step, best) == (step_other, best_other)
        for a, b in zip(flat(state), flat(state_other), strict=True):
            np.testing.assert_array_equal(a, b)
    assert (one / "scalars.csv").read_bytes() == (other / "scalars.csv").read_bytes()
    results = [json.loads((w / "results.json").read_text()) for w in (one, other)]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "kills", [1, pytest.param(5, marks=pytest.mark.slow)], ids=["once", "five times"]
)
def test_a_killed_run_ends_as_a_quiet_one(folder, quiet, tmp_path, kills):
    chance, killed = random.Random(kills), 0
    for _ in range(kills):
        process = start(folder, tmp_path)
        # In the training itself, however fast the machine is.
        for line in process.stderr:
            if line.startswith("step"):
                break
        time.sleep(chance.uniform(0.0, 0.1))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    process = start(folder, tmp_path)
    _, err = process.communicate()
    assert process.returncode == 0, err
    same_run(quiet[0], tmp_path)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_saves_first(folder, tmp_path, number, code):
    process = start(folder, tmp_path, steps=100_000)
    while process.poll() is None and not (tmp_path / "scalars.csv").exists():
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code, err
    assert "state saved" in err and "Traceback" not in err
    assert saved(tmp_path, checkpoints.LAST)[0] > 0


def test_the_table_and_the_files_of_a_run(quiet):
    workdir, stdout = quiet
    names = ("mean and deviation,", "cosine", "untrained encoder")
    assert all(name in stdout for name in names)
    assert "  unseen faults: " in stdout and "captures with a false alarm" in stdout
    results = json.loads((workdir / "results.json").read_text())
    assert set(results["shots"]) == {"1", "5"}
    assert results["conditions"]["busy"]["group"] == "novel"
    heads = json.loads((workdir / "config.json").read_text())["heads"]
    assert set(results["losses"]) == set(heads) == {"match", "view"}
    for head, settings in results["losses"].items():  # P19: defaults as well
        assert settings == losses.resolve(heads[head]["loss"]).hyper
        assert "distance" in settings and "distance" not in heads[head]["loss"]
    for name in (
        "rule.json",
        "examples.npz",
        "examples.csv",
        "results.csv",
        "differences.csv",
        "confusion.csv",
    ):
        assert (workdir / name).stat().st_size > 0
    for head in ("match", "view"):
        assert (workdir / "projector" / head / "tensors.bytes").stat().st_size > 0


def test_a_fault_is_learnt_named_and_forgotten(quiet, tmp_path):
    workdir, _ = quiet
    capture = CAPTURES / "blocked_005.pcap.xz"
    options = f"--workdir={workdir}", f"--library={tmp_path}"
    calm = CAPTURES / "normal_005.pcap.xz"
    done = commands.run("adapt", *options, "--network=bed", calm)
    assert done.returncode == 0 and "learnt what is normal in bed" in done.stdout
    assert "100 s of normal traffic are little" in done.stderr
    done = commands.run("learn", *options, "--note=ticket", f"mine={capture}@45")
    assert done.returncode == 0, done.stderr
    for network in ((), ("--network=bed=blocked_*",)):
        done = commands.run("identify", *options, *network, "--json", capture)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert {row["network"] for row in rows} == {"bed" if network else None}
        assert "mine" in [row["condition"] for row in rows]
        assert rows[0]["start_s"] == 0 and all(
            a["end_s"] == b["start_s"] for a, b in itertools.pairwise(rows)
        )
    calm_rows = commands.run("identify", *options, "--network=bed", "--json", calm)
    assert [json.loads(r)["condition"] for r in calm_rows.stdout.splitlines()] == [
        "normal"
    ]
    listed = commands.run("list", *options[1:], "--json").stdout.splitlines()
    assert [json.loads(row)["kind"] for row in listed] == ["example", "network"]
    exported = tmp_path / "all.zip"
    assert commands.run("export", *options[1:], exported).returncode == 0
    commands.run("forget", *options[1:], "mine", "bed")
    assert "the library is empty" in commands.run("list", *options[1:]).stdout
    done = commands.run("import", *options[1:], exported)
    assert "added the example mine=blocked_005.pcap.xz@45" in done.stdout

    missing = commands.run("identify", f"--workdir={workdir}", CAPTURES / "none.pcap")
    assert missing.returncode == 1 and "none.pcap" in missing.stderr
    late = commands.run("learn", *options, f"mine={capture}@99")
    assert late.returncode == 2 and "the last begins at" in late.stderr
    normal = commands.run("learn", *options, f"Normal={capture}@5")
    assert normal.returncode == 2 and "siamjax adapt --network" in normal.stderr
    none = commands.run("identify", f"--workdir={workdir}", capture, "--baseline=0")
    assert none.returncode == 2 and "at least a bin" in none.stderr


def test_a_loss_of_ones_own_trains_from_another_folder(folder, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import jax.numpy as jnp\n"
        "def spread(embeddings, labels, *, where=None, weight=1.0):\n"
        "    return -weight * jnp.var(embeddings)\n"
    )
    monkeypatch.chdir(tmp_path)
    done = commands.run(
        "train",
        "--workdir=run",
        *overrides(folder, steps=2),
        "--config.heads.match.loss=mine.spread:weight=2",
        "--config.trace_frames=0",
    )
    assert done.returncode == 0, done.stderr
    assert "weight=2" in done.stderr
