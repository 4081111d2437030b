"""A comparison from end to end, two workers on one study, and what it writes."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest

from configs import compare
from scripts.experiments import compare_on_hosts
from siamjax.comparison import (
    analysis,
    figures,
    final_readout,
    protocol,
    reproduce,
    run,
    shares,
    studies,
    tables,
    workers,
)
from siamjax.comparison import config as configs
from siamjax.comparison.readouts import Units, condition_mean, is_collapsed, read_points
from siamjax.config import to_plain
from siamjax.evaluation.statistics import Clustered
from siamjax.types import SiamjaxError, UsageError
from tests import commands, small_data

ROOT = pathlib.Path(__file__).parent.parent

OWN = """
import jax.numpy as jnp
from siamjax.losses.search import Range

def mine(embeddings, labels, *, where=None, reach=0.3):
    d2 = ((embeddings[:, None] - embeddings[None]) ** 2).sum(-1)
    same = labels[:, None] == labels[None]
    return jnp.where(same, d2, jnp.maximum(reach - d2, 0)).mean()

mine.search = dict(reach=Range(0.05, 1.0, log=True))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Two losses, one of them one's own, on a small data set."""
    place = tmp_path_factory.mktemp("compared")
    small_data.write(place / "data")
    (place / "own.py").write_text(OWN)
    config = compare.get_config()
    config.losses = ("triplet", "own.mine")
    config.trials, config.random_trials, config.repeats = 1, 1, 2
    config.workers, config.draws = 1, 3
    config.train = small_data.config(place / "data", steps=2)
    config.train.evaluate_every = 1
    config.train.batch.update(made_up=0)
    config.train.trace_frames = 2
    data = dict(dir=str(place / "data"))
    config.data_sets = dict(small=dict(data=data, test_conditions=("busy",), ways=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        yield configs.from_dict(config)


MACHINE = """
import json, sys
from siamjax.comparison import config, run
config = config.from_dict(json.loads(open(sys.argv[1]).read()))
print(run.compare(config, sys.argv[2], storage=sys.argv[3])["times"])
"""


def machine(config, file, folder, url):
    """A process that compares as another machine does, whose output is `times`."""
    file.write_text(json.dumps(to_plain(config)))
    own = pathlib.Path(config.train.data.dir).parent
    return subprocess.Popen(
        [sys.executable, "-c", MACHINE, file, folder, url],
        cwd=ROOT,
        env=os.environ | dict(PYTHONPATH=f"{ROOT}:{own}"),
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    """Made by two machines that begin together; the test is read once."""
    place = tmp_path_factory.mktemp("workdir")
    folder, url = place / "compared", f"sqlite:///{place}/shared.db"
    with machine(config, place / "config.json", folder, url) as other:
        report = run.compare(config, folder, storage=url)
        assert other.communicate(timeout=300)[0].strip() == "1"
    assert report["times"] == 1
    (folder / "studies.db").symlink_to(place / "shared.db")
    return folder


def test_one_row_a_cell_and_ones_own_loss_by_its_import_path(folder):
    rows = tables.read_csv(folder / "results.csv")
    losses = [row for row in rows if row["loss"] == "True"]
    assert len(losses) == 2 * 2 * 2  # losses, folds, repeats
    assert {row["method"] for row in losses} == {"triplet", "own.mine"}
    assert all(0 <= float(row["match.map_at_r.novel"]) <= 1 for row in rows)
    text = (folder / "tables.md").read_text()
    assert "| own.mine |" in text and "own.mine:reach=" in text
    assert (folder / "tables.tex").read_text().count(r"\bottomrule") == 2
    assert (folder / "figures" / "small_levels.svg").exists()
    page = (folder / "compare.html").read_text()
    assert "own.mine" in page and page.count('"steps"') == 2  # a film of each loss


def test_the_mean_of_the_rows_is_the_number_in_the_table(config, folder):
    report = run.compare(config, folder)  # nothing is trained and nothing read again
    rows = tables.read_csv(folder / "results.csv")
    mine = [float(r["match.one_shot.novel"]) for r in rows if r["method"] == "own.mine"]
    level = report["data_sets"]["small"]["match"]["levels"]["own.mine"]
    assert level["one_shot", "novel"].value == pytest.approx(np.mean(mine))
    assert report["times"] == 1


def test_what_waits_twice_in_a_study_that_is_done_keeps_nobody(
    config, folder, monkeypatch
):
    """Two workers that open a study together may queue a slot twice."""
    place = workers.open_place(folder, f"sqlite:///{folder / 'studies.db'}")
    (study,) = (
        s for s in protocol.list_studies(config, protocol.REPEAT) if "mine" in s.name
    )
    found = studies.open_study(place.store, study, [], place.prefix)
    first = next(iter(studies.finished_trials(found).values()))
    studies.queue_again(found.study, first)
    assert studies.next_slot(studies.read_study(found.study)) is not None

    def at_work(*_):
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(workers, "work_on_study", at_work)
    try:
        workers.work_until_done(config, place)
    finally:
        found.study.tell(found.study.ask(), state=optuna.trial.TrialState.PRUNED)


SUM = """
import os, sys
from siamjax.experiments import runner
if "pinned" in sys.argv:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
else:
    runner.use_one_thread()
import jax
x = jax.random.normal(jax.random.key(0), (2048, 2048))
print(float(jax.jit(lambda x: x.sum())(x)).hex())
"""


@pytest.mark.skipif(os.cpu_count() < 2, reason="one core")
def test_one_thread_gives_the_bits_of_one_core():
    env = {k: v for k, v in os.environ.items() if k != "NPROC"}

    def bits(how):
        return subprocess.run(
            [sys.executable, "-c", SUM, how],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert bits("one") == bits("pinned")


def test_worker_processes_find_the_work_done(config, folder, caplog):
    two = dataclasses.replace(config, workers=2)
    run.run_workers(two, folder, f"sqlite:///{folder / 'studies.db'}")


def test_a_worker_that_dies_is_told(config, folder, monkeypatch):
    two = dataclasses.replace(config, workers=2)
    monkeypatch.setattr(run, "_work", os._exit)
    with pytest.raises(SiamjaxError, match=r"2 of 2 workers ended early.*same command"):
        run.run_workers(two, folder, f"sqlite:///{folder / 'studies.db'}")


def test_a_row_is_trained_again_to_the_bit(config, folder):
    which = f"{folder / 'results.csv'}:1"
    lines = list(reproduce.retrain_row(config, folder, which))
    assert "weights to the bit" in lines[0]
    with pytest.raises(UsageError, match="rows 0 to"):
        list(reproduce.retrain_row(config, folder, f"{folder / 'results.csv'}:999"))


def test_the_test_is_not_read_twice_in_silence(config, folder):
    place = workers.open_place(folder, f"sqlite:///{folder}/studies.db")
    found = final_readout.list_cells(config, place)
    new = found[0]._replace(method="a later loss")
    with pytest.raises(UsageError, match="--read_test_again"):
        final_readout.read_test(config, place, [*found, new])


def test_a_mistake_is_one_line():
    done = commands.run("compare", "--workdir=runs/none", "--losses=tripet")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "did you mean triplet" in done.stderr


def test_a_row_that_is_none_is_told(config, tmp_path):
    with pytest.raises(UsageError, match="--reproduce=nothing is not FILE:ROW"):
        list(reproduce.retrain_row(config, tmp_path, "nothing"))


WORKER = """
import json, sys, time
from siamjax.comparison import protocol, studies
store = studies.open_storage(sys.argv[1])
study = protocol.Study("small", "tune", "supcon")
opened = studies.open_study(store, study, [None] * 12).study
slots = []
def work(taken):
    for slot, trial in taken:
        studies.suggest_values(trial, "supcon", seed=0, in_round=2)
        slots.append(slot)
    time.sleep(float(sys.argv[2]))
    return [(0.5, []) for _ in taken]
while studies.next_slot(studies.read_study(opened)) is not None:
    studies.run_queued_slots(opened, work, 3)
print(json.dumps(slots))
"""

STUDY = protocol.Study("small", "tune", "supcon")
# A server's database, which the test fills: postgresql+psycopg://user@host/name.
DATABASE = os.environ.get("SIAMJAX_TEST_DATABASE", "")
needs_database = pytest.mark.skipif(not DATABASE, reason="SIAMJAX_TEST_DATABASE")


def worker(url, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, url, str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "url", ["sqlite", pytest.param(DATABASE, marks=needs_database, id="server")]
)
def test_two_workers_share_a_study_and_do_nothing_twice(tmp_path, url):
    url = f"sqlite:///{tmp_path / 'shared.db'}" if url == "sqlite" else url
    study = studies.open_study(studies.open_storage(url), STUDY, [None] * 12).study
    slots = []

    def work(taken):
        ((slot, trial),) = taken
        studies.suggest_values(trial, "supcon", seed=0, in_round=2)
        slots.append(slot)
        time.sleep(0.05)
        return [(0.5, [])]

    with worker(url, 0.05) as other:
        until(lambda: other.poll() is not None or any(running(study)))
        while studies.next_slot(studies.read_study(study)) is not None:
            studies.run_queued_slots(study, work)
        theirs = json.loads(other.communicate(timeout=300)[0])
    assert theirs and slots and sorted(slots + theirs) == list(range(12))


def running(study):
    trials = studies.read_study(study).trials
    return [t for t in trials if t.state == studies.TrialState.RUNNING]


def until(condition):
    """Waits for it, and not for ever."""
    last = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < last, "it has not come about"
        time.sleep(0.05)


def test_what_a_dead_worker_was_at_is_done_by_another(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    study = studies.open_study(studies.open_storage(url), STUDY, [None] * 12).study
    with worker(url, 600) as other:
        chosen = studies.VALUES
        until(lambda: sum(chosen in t.user_attrs for t in running(study)) == 3)
        other.kill()
    lost, given = running(study), {}

    def work(taken):
        ((slot, trial),) = taken
        given[slot] = studies.suggest_values(trial, "supcon", seed=0, in_round=2)
        return [(0.5, [dict(slot=slot)])]

    studies.run_queued_slots(study, work)
    assert list(given) == [3]  # the others may be at work
    watched = {}
    studies.queue_stale(studies.read_study(study), watched, silent_s=60.0)
    assert studies.next_slot(studies.read_study(study)) == 4
    studies.queue_stale(studies.read_study(study), watched, silent_s=0.0)
    while studies.run_queued_slots(study, work):
        pass
    assert (
        sorted(studies.finished_trials(studies.read_study(study)))
        == sorted(given)
        == [*range(12)]
    )
    for trial in lost:
        slot = trial.user_attrs[studies.SLOT]
        assert given[slot] == trial.user_attrs[studies.VALUES]
    own, theirs = sorted(
        shares.list_shares([studies.read_study(study)]), key=lambda row: row["lost"]
    )
    host = socket.gethostname()
    assert (own["host"], own["process"]) == (host, os.getpid())
    assert own["cells"] == 12 and own["taken over"] == theirs["lost"] == 3
    assert own["from"] == f"{host} {other.pid}" and theirs["process"] == other.pid
    assert not theirs["cells"] and own["seconds"] >= 0


def test_a_worker_is_alive_while_it_works_and_may_be_late(tmp_path):
    study = studies.open_study(
        studies.open_storage(f"sqlite:///{tmp_path}/s.db"), STUDY, [None]
    ).study

    def slow(taken):
        watched = {}
        studies.queue_stale(studies.read_study(study), watched)
        for _ in range(2):
            last = beat()
            until(lambda last=last: beat() != last)
            # It is alive, though it was not seen for longer than it may be silent.
            studies.queue_stale(studies.read_study(study), watched, silent_s=1e-6)
        assert studies.next_slot(studies.read_study(study)) is None
        studies.queue_stale(
            studies.read_study(study), {}, silent_s=0.0
        )  # taken for dead
        return [(0.1, [])]

    def beat():
        return running(study)[0].user_attrs.get(studies.BEAT)

    assert studies.run_queued_slots(study, slow, heartbeat_s=0.02) == 1
    assert not studies.finished_trials(studies.read_study(study))
    studies.run_queued_slots(study, lambda taken: [(0.7, [])])
    assert studies.finished_trials(studies.read_study(study))[0].value == 0.7


@pytest.mark.slow
def test_a_killed_comparison_leaves_no_worker_and_goes_on(config, tmp_path):
    train = dataclasses.replace(config.train, steps=100)
    two = dataclasses.replace(config, workers=2, losses=("triplet",), train=train)
    url = f"sqlite:///{tmp_path}/studies.db"
    parent = machine(two, tmp_path / "machine.json", tmp_path, url)
    children = pathlib.Path(f"/proc/{parent.pid}/task/{parent.pid}/children")

    def weights():
        return {x: x.read_bytes() for x in tmp_path.glob("weights/[!.]*.msgpack")}

    while not weights():
        assert parent.poll() is None
        processes = children.read_text().split()
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    until(lambda: not any(pathlib.Path(f"/proc/{n}").exists() for n in processes))
    before = weights()
    report = run.compare(two, tmp_path)
    assert not report["missing"]
    assert report["data_sets"]["small"]["match"]["repeats"] == 2
    assert before.items() <= weights().items()


@pytest.mark.slow
def test_two_hosts_of_which_one_is_killed_end_where_one_host_ends(tmp_path):
    assert compare_on_hosts.compare_twice(tmp_path, DATABASE or None)


def made(rng, better=0.0, conditions=8, captures=4):
    """`Scores` of a method on the same conditions, captures and repeats as others."""
    r, c, k = np.indices((3, conditions, captures)).reshape(3, -1)
    x = (
        0.6
        + better
        + 0.05 * rng.normal(size=conditions)[c]
        + 0.02 * rng.normal(size=len(r))
    )
    return analysis.Scores(x, np.full(len(r), 1 / len(r)), c, c * captures + k, r, 1e4)


def test_identical_losses_under_two_names_never_differ():
    for seed in range(20):
        one = made(np.random.default_rng(seed))
        (pair,) = analysis.compare_pairs({"one": one, "two": one})
        assert pair.verdict == 0 and pair.difference.value == 0 and pair.p_holm == 1.0


def test_tally_ranks_and_cliques():
    rng = np.random.default_rng(0)
    better = dict(best=0.3, good=0.0, same=0.0, worst=-0.3)
    by_name = {name: made(rng, better[name]) for name in better}
    pairs = analysis.compare_pairs(by_name)
    assert analysis.count_verdicts(pairs)["best"] == (3, 0, 0)
    assert analysis.count_verdicts(pairs)["good"] == (1, 1, 1)
    ranks = analysis.mean_ranks(by_name)
    assert ranks["best"] == 1.0 and ranks["worst"] == 4.0
    names = sorted(ranks, key=ranks.get)
    assert [set(c) for c in figures.cliques(names, pairs)] == [{"good", "same"}]


def test_power_is_harder_among_all_pairs():
    rng = np.random.default_rng(0)
    alone, among = analysis.least_differences(
        analysis.compare_pairs({i: made(rng) for i in "abcd"})
    )
    assert 0 < alone < among


def test_the_figure_of_ranks_draws_what_it_is_given(tmp_path):
    found = Clustered(0.1, 0.05, 0.15, 0.001, 0.02, 7)
    pairs = [analysis.Pair("a", "b", found, 0.003)]
    figures.draw_critical_differences(
        [tmp_path / "x.svg"], {"a": 1.2, "b": 1.8}, pairs, "two"
    )
    assert "<svg" in (tmp_path / "x.svg").read_text()


def test_readouts_of_a_perfect_and_of_a_collapsed_space():
    conditions = np.repeat(np.arange(6), 8)
    captures = np.arange(48) // 2
    points = np.eye(6)[conditions] + 1e-3 * np.random.default_rng(0).normal(
        size=(48, 6)
    )
    how = dict(ways=3, draws=20, seed=0)
    good = read_points(points, conditions, captures, [4, 5], **how)
    assert all(condition_mean(units) == pytest.approx(1.0) for units in good.values())
    flat = read_points(np.ones((48, 3)), conditions, captures, [4, 5], **how)
    assert condition_mean(flat["one_shot", "novel"]) == pytest.approx(1 / 3)
    assert condition_mean(flat["auroc", "novel"]) == pytest.approx(0.5)
    assert condition_mean(flat["map_at_r", "novel"]) < 0.2
    assert is_collapsed(np.ones((48, 3))) and not is_collapsed(points)
    far = np.float32(1e25) * points.astype(np.float32)
    assert is_collapsed(np.full_like(far, 1e25)) and not is_collapsed(far)


def test_value_is_the_mean_over_conditions():
    units = Units(
        condition=np.array([0, 0, 1]),
        capture=np.array([0, 1, 2]),
        score=np.array([3.0, 1.0, 0.5]),
        weight=np.array([4.0, 4.0, 1.0]),
    )
    assert condition_mean(units) == pytest.approx((4 / 8 + 0.5) / 2)
