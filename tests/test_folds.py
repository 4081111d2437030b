"""A run on all captures: stages, steps, and what it learns from its folds."""

import json

import numpy as np
import pytest

from siamjax.assessment import evaluate, out_of_fold, page_data
from siamjax.config import from_dict
from siamjax.data.splits import open_splits
from siamjax.identification import identify
from siamjax.inference import runs
from siamjax.training import checkpoints, folds, loop
from siamjax.types import TRAIN, VALID, SiamjaxError, UsageError
from tests import small_data

pytestmark = pytest.mark.usefixtures("one_device")

CAPTURE = "data/testbed/captures/blocked_005.pcap.xz"


def config_of(folder, steps=4):
    config = small_data.config(folder, steps)
    config.data.update(novel=(), novel_valid=(), test_fold=-1, valid_fold=-1, folds=2)
    config.batch.conditions, config.evaluate_every, config.trace_frames = 9, 2, 0
    config.heads.view, config.batch.made_up = None, 0  # quick to compile
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "prepared"
    small_data.write(folder, captures=4)
    return config_of(folder)


def validating(fold):
    """Names of the captures that a fold validates with."""
    sessions = fold.splits.sessions
    return {n for n, role in zip(sessions.names, sessions.role) if role == VALID}


def test_a_fold_run_holds_out_its_fold_and_faults_of_its_own(config, tmp_path):
    fitted, fold_runs = folds.plan_folds(from_dict(config), tmp_path)
    assert [run.workdir.name for run in fold_runs] == ["0", "1"]
    held = [set(run.config.data.novel_valid) for run in fold_runs]
    assert held == [{"blocked", "overload"}, {"busy", "slow"}]
    assert fitted.batch.conditions == 3  # normal and two of four faults
    unseen = []
    for run in fold_runs:
        splits = open_splits(run.config.data)
        assert set(splits.sessions.role) == {TRAIN, VALID}
        roles = zip(splits.sessions.names, splits.sessions.role)
        unseen += [name for name, role in roles if role == VALID]
    assert set(unseen) == set(splits.sessions.names)
    assert set(open_splits(fitted.data).sessions.role) == {TRAIN}
    assert folds.plan_folds(fitted, tmp_path)[0] == fitted
    with pytest.raises(UsageError, match="novel_valid must be"):
        other = config.copy_and_resolve_references()
        other.data.novel_valid = ("slow",)
        folds.plan_folds(from_dict(other), tmp_path)


@pytest.mark.parametrize("train", [loop.train, folds.train_run])
def test_a_config_that_cannot_be_trained_leaves_nothing(config, tmp_path, train):
    for name, value in (("data.dir", "nowhere"), ("heads.match.loss", "nowhere.mine")):
        other = config.copy_and_resolve_references()
        other.update_from_flattened_dict({name: value})
        with pytest.raises(SiamjaxError, match="nowhere"):
            train(from_dict(other), tmp_path / "runs" / "one")
        assert list(tmp_path.iterdir()) == []


def test_the_best_step_is_that_of_the_mean_over_folds(tmp_path):
    for fold, scores in enumerate([(0.5, 0.9, 0.6), (0.6, 0.6, 0.9)]):
        rows = [f"{10 * i},valid/score,{x}" for i, x in enumerate(scores, 1)]
        (tmp_path / str(fold)).mkdir()
        (tmp_path / str(fold) / "scalars.csv").write_text(
            "\n".join(["step,name,value", *rows, ""])
        )
    fold_runs = [folds.FoldRun(tmp_path / name, None) for name in ("0", "1", "none")]
    assert folds.best_steps(fold_runs, 30) == 20
    assert (
        folds.best_steps(fold_runs[:1], 30) == 20
        and folds.best_steps(fold_runs[1:2], 30) == 30
    )
    assert folds.best_steps(fold_runs[2:], 30) == 30


def test_a_run_on_all_captures_goes_on_where_it_was_cut_and_identifies(
    config, tmp_path, monkeypatch, caplog, capsys
):
    caplog.set_level("INFO")
    checked, logs = loop._to_floats, []

    def cut(metrics, step):
        logs.append(step)
        if len(logs) in (3, 6):  # in the second fold, in the last stage
            raise KeyError("cut")
        return checked(metrics, step)

    monkeypatch.setattr(loop, "_to_floats", cut)
    for _ in range(2):
        with pytest.raises(KeyError, match="cut"):
            folds.train_run(from_dict(config), tmp_path)
    folds.train_run(from_dict(config), tmp_path)
    fitted, fold_runs = folds.plan_folds(from_dict(config), tmp_path)
    steps = folds.best_steps(fold_runs, config.steps)
    assert logs[:5] == [2, 4, 2, 2, 4]  # a fold that is done is not trained again
    last = f"stage 3 of 3: training on all captures for {steps} steps"
    assert last in caplog.text
    # Its folds have judged it: no word of a validation that judges nothing.
    assert "validation judges" in caplog.text
    assert "judge" not in caplog.text.rpartition(last)[2]

    run, splits = runs.open_run(tmp_path), open_splits(fitted.data)
    assert run.step == steps
    assert len(run.normal.mean) == len(splits.sessions.names) == 20
    with checkpoints.open_checkpoints(tmp_path) as saved:
        assert saved.meta(checkpoints.LAST)["best"]["step"] == steps

    results = evaluate.evaluate_run(tmp_path)
    assert results == json.loads((tmp_path / "results.json").read_text())
    printed = capsys.readouterr().out
    assert "identification of captures out of fold" in printed
    assert "nothing is judged" not in printed
    counts = results["out_of_fold"]["identification"]
    assert page_data.gather_data(tmp_path)["out_of_fold"] == counts
    # Each fault is new in one fold, with all its captures, and known in the other.
    assert counts["unseen"]["captures"] == 16 and counts["known"]["captures"] == 8
    assert counts["normal"]["captures"] == 4

    fold_runs, space, _ = out_of_fold.open_runs(run)
    assert space._asdict() == results["space"]
    opened = out_of_fold.measure_folds(fold_runs)
    places = out_of_fold.choose_examples(opened, run, splits).places
    assert {place.condition for place in places} == set(splits.conditions.names)
    for place in places:
        unseen_by = [
            fold
            for fold in opened
            if place.capture in validating(fold)
            and place.condition in fold.splits.conditions.known
        ]
        assert unseen_by, place
    for fold in opened:  # what they compare with is what they were trained on
        sessions = fold.splits.sessions
        captures = [sessions.names.index(p.capture) for p in fold.examples.places]
        assert set(sessions.role[captures]) == {TRAIN}
        assert np.isfinite(fold.unknown) and len(fold.novel)

    identify.identify_captures(tmp_path, [CAPTURE])
    assert "blocked_005" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("captures", [1, 3])
def test_folds_that_set_next_to_nothing_aside_identify_too(tmp_path, captures, caplog):
    small_data.write(tmp_path / "prepared", captures)
    config = config_of(tmp_path / "prepared", steps=2)
    config.data.update(folds=4, baseline_s=24.0, bins=32)
    folds.train_run(from_dict(config), tmp_path / "run")
    evaluate.evaluate_run(tmp_path / "run")
    assert ("no fold sets a capture" in caplog.text) == (captures == 1)
    identify.identify_captures(tmp_path / "run", [CAPTURE])
