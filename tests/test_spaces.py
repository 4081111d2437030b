import numpy as np
import pytest

from siamjax.config import from_dict
from siamjax.evaluation import baselines, spaces, wccn
from siamjax.evaluation.normal_bins import NormalBins
from siamjax.evaluation.novelty import TrainingWindows
from siamjax.evaluation.spaces import Space
from siamjax.evaluation.statistics import Table
from siamjax.files import Damaged
from siamjax.inference import deciding
from siamjax.inference.deciding import Deciding
from siamjax.types import SiamjaxError
from tests import small_data

F = 3


def windows(count=12):
    return np.random.default_rng(0).normal(size=(count, 5, F))


def whitening():
    x = wccn.signed_log_moments(windows())
    return wccn.fit_whitening(x, np.repeat([0, 1, 2], 4))


def test_a_space_is_the_learnt_point_and_the_statistics_beside_it():
    x, learnt = windows(), dict(match=np.eye(12), view=np.full((12, 3), 0.5))
    raw = spaces.to_space(Space("match", "raw", 2.0), learnt, x, None)
    np.testing.assert_array_equal(raw[:, :12], np.eye(12))
    np.testing.assert_allclose(raw[:, 12:], 2 * baselines.directions(x))
    white = spaces.to_space(Space("match", "whitened", 0.5), learnt, x, whitening())
    np.testing.assert_allclose(np.linalg.norm(white[:, 12:], axis=1), 0.5)
    alone = spaces.to_space(Space("view", "none", 0.0), learnt, x, None)
    np.testing.assert_array_equal(alone, learnt["view"])
    closed = spaces.to_space(Space("", "whitened", 1.0), learnt, x, whitening())
    np.testing.assert_allclose(
        closed, wccn.whiten(wccn.signed_log_moments(x), whitening())
    )


def test_whitened_statistics_need_a_whitening():
    with pytest.raises(SiamjaxError, match="siamjax evaluate"):
        spaces.to_space(Space("", "whitened", 1.0), {}, windows(), None)


def test_every_space_has_a_name_of_its_own():
    listed = spaces.list_spaces(["match", "view"])
    names = [spaces.describe_space(space) for space in listed]
    assert len(set(names)) == len(listed) == 8
    assert names[0] == "match + whitened 2" and spaces.WCCN in names
    assert {"match alone", "view alone"} < set(names)


def curve(*differences):
    """Rows of the spaces of a head; each difference is `(value, half width)` of the
    group `novel`, or {group: the two}."""
    rows = []
    for space, less in zip(spaces.list_spaces(["match"]), differences, strict=False):
        by_group = less if isinstance(less, dict) else dict(novel=less)
        intervals = {g: [v, v - half, v + half] for g, (v, half) in by_group.items()}
        rows.append(dict(space._asdict(), less=intervals))
    return rows


def chosen(*curves):
    """The number of the space that is chosen."""
    return spaces.list_spaces(["match"]).index(spaces.choose(curves))


def test_another_space_is_chosen_only_if_it_is_clearly_better():
    assert chosen(curve((0, 0), (0.05, 0.06), (0.02, 0.03))) == 0
    assert chosen(curve((0, 0), (0.05, 0.04), (0.02, 0.03))) == 1
    assert chosen(curve((0, 0), (0.05, 0.04), (0.06, 0.04))) == 2
    assert chosen(curve((0, 0), (-0.05, 0.01), (0.0, 0.0))) == 0


def test_where_nothing_was_judged_nothing_is_whitened():
    """The threshold would be learnt on the windows that the whitening was fitted on."""
    rows = curve(*[{}] * 7)
    assert spaces.choose([rows]) == Space("match", "raw", 1.0)
    assert spaces.choose([rows[:1]]) == Space("match", "whitened", 2.0)


def test_groups_and_folds_count_alike():
    """By hand: two intervals +-0.06 give one of +-0.06 / sqrt(2) = 0.042 around their
    mean."""
    one = curve((0, 0), (0.05, 0.06))
    assert chosen(one) == 0 and chosen(one, one) == 1
    both = dict(known=(0.05, 0.06), novel=(0.05, 0.06))
    assert chosen(curve((0, 0), both)) == 1
    worse = dict(known=(-0.05, 0.01), novel=(0.05, 0.01))
    assert chosen(curve((0, 0), worse)) == 0


def test_the_curve_has_recalls_and_paired_differences():
    judged = np.ones((4, 1))
    right = [np.array([[1.0], [0.0], [1.0], [0.0]]), np.ones((4, 1))]
    tables = [dict(novel=Table(hits, judged)) for hits in right]
    listed = spaces.list_spaces(["match"])[:2]
    first, second = spaces.make_curve(listed, tables)
    assert first["novel"] == 0.5 and first["less"]["novel"][0] == 0.0
    assert second["novel"] == 1.0 and second["less"]["novel"][0] == 0.5
    assert (second["head"], second["weight"]) == ("match", 1.0)


def config(**changes):
    config = small_data.config("data")
    config.update(changes)
    return from_dict(config)


def test_a_head_named_in_the_config_leaves_nothing_to_choose():
    assert deciding.allowed_spaces(config(decide_with="match")) == (
        Space("match", "raw", 1.0),
    )
    assert deciding.allowed_spaces(config(decide_with="view")) == (
        Space("view", "none", 0.0),
    )
    assert deciding.allowed_spaces(config())[0] == Space("match", "whitened", 2.0)
    assert config().deciding_head == "match"


def test_what_decides_is_read_as_it_was_written(tmp_path):
    moments = np.arange(4.0 * F).reshape(2, 2 * F)
    training = TrainingWindows(("normal", "blocked"), ("a", "b"), moments)
    written = Deciding(Space("match", "whitened", 0.5), whitening(), training)
    deciding.write_deciding(tmp_path, written)
    read = deciding.read_deciding(tmp_path, config(), F)
    assert read.space == written.space and read.training[:2] == training[:2]
    np.testing.assert_array_equal(read.training.moments, moments)
    for array, before in zip(read.whitening, written.whitening, strict=True):
        np.testing.assert_array_equal(array, before)
    assert deciding.fingerprint(read) != deciding.fingerprint(
        written._replace(training=training._replace(moments=moments + 1))
    )


def test_normal_bins_are_read_as_they_were_written(tmp_path):
    bins = NormalBins(wccn.fit_whitening(np.eye(F), np.zeros(F, int)), 2.5)
    written = Deciding(Space("match", "whitened", 0.5), whitening())
    before = deciding.fingerprint(written)
    written = written._replace(normal_bins=bins)
    assert deciding.fingerprint(written) != before
    deciding.write_deciding(tmp_path, written)
    read = deciding.read_deciding(tmp_path, config(), F)
    assert read.normal_bins.limit == 2.5
    for array, wanted in zip(read.normal_bins.whitening, bins.whitening, strict=True):
        np.testing.assert_array_equal(array, wanted)
    deciding.write_deciding(
        tmp_path, written._replace(normal_bins=bins._replace(limit=0.0))
    )
    with pytest.raises(Damaged, match="bins_limit is not above 0"):
        deciding.read_deciding(tmp_path, config(), F)


def test_a_run_that_an_older_version_evaluated_keeps_no_training_windows(tmp_path):
    written = Deciding(Space("match", "whitened", 0.5), whitening())
    deciding.write_deciding(tmp_path, written)
    assert deciding.read_deciding(tmp_path, config(), F).training is None


def test_training_windows_of_another_run_are_refused(tmp_path):
    training = TrainingWindows(("normal",), ("a",), np.ones((1, F)))
    written = Deciding(Space("match", "whitened", 0.5), whitening(), training)
    deciding.write_deciding(tmp_path, written)
    with pytest.raises(Damaged, match="training_moments is float64"):
        deciding.read_deciding(tmp_path, config(), F)


def test_before_the_evaluation_the_default_decides(tmp_path):
    assert deciding.read_deciding(tmp_path, config(), F) == Deciding(
        Space("match", "whitened", 2.0), None
    )


@pytest.mark.parametrize(
    "space, columns, message",
    [
        (Space("match", "whitened", 3.0), F, "is no space of this run"),
        (Space("match", "whitened", 1.0), F + 1, "mean is float64"),
    ],
)
def test_a_space_of_another_run_is_refused(tmp_path, space, columns, message):
    deciding.write_deciding(tmp_path, Deciding(space, whitening()))
    with pytest.raises(Damaged, match=message):
        deciding.read_deciding(tmp_path, config(), columns)


def test_a_damaged_space_is_one_line(tmp_path):
    deciding.write_deciding(
        tmp_path, Deciding(Space("match", "whitened", 1.0), whitening())
    )
    path = tmp_path / deciding.FILE
    content = bytearray(path.read_bytes())
    for cut in (content[:40], b"", bytes(len(content))):
        path.write_bytes(cut)
        with pytest.raises(Damaged, match="siamjax evaluate"):
            deciding.read_deciding(tmp_path, config(), F)
