"""The grid of the experiment on quality: who is novel, who chooses, who is trained."""

import collections

import pytest

from scripts.experiments import quality_cells, quality_curves
from siamjax.config import to_plain
from siamjax.types import UsageError


def cell(**changed):
    default = dict(
        setting="default",
        base="default",
        fold=3,
        choice=0,
        seed=5,
        valid=False,
        at=[],
        conditions=quality_cells.ALL,
    )
    return default | changed


def test_every_fault_is_novel_once_or_twice_and_chooses_once_or_twice():
    novel = collections.Counter(f for choice in quality_cells.CHOICES for f in choice)
    chose = collections.Counter(f for choice in quality_cells.VALID for f in choice)
    assert set(novel) == set(chose) == set(quality_cells.FAULTS)
    assert set(novel.values()) | set(chose.values()) <= {1, 2}
    for one, valid in zip(quality_cells.CHOICES, quality_cells.VALID, strict=True):
        assert not set(one) & set(valid)


@pytest.mark.parametrize("choice", range(6))
def test_what_chose_is_trained_on_for_the_test(choice):
    held_out = set(quality_cells.CHOICES[choice])
    final = quality_cells.configure(cell(choice=choice)).data
    assert set(final.novel) == held_out and not final.novel_valid
    chooses = quality_cells.configure(cell(choice=choice, valid=True)).data
    assert set(chooses.novel) == held_out
    assert set(chooses.novel_valid) == set(quality_cells.VALID[choice])
    assert (final.test_fold, final.valid_fold) == (3, 0)


@pytest.mark.parametrize("conditions", [3, 5, 7, 9])
def test_as_many_conditions_are_trained_on_as_asked(conditions):
    spared = cell(choice=1, conditions=conditions)
    left_out, config = quality_cells.spare(spared), quality_cells.configure(spared)
    assert not set(left_out) & set(quality_cells.CHOICES[1])
    assert len(config.data.novel) == 12 - conditions
    assert config.batch.conditions <= conditions
    fewer = quality_cells.spare(cell(choice=1, conditions=conditions - 1))
    assert set(left_out) < set(fewer)


def test_a_setting_changes_fields_and_may_add_heads():
    head = dict(
        dim=8,
        norm="unit",
        loss="triplet:margin=0.3,mining=hard",
        weight=1.0,
        features="stopped",
        statistics_weight=0.0,
    )
    text = f"mine:steps=7,heads.more={head},heads.match.loss=(supcon:temperature=0.2)"
    config = quality_cells.configure(cell(setting=text + ",heads.view=None"))
    assert config.steps == 7 and config.seed == 5 and config.heads["view"] is None
    assert to_plain(config.heads["more"]) == head
    assert config.heads["match"].loss == "supcon:temperature=0.2"
    with pytest.raises(UsageError, match=r"config\.encoder\.depth is no field"):
        quality_cells.configure(cell(setting="mine:encoder.depth=3"))


def test_a_cell_is_named_without_its_rows(tmp_path):
    names = {quality_cells.weights_path(c, tmp_path) for c in (cell(), cell(rows=[1]))}
    assert len(names) == 1
    assert quality_cells.weights_path(cell(seed=6), tmp_path) not in names


def test_curves_count_shared_cells_and_order_captures_within_a_fault():
    def of(conditions, choice, recalls):
        rows = [[800, 1, "match", "delay", c, "novel", r] for c, r in recalls.items()]
        return cell(conditions=conditions, choice=choice, rows=rows)

    cells = [
        of(9, 0, dict(a=1.0, b=0.8, c=0.6)),
        of(9, 1, dict(a=0.0, b=0.0, c=0.0)),
        of(3, 0, dict(a=0.5, b=0.5, c=0.5)),
    ]
    curve = quality_curves.by_number(cells)["match", "novel"]
    assert {n: round(i.value, 6) for n, i in curve.items()} == {3: 0.5, 9: 0.8}
    labels = {
        name: dict(condition="delay", severity=severity)
        for name, severity in dict(a="200", b="3", c="40").items()
    }
    thirds = quality_curves.by_third(cells[:1], labels, "severity")["match", "novel"]
    assert {name: round(i.value, 6) for name, i in thirds.items()} == dict(
        low=0.8, middle=0.6, high=1.0
    )
