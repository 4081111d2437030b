"""Sessions compared together get the evidence that each gets alone."""

import numpy as np
import pytest

from siamjax.data import columns, counts_on_disk, features
from siamjax.identification import comparing, sessions
from siamjax.models import embedder
from siamjax.types import Baseline
from tests import fake_run

# Bins of sessions, and how many windows of 16 bins each has, at every second bin.
LENGTHS, COUNTS = (16, 30, 15, 32, 270, 272, 496), (1, 8, 0, 9, 128, 129, 241)


@pytest.fixture
def run(tmp_path):
    """The run of `fake_run`, which notes how many windows it embeds at once."""
    made = fake_run.make_run(tmp_path)
    made.sizes = []

    def embed(counts, baseline, session=None):
        made.sizes.append(len(counts))
        return {}

    made.embed = embed
    return made


def make_traffic(seed, length):
    """A session of any counts; in some bins nothing was measured."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(3, (length, len(columns.SIP))).astype(np.float32)
    counts[rng.random(length) < 0.1] = np.nan
    baseline = Baseline(*rng.random((2, len(columns.SIP))).astype(np.float32))
    return sessions.Traffic(str(seed), counts, baseline, across=seed % 3 == 1)


def assert_same(got, wanted):
    assert got._fields == wanted._fields
    for name, x in wanted._asdict().items():
        if isinstance(x, np.ndarray):
            np.testing.assert_allclose(getattr(got, name), x, rtol=1e-6, atol=1e-6)
        else:
            assert getattr(got, name) == x


def test_sessions_compared_together_are_as_alone(run):
    traffics = [make_traffic(seed, length) for seed, length in enumerate(LENGTHS)]
    library = fake_run.examples_of(run)
    together = comparing.Comparisons(run, library).compare_sessions(traffics)
    assert [len(x.start_s) for x in together] == list(COUNTS)
    # Nothing is compiled for a number of sessions or windows.
    assert set(run.sizes) == {1, embedder.CHUNK, embedder.FEW}
    for traffic, evidence in zip(traffics, together):
        assert_same(evidence, comparing.compare_traffic(run, traffic, library))
    _, *inputs = sessions.slide_windows(traffics[-1], 16, 2)
    z = np.asarray(features.to_features(*inputs, run.scaler))
    points = z.mean(1) - features.to_features(*library.inputs[:2], run.scaler).mean(1)
    wanted = np.linalg.norm(points, axis=1)[:, None]
    wanted[np.isnan(inputs[0]).all((1, 2))] = np.inf
    np.testing.assert_allclose(together[-1].distances, wanted, rtol=1e-6, atol=1e-6)


def test_a_session_on_disk_is_read_in_blocks_and_compared_as_in_memory(run, tmp_path):
    traffics = [make_traffic(seed, length) for seed, length in enumerate(LENGTHS)]
    library = fake_run.examples_of(run)
    stored = counts_on_disk.open_counts(
        tmp_path / "counts",
        {},
        LENGTHS,
        len(columns.SIP),
        lambda i: [traffics[i].counts],
    )
    reads = []

    class Noted(counts_on_disk.SessionCounts):
        def __getitem__(self, chosen):
            reads.append(chosen.stop - chosen.start)
            return super().__getitem__(chosen)

    on_disk = [x._replace(counts=Noted(stored, i)) for i, x in enumerate(traffics)]
    compared = comparing.Comparisons(run, library).compare_sessions(on_disk)
    assert max(reads) == 2 * (embedder.CHUNK - 1) + 16
    for evidence, wanted in zip(
        compared, comparing.Comparisons(run, library).compare_sessions(traffics)
    ):
        assert evidence._fields == wanted._fields
        for x, y in zip(evidence, wanted):
            np.testing.assert_array_equal(x, y)


def test_an_encoder_that_normalises_by_session_sees_all_of_it_at_once(run):
    run.config.encoder.norm = "session"
    traffics = [make_traffic(seed, length) for seed, length in enumerate(LENGTHS)]
    comparing.Comparisons(run, fake_run.examples_of(run)).compare_sessions(traffics)
    assert sorted(run.sizes) == sorted([1, *COUNTS])  # the example, and each session
