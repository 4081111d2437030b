"""Data sets that make themselves, and methods that have distances but no points."""

import types

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy.spatial import distance

from configs import compare, compare_smoke
from siamjax import metrics
from siamjax.comparison import config as configs
from siamjax.comparison import protocol
from siamjax.comparison.readouts import embed_distances
from siamjax.data import prepared
from siamjax.experiments import sources
from siamjax.types import UsageError


def config(tmp_path, source):
    made = compare.get_config("synthetic")
    made.data_sets.synthetic.source = ConfigDict(source)
    made.data_sets.synthetic.data.dir = str(tmp_path / "made")
    made.data_sets.synthetic.test_conditions = 2
    return configs.from_dict(made)


def test_made_up_counters_are_written_once_and_split_by_the_protocol(tmp_path):
    made = config(tmp_path, dict(name="synthetic", seed=1, conditions=7, sessions=28))
    source, folder = made.data_sets["synthetic"].source, tmp_path / "made"
    sources.check_source(source, "source")
    sources.make_if_missing(source, folder, "source")
    before = (folder / "meta.json").stat().st_mtime_ns
    sources.make_if_missing(source, folder, "source")
    assert (folder / "meta.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"was made of .*, source is .*'seed': 2"):
        sources.make_if_missing(dict(source, seed=2), folder, "source")
    sources.make_if_missing({}, tmp_path / "none", "source")
    assert not (tmp_path / "none").exists()
    train = protocol.training_config(made, "synthetic", 0)
    assert len(train.data.novel) == 2 and len(train.data.novel_valid) == 2
    assert protocol.cell_splits(train, blind=False).counts.shape[0] == 28


@pytest.mark.parametrize(
    "source, message",
    [
        (dict(name="syntetic"), r"source\.name is 'syntetic': one of \['aeon'"),
        (dict(name="synthetic", seed=0, rows=3), r"sets \['rows'\], synthetic takes"),
        (dict(name="aeon"), r"lacks \['of'\], which aeon needs"),
    ],
)
def test_a_wrong_source_is_one_line(tmp_path, source, message):
    with pytest.raises(UsageError, match=message):
        protocol.check_config(config(tmp_path, source))


def test_every_data_set_of_the_config_is_one_that_the_protocol_takes():
    every = compare.get_config(",".join(compare.DATA_SETS))
    protocol.check_config(configs.from_dict(every))
    assert set(compare_smoke.get_config().data_sets) == {"testbed"}


def test_recordings_of_aeon_are_stretched_to_the_longest(tmp_path, monkeypatch):
    def load(name, split, **_):
        if name != "Two":
            raise ValueError("no such file")
        rows = [[[0.0, 2.0], [5.0, 5.0]], [[0.0, 1.0, 4.0], [1.0, 2.0, 3.0]]]
        return [np.array(row) for row in rows], ["a", "b"]

    fake = types.SimpleNamespace(load_classification=load)
    monkeypatch.setattr(sources.baselines, "import_bench", lambda _: fake)
    prepared.write_data_set(tmp_path / "two", sources.read_aeon("Two"), {})
    got = prepared.read_data_set(tmp_path / "two")
    names = ["train_0000", "train_0001", "test_0000", "test_0001"]
    assert [session.name for session in got.sessions] == names
    short, long = (session.series.values for session in got.sessions[:2])
    np.testing.assert_array_equal(short, [[0, 5], [1, 5], [2, 5]])
    np.testing.assert_array_equal(long, [[0, 1], [1, 2], [4, 3]])
    assert got.sessions[1].labels == (("class b", 0.0, 3.0),)
    with pytest.raises(UsageError, match="aeon has no data set Three: no such file"):
        sources.read_aeon("Three")


def test_points_stand_for_distances_that_are_no_metric():
    rng = np.random.default_rng(0)
    d = rng.uniform(0.1, 9.0, (40, 40))
    d = d + d.T
    np.fill_diagonal(d, 0.0)
    points = embed_distances(d)
    squared = distance.squareform(distance.pdist(points, "sqeuclidean"))
    gap = (squared - d)[~np.eye(40, dtype=bool)]
    np.testing.assert_allclose(gap, gap[0], atol=1e-9)
    assert gap[0] > 0  # there were none without a constant

    # Distances of points come back, and their neighbours with them.
    x = rng.normal(size=(60, 3))
    labels = np.arange(60) % 4
    of = embed_distances(distance.squareform(distance.pdist(x, "sqeuclidean")))
    np.testing.assert_allclose(distance.pdist(of), distance.pdist(x), atol=1e-6)
    precision, right = (
        metrics.score_queries(points, labels, ["map"])["map"] for points in (of, x)
    )
    np.testing.assert_allclose(precision, right, atol=1e-12)
