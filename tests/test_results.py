"""results.json and its table: the right numbers stand in the right places."""

import csv
import json

import numpy as np
import pytest

from siamjax import files
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


def build(bed, learnt, baselines, rows=slice(None), **options):
    """`build_results` of points on some rows of the bed."""
    condition, capture, *_ = bed
    return results.build_results(
        *(
            {name: lambda points=points: points[rows] for name, points in given.items()}
            for given in (learnt, baselines)
        ),
        condition[rows],
        capture[rows],
        **dict(names=NAMES, groups=GROUPS) | options,
    )


def with_one_flood(bed):
    """The rows of a bed on which condition 3 has one capture, so is not judged."""
    condition, capture, *_ = bed
    return (condition != 3) | (capture == 2)


@pytest.fixture(scope="module")
def built(bed):
    _, _, good, poor = bed
    return build(
        bed,
        {"match": good, "view": poor},
        {"whole": poor, "zero": 0 * good},
        draws=30,
        seed=2,
    )


def test_numbers_are_those_of_one_shot_and_statistics(bed, built):
    condition, capture, good, _ = bed
    part = built["shots"]["1"]
    want = one_shot.recognise(good, condition, capture, draws=30, seed=2)
    got = part["conditions"]["match"]
    assert [got[n]["window"] for n in NAMES] == want.recall.tolist()
    assert [got[n]["capture"] for n in NAMES] == want.capture_recall.tolist()
    np.testing.assert_array_equal(part["confusion"], want.confusion)
    table = statistics.sum_hits(want.hits, condition, capture, [2, 3])
    interval = statistics.recall_interval(table)
    assert part["recall"]["match"]["novel"]["window"] == dict(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        widened=interval.widened,
    )
    assert interval.value == pytest.approx(want.recall[2:].mean())
    assert part["captures"] == {"known": 12, "novel": 8}
    assert part["chance"] == 0.25


@pytest.mark.parametrize("unit", results.UNITS)
@pytest.mark.parametrize("group", ["known", "novel"])
def test_the_difference_is_to_each_baseline_in_pairs(bed, built, group, unit):
    part = built["shots"]["1"]
    assert set(part["difference"][group]) == {"whole", "zero"}
    recall = {name: part["recall"][name][group][unit] for name in built["methods"]}
    for baseline, by in part["difference"][group].items():
        apart = recall["match"]["value"] - recall[baseline]["value"]
        assert by[unit]["value"] == pytest.approx(apart)
        assert by[unit]["low"] < apart < by[unit]["high"]
    condition, capture, good, poor = bed
    classes = [NAMES.index(name) for name in GROUPS[group]]
    tables = [
        statistics.sum_hits(judged.hits, condition, capture, classes)
        for judged in (
            one_shot.recognise(x, condition, capture, draws=30, seed=2)
            for x in (good, poor)
        )
    ]
    want = statistics.recall_difference(*tables)
    got = part["difference"][group]["whole"]["window"]
    assert (got["low"], got["high"]) == (want.low, want.high)


def test_it_is_json_without_nan(built):
    assert json.loads(json.dumps(built, allow_nan=False)) == built


def test_table_marks_a_better_baseline(bed, built):
    _, _, good, poor = bed
    assert "better" not in results.format_results(built)
    swapped = build(bed, {"match": poor}, {"whole": good}, draws=10)
    lines = results.format_results(swapped).splitlines()
    assert sum("* better than match, in pairs" in line for line in lines) == 2
    value = swapped["shots"]["1"]["recall"]["whole"]["known"]["window"]["value"]
    row = next(line for line in lines if line.startswith("whole "))
    assert f"{value:.2f} [" in row and "]*" in row


def test_a_baseline_that_is_better_by_chance_is_not_marked(bed):
    _, _, good, _ = bed
    worse = good + 0.1 * np.random.default_rng(1).normal(size=good.shape)
    built = build(bed, {"match": worse}, {"whole": good}, draws=10)
    ahead = built["shots"]["1"]["difference"]["novel"]["whole"]["window"]
    assert ahead["value"] < 0 < ahead["high"]
    assert "*" not in results.format_results(built)


def test_a_wide_interval_because_nothing_failed_is_explained(bed):
    condition, _, _, poor = bed
    right = np.eye(4)[condition]
    built = build(bed, {"match": right}, {"whole": poor}, draws=10)
    part = built["shots"]["1"]
    assert part["recall"]["match"]["known"]["window"]["widened"]
    assert not part["recall"]["whole"]["known"]["window"]["widened"]
    lines = results.format_results(built).splitlines()
    assert "]~" in next(line for line in lines if line.startswith("match "))
    assert "~" not in next(line for line in lines if line.startswith("whole "))
    assert sum(line.startswith("~ too few captures fail") for line in lines) == 2


def test_the_table_is_narrow_and_shows_no_escapes(bed):
    _, _, good, poor = bed
    names, hostile = list(NAMES), "\x1b[2J\nnormal"
    names[3] = hostile
    only = with_one_flood(bed)
    built = build(
        bed,
        {"match head": good},
        {"mean and deviation, cosine": poor},
        only,
        names=names,
        groups=dict(known=names[:2], novel_valid=[], novel=names[2:]),
        draws=5,
    )
    for width in (80, 100):
        text = results.format_results(built, width)
        assert max(map(len, text.splitlines())) <= width
    wrapped = results.format_results(built, 80).splitlines()
    row = next(i for i, line in enumerate(wrapped) if line.startswith("mean and"))
    assert "[" in wrapped[row] and wrapped[row + 1].startswith(" ")
    assert "\x1b" not in text and r"\x1b[2J\nnormal is not judged" in text


def test_what_cannot_be_judged_is_said(bed):
    _, _, good, _ = bed
    got = build(bed, {"match": good}, {}, with_one_flood(bed))
    notes = got["shots"]["5"]["notes"]
    assert any("flood is not judged" in line for line in notes)
    assert any("flood has 3 examples, not 5" in line for line in notes)
    assert got["shots"]["1"]["conditions"]["match"]["flood"]["window"] is None
    assert all("note: " + line in results.format_results(got) for line in notes)


def test_csv_has_a_row_for_each_number(built, tmp_path):
    for name, cells in results.csv_tables(built).items():
        files.write_csv(tmp_path / name, cells)

    def rows(name, **wanted):
        with open(tmp_path / name, newline="") as file:
            read = list(csv.DictReader(file))
        return len(read), [r for r in read if wanted.items() <= r.items()]

    where = dict(shots="5", method="match", group="novel", unit="window")
    part = built["shots"]["5"]
    count, written = rows("results.csv", **where, condition="delay")
    assert count == 2 * 4 * 4 * 2  # shots, methods, conditions, units
    want = part["conditions"]["match"]["delay"]["window"]
    assert [float(row["recall"]) for row in written] == [want]
    count, written = rows("intervals.csv", **where)
    assert count == 2 * 4 * 2 * 2  # shots, methods, groups, units
    want = part["recall"]["match"]["novel"]["window"]
    got = [float(written[0][column]) for column in ("recall", "low", "high")]
    assert got == [want[x] for x in ("value", "low", "high")] and len(written) == 1
    assert written[0]["widened"] == str(want["widened"])
    where = dict(shots="5", baseline="zero", group="known", unit="capture")
    count, written = rows("differences.csv", **where)
    assert (
        count == 2 * 2 * 2 * 2 and len(written) == 1
    )  # shots, baselines, groups, units
    want = part["difference"]["known"]["zero"]["capture"]
    got = [float(written[0][column]) for column in ("less", "low", "high")]
    assert got == [want[x] for x in ("value", "low", "high")]
    assert {row["baseline"] for row in rows("intervals.csv", method="zero")[1]} == {"1"}
    count, written = rows("confusion.csv", shots="5")
    assert count == 2 * 4 * 4
    shares = {(r["condition"], r["named"]): float(r["share"]) for r in written}
    want = part["confusion"]
    order = list(built["conditions"])
    assert shares == {
        (a, b): want[i][j] for i, a in enumerate(order) for j, b in enumerate(order)
    }


def test_csv_leaves_empty_what_is_not_judged(bed, tmp_path):
    _, _, good, _ = bed
    got = build(bed, {"match": good}, {}, with_one_flood(bed))
    files.write_csv(
        tmp_path / "confusion.csv", results.csv_tables(got)["confusion.csv"]
    )
    text = (tmp_path / "confusion.csv").read_text()
    assert "1,flood,normal,\n" in text and "nan" not in text.lower()
