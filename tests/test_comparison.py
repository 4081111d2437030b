"""The comparison: its protocol, its queue, what it may not see, and that it repeats."""

import contextlib
import dataclasses
import functools

import jax
import numpy as np
import pytest

from configs import compare
from siamjax.comparison import config as configs
from siamjax.comparison import protocol, studies, trainer, tunable, workers
from siamjax.losses import search
from siamjax.types import TEST, TRAIN, VALID, UsageError
from tests import small_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "data"
    small_data.write(folder)
    return folder


@pytest.fixture
def config(folder):
    return configs.from_dict(plain(folder))


def plain(folder):
    config = compare.get_config()
    config.losses = ("triplet", "supcon")
    config.trials, config.random_trials, config.repeats = 2, 1, 2
    config.workers, config.draws = 1, 3
    small = small_data.config(folder, steps=4)
    small.evaluate_every = 2
    small.batch.update(made_up=0)
    config.train = small
    config.data_sets = dict(
        small=dict(data=dict(dir=str(folder)), test_conditions=("busy",), ways=0)
    )
    return config


def opened(config, fold):
    train = protocol.training_config(config, "small", fold)
    return protocol.cell_splits(train, blind=True)


def test_no_condition_and_no_capture_of_the_test_is_trained_on_or_chosen_by(config):
    validating = []
    for fold in range(config.folds):
        splits = opened(config, fold)
        known = set(splits.conditions.known)
        validating.append(set(splits.conditions.novel_valid))
        assert splits.conditions.novel == ("busy",)
        assert not known & {"busy", *splits.conditions.novel_valid}
        tested = splits.sessions.role == TEST
        assert np.isnan(splits.counts[tested]).all()
        assert not np.isnan(splits.counts[~tested]).all((1, 2)).any()
        for role in (TRAIN, VALID):
            conditions = splits.windows_of(role).condition
            assert splits.conditions.names.index("busy") not in conditions
    assert not validating[0] & validating[1]
    assert set.union(*validating) == {"blocked", "overload", "slow"}


def test_folds_test_on_the_same_captures(config):
    first, second = (opened(config, fold) for fold in range(2))
    tested = [splits.sessions.role == TEST for splits in (first, second)]
    np.testing.assert_array_equal(*tested)


def test_all_losses_have_the_same_seeds_and_no_trial_shares_one_with_a_repeat(config):
    def seeds(stage):
        return {m.seed for m in protocol.list_members(config, stage, range(8), {})}

    assert len(seeds("tune")) == 16 and not seeds("tune") & seeds("repeat")


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("losses", (), r"config\.losses is \(\): "),
        ("losses", ("triplet", "triplet"), r"\['triplet'\] twice"),
        ("losses", ("tripet",), "did you mean triplet"),
        ("repeats", 1, r"config\.repeats is 1: .* 2"),
        ("trials", -3, r"config\.trials is -3: .* 1"),
        ("baselines", ("dwt",), r"config\.baselines\.0 is 'dwt': .*'dtw'"),
        ("data_sets", {}, r"config\.data_sets is {}: "),
        ("train.steps", -5, r"config\.train\.steps is -5: .* 1"),
        ("train.seed", None, r"config\.train\.seed is None: "),
        (
            "data_sets.small.data.bin_s",
            0.0,
            r"data_sets\.small\.data\.bin_s is 0",
        ),
        (
            "data_sets.small.data.bins_",
            1,
            r"\.small\.data\.bins_ is no field",
        ),
    ],
)
def test_what_cannot_be_believed_is_one_line(folder, field, value, message):
    mistaken = plain(folder).to_dict()
    *path, last = field.split(".")
    fields = functools.reduce(dict.get, path, mistaken)
    fields[last] = value
    with pytest.raises(UsageError, match=message) as raised:
        protocol.check_config(configs.from_dict(mistaken))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("field", ["losses", "train", "data_sets", "vmapped"])
def test_a_config_without_a_field_is_one_line(folder, field):
    incomplete = plain(folder).to_dict()
    del incomplete[field]
    with pytest.raises(UsageError, match=rf"^config\.{field} is missing: configs/comp"):
        configs.from_dict(incomplete)


def test_a_workdir_takes_more_losses_but_no_other_budget(config, tmp_path):
    protocol.claim_workdir(tmp_path, config)
    config = dataclasses.replace(config, losses=("triplet", "supcon", "nca"))
    protocol.claim_workdir(tmp_path, config)
    with pytest.raises(UsageError, match=r"config\.trials"):
        protocol.claim_workdir(tmp_path, dataclasses.replace(config, trials=3))


FEW = ("triplet", "contrastive", "multi_similarity", "sigmoid_pairs", "soft_triple")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec, marks=() if spec in FEW else pytest.mark.slow)
        for spec in sorted(search.SEARCH)
    ],
)
def test_a_setting_as_data_is_the_setting_as_text(spec):
    """Value and gradient of the loss do not depend on how its numbers come in."""
    setting = {
        name: space.low + 0.3 * (space.high - space.low)
        if isinstance(space, search.Range) and isinstance(space.low, float)
        else (space.low if isinstance(space, search.Range) else space[-1])
        for name, space in search.space(spec).items()
    }
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 4)).astype(np.float32)
    x, labels = x / np.linalg.norm(x, axis=1, keepdims=True), np.repeat(np.arange(4), 2)
    data, _ = tunable.resolve_setting(spec, setting)
    text = tunable.losses.resolve(search.fill(spec, setting))

    def run(loss):
        state = loss.init(jax.random.key(1), 4, 4)
        where, key = np.ones(8, bool), jax.random.key(2)

        def value(x):
            return loss.apply(state, x, labels, where=where, key=key)[0]

        return jax.jit(jax.value_and_grad(value))(x)

    for got, want in zip(run(data), run(text)):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-6)


def test_settings_that_differ_in_numbers_share_a_program():
    _, one = tunable.resolve_setting("triplet", dict(margin=0.2, mining="all"))
    _, two = tunable.resolve_setting("triplet", dict(margin=0.7, mining="all"))
    _, other = tunable.resolve_setting("triplet", dict(margin=0.7, mining="hard"))
    assert one == two != other


def store(tmp_path, name="studies.db"):
    return studies.open_storage(f"sqlite:///{tmp_path / name}")


def test_every_slot_is_done_once_though_a_queue_holds_it_twice(tmp_path):
    study = protocol.Study("small", "tune", "triplet")
    found = studies.open_study(store(tmp_path), study, [None] * 3).study
    for slot in range(3):
        found.enqueue_trial({}, user_attrs={studies.SLOT: slot, studies.SETTING: None})
    done = []
    for _ in range(8):
        studies.run_queued_slots(
            found, lambda taken: [(done.append(taken[0][0]) or 0.5, [])]
        )
    assert sorted(done) == [0, 1, 2]
    assert sorted(studies.finished_trials(studies.read_study(found))) == [0, 1, 2]


@pytest.mark.parametrize("many", [1, 3])
def test_a_failed_and_a_nan_slot_are_told_and_do_not_stop_the_others(tmp_path, many):
    study = protocol.Study("small", "tune", "triplet")
    found = studies.open_study(store(tmp_path), study, [None] * 3).study

    def work(taken):
        slots = [slot for slot, _ in taken]
        if 0 in slots:
            raise ValueError("out of luck")
        return [((float("nan") if slot == 1 else 0.5), []) for slot in slots]

    while studies.run_queued_slots(found, work, many):
        pass
    done = studies.finished_trials(studies.read_study(found))
    assert done[0].user_attrs[studies.ERROR] == "ValueError: out of luck"
    assert "not finite" in done[1].user_attrs[studies.ERROR] and done[2].value == 0.5


def test_what_was_interrupted_is_queued_again_with_its_setting(tmp_path):
    study = protocol.Study("small", "tune", "supcon")
    found = studies.open_study(store(tmp_path), study, [None]).study
    seen = []

    def work(taken):
        seen.append(studies.suggest_values(taken[0][1], "supcon", seed=0, in_round=1))
        if len(seen) == 1:
            raise KeyboardInterrupt
        return [(0.5, [])]

    with pytest.raises(KeyboardInterrupt):
        studies.run_queued_slots(found, work)
    assert studies.next_slot(studies.read_study(found)) == 0
    studies.run_queued_slots(found, work)
    assert (
        seen[0] == seen[1]
        and len(studies.finished_trials(studies.read_study(found))) == 1
    )


def test_a_search_is_a_function_of_its_seed_and_not_of_the_workers(tmp_path):
    """However many slots are taken together, and though one of them comes late."""
    kept = store(tmp_path)

    def settings(name, many, late):
        study = protocol.Study(name, "tune", "multi_similarity")
        found = studies.open_study(kept, study, [])
        chosen, interrupted = {}, []

        def work(taken):
            for slot, trial in taken:
                if slot == late and not interrupted:
                    interrupted.append(slot)
                    raise KeyboardInterrupt
                chosen[slot] = studies.suggest_values(
                    trial, "multi_similarity", seed=3, in_round=2
                )
            return [(chosen[slot]["base"], []) for slot, _ in taken]

        while len(studies.finished_trials(found)) < 4:
            slots = studies.count_open_slots(
                studies.finished_trials(found), 4, in_round=2
            )
            found = studies.queue_settings(found, [None] * slots)
            with contextlib.suppress(KeyboardInterrupt):
                studies.run_queued_slots(found.study, work, many)
            found = studies.read_study(found.study)
        return chosen

    first = settings("one by one, the first comes last", 1, 0)
    assert len({str(x) for x in first.values()}) == 4
    assert settings("together", 4, None) == first


def test_a_round_is_queued_when_the_one_before_is_done():
    def begun(*done):
        return studies.count_open_slots(dict.fromkeys(done), 7, in_round=3)

    assert begun() == begun(1, 2) == 3
    assert begun(0, 1, 2) == begun(0, 1, 2, 3, 5) == 6
    assert begun(*range(6)) == begun(*range(7)) == 7


@pytest.fixture(scope="module")
def members():
    setting = {
        h: ("triplet", dict(margin=0.3, mining="all")) for h in ("match", "view")
    }
    return [protocol.Member(0, 5, setting), protocol.Member(0, 6, setting)]


def test_a_cell_repeats_bit_for_bit_and_alone_as_in_its_group(config, members):
    group = trainer.train_cells(config, "small", members, vmapped=True)
    again = trainer.train_cells(config, "small", members, vmapped=True)
    leaves = [
        jax.tree.leaves([o.best["match"].weights for o in x]) for x in (group, again)
    ]
    for a, b in zip(*leaves):
        np.testing.assert_array_equal(a, b)
    # Alone: the same program, and nobody else in it.
    alone = trainer.train_cells(config, "small", members[1:] * 2, vmapped=True)[1]
    for head, best in alone.best.items():
        pair = (x.weights for x in (best, group[1].best[head]))
        for a, b in zip(*map(jax.tree.leaves, pair)):
            np.testing.assert_array_equal(a, b)
    same_first_gradients(config, members)


def same_first_gradients(config, members):
    """In a group and in a program of its own; later Adam may make steps of rounding."""
    states = [
        trainer.train_one_step(config, "small", members, vmapped=v)
        for v in (True, False)
    ]
    for group, alone in zip(*states):
        moments = jax.tree.leaves(alone.opt_state[1][0].mu)
        assert max(np.abs(m).max() for m in moments) > 1e-3
        for a, b in zip(jax.tree.leaves(group), jax.tree.leaves(alone)):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_settings_go_through_one_program_together_as_each_alone(config, monkeypatch):
    """Numbers are data of the program; another way of mining is another program."""

    def member(seed, **setting):
        return protocol.Member(
            0, seed, {h: ("triplet", setting) for h in ("match", "view")}
        )

    some = [
        member(5, margin=0.3, mining="all"),
        member(5, margin=0.3, mining="hard"),
        member(5, margin=0.9, mining="all"),
    ]
    sizes, honest = [], trainer._train_group
    monkeypatch.setattr(
        trainer, "_train_group", lambda r, *a: sizes.append(len(r)) or honest(r, *a)
    )
    together = trainer.train_cells(config, "small", some, vmapped=True)
    assert sizes == [2, 1]
    same_first_gradients(config, some)
    weights = [jax.tree.leaves(o.best["match"].weights) for o in together]
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(weights[0], weights[2]))


def test_training_and_choosing_do_not_see_the_test(config, members, monkeypatch):
    """NaN or nonsense in every test capture changes no bit of what is trained or
    chosen."""
    clean = trainer.train_cells(config, "small", members[:1], vmapped=False)
    honest = protocol.cell_splits

    def poisoned(train, *, blind):
        splits = honest(train, blind=False)
        counts = splits.counts.copy()
        counts[splits.sessions.role == TEST] = 1e6
        mean = np.array(splits.baseline.mean)
        mean[splits.sessions.role == TEST] = np.nan
        return splits._replace(
            counts=counts, baseline=splits.baseline._replace(mean=mean)
        )

    monkeypatch.setattr(protocol, "cell_splits", poisoned)
    dirty = trainer.train_cells(config, "small", members[:1], vmapped=False)
    for head, best in clean[0].best.items():
        assert best[:2] == dirty[0].best[head][:2]  # score and step
        for a, b in zip(
            *(jax.tree.leaves(x.weights) for x in (best, dirty[0].best[head]))
        ):
            np.testing.assert_array_equal(a, b)


def test_the_best_setting_is_each_heads_own(config):
    def trial(slot, match, view):
        best = {"match": {"score": match}, "view": {"score": view}}
        attributes = {
            studies.SLOT: slot,
            studies.CELLS: [{"best": best}],
            studies.VALUES: {"temperature": 0.1 + slot},
        }
        return slot, studies.optuna.trial.create_trial(
            value=match, user_attrs=attributes
        )

    study = protocol.Study("small", "tune", "supcon")
    got = workers.best_setting(
        config, study, dict([trial(0, 0.9, 0.1), trial(1, 0.5, 0.4)])
    )
    assert got["match"] == ("supcon", {"temperature": 0.1})
    assert got["view"] == ("supcon", {"temperature": 1.1})
