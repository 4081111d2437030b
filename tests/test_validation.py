"""What validation judges, said before the first step; data with next to no captures."""

import json

import jax
import numpy as np
import pytest

from siamjax.assessment import evaluate
from siamjax.config import from_dict
from siamjax.data import prepared, windows
from siamjax.data.splits import open_splits
from siamjax.identification import identify
from siamjax.training import checkpoints, devices, loop, step, validation
from siamjax.types import NORMAL, TRAIN, VALID, DataSet
from tests import small_data

pytestmark = pytest.mark.usefixtures("one_device")


def opened(config):
    """Splits and parts of a config."""
    config = from_dict(config)
    splits = open_splits(config.data)
    mesh = devices.make_mesh(jax.local_devices()[:1])
    return splits, step.build_parts(
        config, columns=splits.columns, classes=len(splits.conditions.known), mesh=mesh
    )


def scores(splits, parts, config, points):
    """What `validate` says of points `{head: [N, E]}` of the judged windows."""
    config = from_dict(config)
    judged = validation.plan_validation(splits, config.draws)
    state = type("", (), dict(batch_stats={}, params=dict(encoder={})))
    return validation.make_validator(
        splits, parts, config, lambda *of: points(judged.windows), judged
    )(state)


def test_scores_are_means_of_all_heads_over_what_is_judged(tmp_path):
    config = small_data.config(tmp_path / "prepared")
    small_data.write(config.data.dir, captures=8)
    splits, parts = opened(config)
    assert len(validation.plan_validation(splits, 5).lines) == 1

    def points(of):
        return dict(match=np.eye(4)[of.condition], view=np.zeros((len(of.start), 3)))

    got = scores(splits, parts, config, points)
    want = {"known": 1, "novel": 1, "view/known": 1 / 4, "view/novel": 1 / 4}
    assert got == pytest.approx(want | {"score": (1 + 1 / 4) / 2})
    config.decide_with = "view"
    got = scores(splits, parts, config, points)
    assert got["known"] == pytest.approx(1 / 4) and got["match/known"] == 1


def without(splits, name, captures):
    """Splits with so many validation captures of a condition."""
    session, inside = splits.windows.session, splits.window_mask(VALID, [name])
    gone = inside & np.isin(session, np.unique(session[inside])[captures:])
    kept = windows.take(splits.windows, ~gone)
    return splits._replace(windows=kept, judged=splits.judged[~gone])


def test_a_condition_with_one_validation_capture_has_examples_from_training(tmp_path):
    config = small_data.config(tmp_path / "prepared")
    small_data.write(config.data.dir, captures=8)
    splits = without(
        without(open_splits(from_dict(config).data), "overload", 1), "slow", 1
    )
    plan = validation.plan_validation(splits, 5)
    assert (plan.known, plan.novel) == (("normal", "blocked", "overload"), ())
    names = [splits.conditions.names[c] for c in plan.windows.condition[plan.library]]
    assert set(names) == {"overload"}
    assert set(splits.sessions.role[plan.windows.session[plan.library]]) == {TRAIN}
    assert plan.lines == (
        "validation judges 3 of 3 known and 0 of 1 novel conditions",
        "validation has less than two captures of these conditions, examples of them "
        "are from training captures: overload",
        "not judged, no other capture can give an example of it: slow",
    )
    none = validation.plan_validation(without(splits, "blocked", 0), 5)
    assert none.known == ("normal", "overload") and "blocked" in none.lines[-2]
    # What is not judged can still be taken for what is.
    blocked = splits.conditions.names.index("blocked")
    assert blocked in none.windows.condition[none.library]


def test_a_score_over_no_condition_is_not_logged(tmp_path):
    config = small_data.config(tmp_path / "prepared")
    small_data.write(config.data.dir, captures=8)
    splits, parts = opened(config)

    def points(of):
        return dict.fromkeys(parts.heads, np.eye(4)[of.condition])

    got = scores(without(splits, "slow", 1), parts, config, points)
    assert set(got) == {"known", "view/known", "score"} and got["score"] == 1


@pytest.mark.parametrize(
    "captures",
    [
        1,
        pytest.param(2, marks=pytest.mark.slow),
        pytest.param(0, marks=pytest.mark.slow),
    ],
    ids=["one", "two", "no fault"],
)
def test_next_to_no_captures_train_evaluate_and_identify(
    tmp_path, captures, caplog, capsys, monkeypatch
):
    caplog.set_level("INFO")
    config = small_data.config(tmp_path / "prepared", steps=2)
    config.evaluate_every, config.trace_frames = 1, 0
    config.heads.view, config.batch.made_up = None, 0  # quick to compile
    if captures:
        small_data.write(config.data.dir, captures)
    else:
        calm = [small_data.session(f"normal_{i}", NORMAL, i) for i in range(3)]
        prepared.write_data_set(
            config.data.dir, DataSet(calm, small_data.KINDS, {}), {}
        )
        config.data.update(novel=(), novel_valid=())
        config.batch.conditions = 1
    loop.train(from_dict(config), tmp_path / "run")
    with checkpoints.open_checkpoints(tmp_path / "run") as saved:
        best = saved.meta(checkpoints.BEST)["best"]
    lines = (tmp_path / "run" / "scalars.csv").read_text()
    if captures == 2:  # normal and slow are judged
        assert "validation judges 1 of 3 known and 1 of 1 novel" in caplog.text
        assert "no validation capture shows it: blocked, overload" in caplog.text
        assert "valid/known" in lines and "valid/novel" in lines
    else:
        assert "validation judges nothing" in caplog.text
        assert best["step"] == 2 and "valid/" not in lines
    evaluate.evaluate_run(tmp_path / "run")
    known = {NORMAL} if not captures else {NORMAL, "blocked", "overload"}
    examples = (tmp_path / "run" / "examples.csv").read_text().splitlines()[1:]
    assert {line.split(",")[0] for line in examples} == known
    json.loads((tmp_path / "run" / "results.json").read_text())
    printed = capsys.readouterr().out
    assert ("nothing is judged" in printed) == (captures == 1)
    identify.identify_captures(
        tmp_path / "run", ["data/testbed/captures/blocked_005.pcap.xz"]
    )
    assert "blocked_005" in capsys.readouterr().out
