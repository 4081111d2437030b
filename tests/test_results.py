"""results.json and its table: the right numbers stand in the right places."""

import csv
import json

import numpy as np
import pytest

from siamjax.evaluation import one_shot, results, statistics

NAMES = ("normal", "blocked", "delay", "flood")
GROUPS = dict(known=["normal", "blocked"], novel_valid=[], novel=["delay", "flood"])


@pytest.fixture(scope="module")
def bed():
    rng = np.random.default_rng(0)
    capture = np.repeat(np.arange(12), 6)
    condition = np.where(np.arange(72) % 6 < 3, 0, 1 + capture % 3)
    good = np.eye(4)[condition] + 0.3 * rng.normal(size=(72, 4))
    poor = np.eye(4)[condition] + 0.7 * rng.normal(size=(72, 4))
    return condition, capture, good, poor


@pytest.fixture(scope="module")
def built(bed):
    condition, capture, good, poor = bed
    return results.build(
        {"match": good, "view": poor}, {"whole": poor, "zero": 0 * good},
        condition, capture, NAMES, GROUPS, draws=30, seed=2,
    )  # fmt: skip


def test_numbers_are_those_of_one_shot_and_statistics(bed, built):
    condition, capture, good, _ = bed
    part = built["shots"]["1"]
    want = one_shot.one_shot(good, condition, capture, draws=30, seed=2)
    got = part["conditions"]["match"]
    assert [got[n]["window"] for n in NAMES] == want.recall.tolist()
    assert [got[n]["capture"] for n in NAMES] == want.capture_recall.tolist()
    np.testing.assert_array_equal(part["confusion"], want.confusion)
    table = statistics.table(want.hits, condition, capture, [2, 3])
    assert part["recall"]["match"]["novel"]["window"] == list(
        statistics.interval(table)[:3]
    )
    assert part["recall"]["match"]["novel"]["window"][0] == pytest.approx(
        want.recall[2:].mean()
    )
    assert part["captures"] == {"known": 12, "novel": 8}
    assert part["chance"] == 0.25


def test_the_difference_is_to_the_best_baseline(built):
    part = built["shots"]["1"]
    of = {name: part["recall"][name]["novel"]["window"][0] for name in built["methods"]}
    assert of["whole"] > of["zero"]
    got = part["difference"]["novel"]
    assert got["baseline"] == "whole"
    assert got["value"] == pytest.approx(of["match"] - of["whole"])
    assert got["low"] < got["value"] < got["high"]


def test_it_is_json_without_nan(built):
    assert json.loads(json.dumps(built, allow_nan=False)) == built


def test_table_marks_a_better_baseline(bed, built):
    condition, capture, good, poor = bed
    assert "better" not in results.table(built)
    swapped = results.build(
        {"match": poor}, {"whole": good}, condition, capture, NAMES, GROUPS, draws=10
    )
    lines = results.table(swapped).splitlines()
    assert sum("* better than match: whole" in line for line in lines) == 2
    value = swapped["shots"]["1"]["recall"]["whole"]["known"]["window"][0]
    row = next(line for line in lines if line.startswith("whole (baseline)"))
    assert f"{value:.2f} [" in row and "]*" in row


def test_what_cannot_be_judged_is_said(bed):
    condition, capture, good, _ = bed
    only = (condition != 3) | (capture == 2)
    got = results.build(
        {"match": good[only]}, {}, condition[only], capture[only], NAMES, GROUPS
    )
    notes = got["shots"]["5"]["notes"]
    assert any("flood is not judged" in line for line in notes)
    assert any("flood has 3 examples, not 5" in line for line in notes)
    assert got["shots"]["1"]["conditions"]["match"]["flood"]["window"] is None
    assert all("note: " + line in results.table(got) for line in notes)


def test_csv_has_a_row_for_each_number(built, tmp_path):
    results.write_csv(built, tmp_path)

    def rows(name, **wanted):
        with open(tmp_path / name, newline="") as file:
            read = list(csv.DictReader(file))
        return len(read), [r for r in read if wanted.items() <= r.items()]

    of = dict(shots="5", method="match", group="novel", unit="window")
    part = built["shots"]["5"]
    count, found = rows("results.csv", **of, condition="delay")
    assert count == 2 * 4 * 4 * 2  # shots, methods, conditions, units
    want = part["conditions"]["match"]["delay"]["window"]
    assert [float(row["recall"]) for row in found] == [want]
    count, found = rows("intervals.csv", **of)
    assert count == 2 * 4 * 2 * 2  # shots, methods, groups, units
    got = [float(found[0][column]) for column in ("recall", "low", "high")]
    assert got == part["recall"]["match"]["novel"]["window"] and len(found) == 1
    assert {row["baseline"] for row in rows("intervals.csv", method="zero")[1]} == {"1"}
    count, found = rows("confusion.csv", shots="5")
    assert count == 2 * 4 * 4
    shares = {(r["condition"], r["named"]): float(r["share"]) for r in found}
    want = part["confusion"]
    order = list(built["conditions"])
    assert shares == {
        (a, b): want[i][j] for i, a in enumerate(order) for j, b in enumerate(order)
    }


def test_csv_leaves_empty_what_is_not_judged(bed, tmp_path):
    condition, capture, good, _ = bed
    only = (condition != 3) | (capture == 2)
    got = results.build(
        {"match": good[only]}, {}, condition[only], capture[only], NAMES, GROUPS
    )
    results.write_csv(got, tmp_path)
    text = (tmp_path / "confusion.csv").read_text()
    assert "1,flood,normal,\n" in text and "nan" not in text.lower()
