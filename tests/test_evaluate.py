"""No capture that a run was trained on judges it, whatever became of the data."""

import json
import logging

import jax
import numpy as np
import pytest

from siamjax.assessment import evaluate
from siamjax.config import from_dict
from siamjax.data import prepared
from siamjax.data.splits import open_splits
from siamjax.identification import enrol
from siamjax.inference import deciding, runs
from siamjax.training import loop
from siamjax.types import (
    TEST,
    DataSet,
    Label,
    Session,
    SiamjaxError,
    UsageError,
)
from tests import small_data

CONDITIONS = ("normal", "blocked", "overload", "busy", "slow")


def write(folder, sessions):
    prepared.write_data_set(folder, DataSet(tuple(sessions), small_data.KINDS, {}), {})


@pytest.fixture(scope="module")
def sessions():
    return [
        small_data.session(f"{name}_{i}", name, 10 * i + len(name))
        for name in CONDITIONS
        for i in range(4)
    ]


@pytest.fixture(scope="module")
def finished(sessions, tmp_path_factory):
    """A run that was trained and evaluated, and its data set."""
    with small_data.one_device():
        yield trained(sessions, tmp_path_factory)


def trained(sessions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write(folder / "data", sessions)
    config = small_data.config(folder / "data")
    config.trace_frames = 0
    loop.train(from_dict(config), folder / "run")
    evaluate.evaluate_run(folder / "run")
    return config, folder / "run", folder / "data"


@pytest.fixture(autouse=True)
def data_as_it_was(finished, sessions):
    yield
    write(finished[2], sessions)


@pytest.fixture
def said(monkeypatch, caplog):
    """The lines that the commands log."""
    monkeypatch.setattr(logging.getLogger("siamjax"), "propagate", True)
    caplog.set_level(logging.WARNING, "siamjax")
    return caplog


def judged(folder):
    """Names of captures that results.json judges."""
    results = json.loads((folder / "results.json").read_text())
    return {row["capture"] for row in results["identification"]["captures"]}


def test_no_test_capture_was_trained_on_after_captures_were_added(
    finished, sessions, said
):
    config, workdir, folder = finished
    used = runs.open_run(workdir).trained.captures
    more = [small_data.session(f"{n}_", n, 500 + len(n)) for n in CONDITIONS]
    write(folder, [*more, *sessions])
    dealt_anew = open_splits(from_dict(config).data).provenance.captures
    assert any(dealt_anew[n].role == TEST != c.role for n, c in used.items())
    found = evaluate.evaluate_run(workdir)
    names = judged(workdir)
    assert {n for n, c in used.items() if c.role == TEST} < names
    assert names == {n for n in names if n not in used or used[n].role == TEST}
    assert set(found["data"]["new"]) == {s.name for s in more} <= names
    assert found["conditions"]["slow"]["group"] == "novel_valid"
    (line,) = said.messages
    assert line.startswith(
        "5 captures are new since training: judged as test captures: "
    )
    with pytest.raises(UsageError, match=r"5 captures are added: .*another --work"):
        loop.train(from_dict(config), workdir)


@pytest.mark.parametrize("change", ["events", "labels", "gone"])
def test_training_does_not_go_on_with_other_data(finished, sessions, change):
    config, workdir, folder = finished
    kept, (old, *rest) = sessions[:5], sessions[5:]
    late = old.events.time_ns > 10**9
    events = old.events.take(late)
    new = {
        "events": [old._replace(events=events)],
        "labels": [old._replace(labels=(Label("blocked", 31.0, np.inf),))],
        "gone": [],
    }[change]
    write(folder, [*kept, *new, *rest])
    what = "gone" if change == "gone" else "changed"
    with pytest.raises(UsageError, match=f"1 capture is {what}: blocked_1; give"):
        loop.train(from_dict(config), workdir)


def test_a_new_kind_alone_is_other_data(finished, sessions):
    config, workdir, folder = finished
    kinds = (*small_data.KINDS, "BYE")
    prepared.write_data_set(folder, DataSet(tuple(sessions), kinds, {}), {})
    with pytest.raises(UsageError, match="its columns are others"):
        loop.train(from_dict(config), workdir)


def test_what_changed_or_is_gone_is_said(finished, sessions, said):
    _, workdir, folder = finished
    used = runs.open_run(workdir).trained.captures
    changed, gone = (
        next(s for s in sessions if s.labels and used[s.name].role == role)
        for role in ("train", "test")
    )
    other = changed._replace(labels=(Label("overload", 31.0, np.inf),))
    write(folder, [other if s is changed else s for s in sessions if s is not gone])
    splits = runs.read_data(runs.open_run(workdir))
    assert not {changed.name, gone.name} & set(splits.sessions.names)
    assert said.messages == [
        f"left out: {changed.name}: it changed since the run used it for train",
        f"1 capture is gone since training: {gone.name}",
    ]


def test_another_data_set_judges_a_run_in_a_folder_of_its_own(
    finished, sessions, said, tmp_path, capsys
):
    _, workdir, _ = finished
    before = {p.name: p.read_bytes() for p in workdir.iterdir() if p.is_file()}
    used = runs.open_run(workdir).trained.captures
    copy = next(s for s in sessions if used[s.name].role == "train")
    others = [
        small_data.session(f"{name}_{i}", name, 900 + 10 * i + len(name))
        for name in CONDITIONS
        for i in range(2)
    ]
    rare = others[2]._replace(name="rare", labels=(Label("rare", 30.0, np.inf),))
    write(tmp_path / "site", [copy._replace(name="copy"), *others[3:], rare])
    found = evaluate.evaluate_run(workdir, str(tmp_path / "site"))
    assert {p.name: p.read_bytes() for p in workdir.iterdir() if p.is_file()} == before
    (folder,) = (workdir / "evaluations").iterdir()
    assert folder.name == f"site-{found['data']['sha256'][:8]}"
    assert judged(folder) == {s.name for s in (*others[3:], rare)}
    assert {name: c["group"] for name, c in found["conditions"].items()} == dict(
        normal="known",
        blocked="known",
        overload="known",
        slow="novel_valid",
        busy="novel",
        rare="novel",
    )
    assert set(found["shots"]) == {"1", "5"} and "untrained encoder" in found["methods"]
    assert found["identification"]["unseen"]["captures"] == 5
    assert (folder / "results.csv").exists() and (folder / "projector/match").exists()
    assert said.messages == [
        "1 capture is not judged, because the run was trained or validated with it: "
        "copy"
    ]
    assert f"written to {folder}" in capsys.readouterr().out


def test_data_that_cannot_judge_a_run_is_refused_in_a_line(
    finished, sessions, tmp_path
):
    _, workdir, _ = finished
    used = runs.open_run(workdir).trained.captures
    write(tmp_path / "known", [s for s in sessions if used[s.name].role == "train"])
    with pytest.raises(SiamjaxError, match="has no capture to judge"):
        evaluate.evaluate_run(workdir, str(tmp_path / "known"))
    series = prepared.to_series(np.zeros((70, 1)), 10**9)
    counted = DataSet((Session("a", 70.0, (), None, series),), ("rx",), {})
    prepared.write_data_set(tmp_path / "counters", counted, {})
    with pytest.raises(UsageError, match="has counters, the run was trained on events"):
        evaluate.evaluate_run(workdir, str(tmp_path / "counters"))


def test_a_run_of_an_older_version_is_judged_as_before(finished, said):
    config, workdir, _ = finished
    run = runs.open_run(workdir)
    trained = run.trained._replace(sha256="", captures={})
    old = run.checkpoint._replace(trained=trained)
    splits = runs.read_data(old)
    want = open_splits(from_dict(config).data)
    assert splits.sessions.names == want.sessions.names
    assert (splits.sessions.role == want.sessions.role).all()
    jax.tree.map(np.testing.assert_array_equal, splits.scaler, want.scaler)
    (line,) = said.messages
    assert "older version" in line


def test_the_space_is_chosen_on_validation_alone(finished, sessions):
    """Poisoned test captures change neither the space, nor the whitening, nor the
    recalls that chose it."""
    workdir = finished[1]
    run = runs.open_run(workdir)
    splits = runs.read_data(run)
    counts = splits.counts.copy()
    counts[splits.sessions.role == TEST] = 1e6
    (learnt, curve), (poisoned, same) = (
        runs.judge_spaces(run, data)
        for data in (splits, splits._replace(counts=counts))
    )
    assert curve == same
    np.testing.assert_array_equal(learnt.matrix, poisoned.matrix)
    stored = json.loads((workdir / "results.json").read_text())
    assert stored["spaces"] == [curve]
    assert stored["space"] == run.deciding.space._asdict()
    assert stored["main"] == "decision" and stored["methods"]["WCCN"]
    np.testing.assert_array_equal(run.deciding.whitening.matrix, learnt.matrix)


def test_evaluation_mends_a_damaged_space(finished):
    workdir = finished[1]
    path = workdir / deciding.FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(SiamjaxError, match=r"space.npz is damaged.*siamjax evaluate"):
        runs.open_run(workdir)
    evaluate.evaluate_run(workdir)
    assert path.read_bytes() == whole


def test_a_rule_that_was_learnt_in_another_space_is_refused(finished):
    workdir = finished[1]
    run = runs.open_run(workdir)
    enrol.read_enrolment(run)
    space = run.deciding.space._replace(weight=run.deciding.space.weight + 1.0)
    other = run._replace(deciding=run.deciding._replace(space=space))
    with pytest.raises(SiamjaxError, match=r"rule.json .*another space.*evaluate"):
        enrol.read_enrolment(other)
