import numpy as np
import pytest

from siamjax.config import from_dict
from siamjax.evaluation import baselines, spaces, wccn
from siamjax.evaluation.spaces import Space
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


def curve(*recalls):
    listed = spaces.list_spaces(["match"])
    return [
        dict(space._asdict(), **recall)
        for space, recall in zip(listed, recalls, strict=False)
    ]


def test_the_best_mean_of_known_and_novel_is_chosen_and_the_first_of_equal_ones():
    equal = curve(dict(known=1.0, novel=0.8), dict(known=0.8, novel=1.0))
    assert spaces.choose([equal]) == spaces.list_spaces(["match"])[0]
    better = curve(dict(known=1.0, novel=0.8), dict(known=1.0, novel=0.9))
    assert spaces.choose([better]) == spaces.list_spaces(["match"])[1]
    # Two folds: the mean decides.
    other = curve(dict(known=1.0, novel=0.9), dict(known=0.5, novel=0.5))
    assert spaces.choose([better, other]) == spaces.list_spaces(["match"])[0]


def test_where_nothing_is_judged_the_default_is_chosen():
    assert spaces.choose([curve({}, {}, {})]) == Space("match", "whitened", 2.0)


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
    written = Deciding(Space("match", "whitened", 0.5), whitening())
    deciding.write(tmp_path, written)
    read = deciding.read(tmp_path, config(), F)
    assert read.space == written.space
    for array, before in zip(read.whitening, written.whitening, strict=True):
        np.testing.assert_array_equal(array, before)


def test_before_the_evaluation_the_default_decides(tmp_path):
    assert deciding.read(tmp_path, config(), F) == Deciding(
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
    deciding.write(tmp_path, Deciding(space, whitening()))
    with pytest.raises(Damaged, match=message):
        deciding.read(tmp_path, config(), columns)


def test_a_damaged_space_is_one_line(tmp_path):
    deciding.write(tmp_path, Deciding(Space("match", "whitened", 1.0), whitening()))
    path = tmp_path / deciding.FILE
    content = bytearray(path.read_bytes())
    for cut in (content[:40], b"", bytes(len(content))):
        path.write_bytes(cut)
        with pytest.raises(Damaged, match="siamjax evaluate"):
            deciding.read(tmp_path, config(), F)
