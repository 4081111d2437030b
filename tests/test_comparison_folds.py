"""Cells share programs, never data: scaler, baselines, columns, length of a window."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import compare
from siamjax.comparison import config as configs
from siamjax.comparison import protocol, trainer
from siamjax.data import prepared, synthetic
from siamjax.types import TEST
from tests import small_data

SETTING = {
    head: ("contrastive", dict(pos_margin=0.1, neg_margin=0.9, power=2))
    for head in ("match", "view")
}
FOLDS = [protocol.Member(fold, 7, SETTING) for fold in (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counters")
    made = synthetic.make_data_set(
        0, sessions=24, conditions=6, bins=48, onset=24, columns=5, strength=1.5
    )
    prepared.write_data_set(folder, made, {})
    return folder


@pytest.fixture
def config(folder):
    """No session has a baseline of its own: units and levels are those of training."""
    config = compare.get_config()
    config.losses, config.repeats = ("contrastive",), 2
    config.train = small_data.config(folder, steps=3)
    config.train.evaluate_every = 1
    config.train.batch.update(made_up=0)
    config.train.data.update(bin_s=1.0, bins=8, hop_s=4.0, baseline_s=0.0)
    ways = dict(test_conditions=1, ways=0)
    data = dict(
        plain={}, clipped=dict(clip=0.2), raw=dict(baseline="none"), longer=dict(bins=9)
    )
    config.data_sets = {
        name: dict(data=dict(dir=str(folder), clip=2.0) | own, **ways)
        for name, own in data.items()
    }
    return configs.from_dict(config)


def forget():
    trainer._PROGRAMS.clear()
    trainer._EMBED.clear()


def splits(config, fold):
    train = protocol.training_config(config, "plain", fold)
    return protocol.cell_splits(train, blind=True)


def same(outcomes, others):
    for one, other in zip(outcomes, others, strict=True):
        for head, best in one.best.items():
            assert best[:2] == other.best[head][:2]  # score and step
            leaves = (jax.tree.leaves(x.best[head].weights) for x in (one, other))
            for a, b in zip(*leaves):
                np.testing.assert_array_equal(a, b)


def test_the_folds_of_a_data_set_share_its_counts(config):
    first, second = (splits(config, fold) for fold in (0, 1))
    assert first.sessions.role.tolist() != second.sessions.role.tolist()
    assert first.counts is second.counts
    assert np.isnan(first.counts[first.sessions.role == TEST]).all()


def test_the_units_of_the_counters_differ_by_fold(config):
    """Else the tests below could not fail."""
    one, other = (splits(config, fold) for fold in (0, 1))
    assert np.abs(np.log(one.scaler.floor / other.scaler.floor)).max() > 0.05
    assert np.abs(one.baseline.mean - other.baseline.mean).max() > 0.5


def test_a_fold_is_the_same_in_any_order(config):
    """The first of each is alone: nothing was compiled before it."""
    forget()
    first, second = trainer.train_cells(config, "plain", FOLDS, vmapped=False)
    forget()
    same(
        trainer.train_cells(config, "plain", FOLDS[::-1], vmapped=False),
        [second, first],
    )


def test_each_fold_of_a_group_has_its_own_scaler_and_baselines(config):
    """One program trains them together; a program for one rounds otherwise."""
    forget()
    group = trainer.train_one_step(config, "plain", FOLDS, vmapped=True)
    assert len(trainer._PROGRAMS) == 1
    alone = trainer.train_one_step(config, "plain", FOLDS, vmapped=False)
    for states in zip(group, alone, strict=True):
        moments = (jax.tree.leaves(state.opt_state[1][0].mu) for state in states)
        for a, b in zip(*moments):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_data_sets_of_one_folder_get_the_scores_that_each_has_alone(config):
    """They differ in what no shape shows."""

    names = ("plain", "clipped", "raw")
    trainings = {name: protocol.training_config(config, name, 0) for name in names}
    made = {name: protocol.cell_splits(x, blind=True) for name, x in trainings.items()}
    ready = trainer.prepare_training(trainings["plain"], made["plain"], FOLDS[0])
    encoder = ready.parts.encoder
    weights = dict(params=ready.state.params["encoder"], stats=ready.state.batch_stats)

    def score(name):
        key = trainer.encoder_key(trainings[name], made[name].columns)
        program = trainer.Program(
            None, trainer.shared_embedder(key, encoder), encoder.finalise
        )
        validate = trainer.make_validator(made[name])
        return validate(program, weights)["match"][0]

    forget()
    together = [score(name) for name in names]
    assert len(trainer._EMBED) == 1 and len(set(together)) == len(names)
    for name, value in zip(names, together):
        forget()
        assert score(name) == value


def test_a_program_is_for_one_length_of_window_and_made_up_for_its_columns(config):
    """Both are constants of the steps."""
    columns = splits(config, 0).columns
    other = (columns[0]._replace(heavy=not columns[0].heavy), *columns[1:])

    def keys(train):
        return {trainer._parts_key(train, x, classes=4) for x in (columns, other)}

    plain, longer = (
        protocol.training_config(config, x, 0) for x in ("plain", "longer")
    )
    assert len(keys(plain)) == 1 and not keys(plain) & keys(longer)
    batch = dataclasses.replace(plain.batch, made_up=2)
    assert len(keys(dataclasses.replace(plain, batch=batch))) == 2
