"""Where faults are shorter than a window, its newest bin decides what is normal."""

import types

import numpy as np
import pandas as pd
import pytest

from configs import counters
from siamjax.data import from_counters, splits
from siamjax.data.local_reading import LocalReader
from siamjax.evaluation import normal_bins
from siamjax.evaluation.spaces import Space
from siamjax.identification import (
    adapting,
    comparing,
    decide,
    examples,
    fitting,
    library_files,
    references,
    rules,
    sessions,
    weighing,
)
from siamjax.inference.deciding import Deciding
from siamjax.training import whitening
from siamjax.types import NORMAL, Label, UsageError

STEP_S, ROWS, WINDOW = 60.0, 80, 5
FAULTS = range(10, ROWS, 8)  # first rows of faults of two rows


def draw(n, scale=1.0, seed=0):
    """Bins of two columns that move together, and of one that does not."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    return scale * np.stack(
        [common, common + 0.1 * rng.normal(size=n), rng.normal(size=n)], 1
    )


def test_the_limit_is_a_quantile_of_other_captures():
    fitted = normal_bins.fit_normal_bins(lambda: [draw(500)], [draw(4000, seed=1)])
    odd = normal_bins.newest_oddness(*[draw(4000, seed=2)[:, None]] * 2, fitted)
    assert 0.03 < (odd > 1).mean() < 0.07
    # One column moves without the other: that is odd, though neither is far.
    apart = np.array([[[1.0, -1.0, 0.0]], [[1.0, 1.0, 0.0]]])
    assert (normal_bins.newest_oddness(apart, apart, fitted) > 1).tolist() == [1, 0]


def test_the_newest_measured_bin_decides():
    fitted = normal_bins.fit_normal_bins(lambda: [draw(500)], [draw(500, seed=1)])
    calm, odd = np.zeros(3), np.full(3, 9.0)
    windows = np.array([[odd, calm], [calm, odd], [calm, calm], [odd, calm]])
    counts = windows.copy()
    counts[2:, 1] = np.nan
    oddness = normal_bins.newest_oddness(windows, counts, fitted)
    assert (oddness > 1).tolist() == [False, True, False, True]


def test_a_network_has_a_limit_of_its_own():
    fitted = normal_bins.fit_normal_bins(lambda: [draw(500)], [draw(500, seed=1)])
    louder = [draw(400, 4.0, seed) + 1 for seed in (2, 3)]
    for captures in (louder, louder[:1]):
        adapted = normal_bins.adapt_normal_bins(fitted, captures)
        others = draw(2000, 4.0, 4)[:, None] + 1
        odd = [normal_bins.newest_oddness(others, others, x) for x in (fitted, adapted)]
        assert (odd[0] > 1).mean() > 0.4 and 0.02 < (odd[1] > 1).mean() < 0.09


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A data set of days with a fault of two rows after every six normal ones."""
    folder = tmp_path_factory.mktemp("short")
    (folder / "tables").mkdir()
    labels = ["file,start,end,condition"]
    for day in range(3):
        values = np.random.default_rng(day).normal(size=(ROWS, 3))
        for first in FAULTS:
            column = first // 8 % 2
            values[first : first + 2, column] += 60.0
            labels += [
                f"{day}.csv,{STEP_S * a:.0f},{STEP_S * b:.0f},{name}"
                for a, b, name in (
                    (first - 6, first - 1, NORMAL),
                    (first, first + 1, f"fault {column}"),
                )
            ]
        frame = pd.DataFrame(values, columns=["a", "b", "c"])
        frame.insert(0, "time", np.arange(ROWS) * int(STEP_S))
        frame.to_csv(folder / "tables" / f"{day}.csv", index=False)
    (folder / "labels.csv").write_text("\n".join(labels))
    from_counters.prepare_counters(
        folder / "tables",
        folder / "labels.csv",
        folder / "data",
        reader=LocalReader(1),
        say=lambda line: None,
    )
    return folder


def open_splits(tables, **data):
    config = counters.get_config()
    config.data.update(dir=str(tables / "data"), bin_s=STEP_S, bins=WINDOW, hop_s=0.0)
    config.data.update(baseline_s=0.0, valid_captures=("1",), test_captures=("2",))
    config.data.update(**data)
    return config, splits.open_splits(config.data)


def test_only_tables_with_short_faults_are_decided_by_bins(tables):
    for data, decides in ((dict(), True), (dict(bins=2), False)):
        config, read = open_splits(tables, **data)
        learnt = whitening.learn_normal_bins(read, config.data)
        assert (learnt is not None) == decides
    config, read = open_splits(tables, hop_s=STEP_S)
    assert whitening.learn_normal_bins(read, config.data) is None


def make_run(tables):
    """A run in which the mean feature of a window replaces the encoder."""
    config, read = open_splits(tables)
    bins = whitening.learn_normal_bins(read, config.data)
    learnt = whitening.learn_whitening(read)
    return types.SimpleNamespace(
        config=config,
        columns=read.columns,
        ports={},
        scaler=read.scaler,
        normal=read.baseline,
        deciding=Deciding(Space("", "raw", 1.0), learnt, normal_bins=bins),
        embed=lambda counts, baseline, session=None: {},
        to_points=lambda heads, windows: windows.mean(1),
        workdir="run",
        step=1,
    )


def test_an_alarm_lasts_as_long_as_a_short_fault(tables):
    """No window is normal."""
    run = make_run(tables)
    places = [
        examples.Place(name, str(tables / "tables" / "0.csv"), STEP_S * first)
        for name, first in ((NORMAL, 3), ("fault 0", 15), ("fault 1", 7))
    ]
    chosen = examples.join_examples(
        *(references.read_example(place, run, {}) for place in places)
    )
    rule = rules.Rule(unknown=9.0, penalty=0.0, onset_s=0.0, clear_s=0.0)
    traffic = sessions.read_traffic(tables / "tables" / "2.csv", run)

    def name_rows(evidence):
        named = [NORMAL] * ROWS
        for span in decide.find_spans(evidence, rule):
            first, end = round(span.start_s / STEP_S), round(span.end_s / STEP_S)
            named[first:end] = [span.condition] * (end - first)
        return np.array(named)

    wanted = np.full(ROWS, NORMAL, object)
    for first in FAULTS:
        wanted[first : first + 2] = f"fault {first // 8 % 2}"
    is_normal = wanted == NORMAL
    evidence = comparing.compare_traffic(run, traffic, chosen)
    assert (evidence.hop_s, evidence.lead_s) == (STEP_S, STEP_S * (WINDOW - 1))
    named = name_rows(evidence)
    np.testing.assert_array_equal(named[~is_normal], wanted[~is_normal])
    # A row in twenty is odd by chance.
    assert (named[is_normal] != NORMAL).mean() < 0.1
    run.deciding = run.deciding._replace(normal_bins=None)
    whole = name_rows(comparing.compare_traffic(run, traffic, chosen))
    assert (whole[is_normal] != NORMAL).mean() > 0.5


def evidence_of(odd, lead_s):
    """Windows of a table; those that are odd are nearer to a fault."""
    odd = np.array(odd, bool)
    distances = np.where(odd[:, None], [[3.0, 0.5]], [[0.5, 3.0]])
    return weighing.Evidence(
        names=(NORMAL, "fault"),
        start_s=np.arange(len(odd)) * STEP_S,
        end_s=(len(odd) + WINDOW - 1) * STEP_S,
        window_s=WINDOW * STEP_S,
        distances=distances,
        nearest=np.zeros((len(odd), 2), int),
        deviation=np.where(odd, 1.0, 0.1),
        hop_s=STEP_S,
        lead_s=lead_s,
    )


def test_the_rule_learns_in_steps_of_the_table():
    """By hand: a fault is seen in rows 13 to 16, and labelled in the last of them."""
    rule = rules.Rule(unknown=1.0, penalty=0.0, onset_s=0.0, clear_s=0.0)
    lead_s = STEP_S * (WINDOW - 1)
    evidence = evidence_of([0] * 9 + [1] * 4 + [0] * 7, lead_s)
    labels = [
        Label(NORMAL, 0.0, 13 * STEP_S),
        Label("fault", 16 * STEP_S, 17 * STEP_S),
        Label(NORMAL, 19 * STEP_S, 24 * STEP_S),
    ]
    changes = fitting.measure_changes(evidence, labels, rule)
    assert changes.normal_s == 14 * STEP_S  # 9 windows before it and 5 behind it
    # The change may be anywhere between two labels.
    assert changes.onsets == {"fault": [0.0]} and changes.ends[NORMAL] == [0.0]
    late = [Label(NORMAL, 0.0, 12 * STEP_S), labels[1]._replace(onset_s=12 * STEP_S)]
    changes = fitting.measure_changes(evidence, late, rule)
    assert changes.onsets == {"fault": [-STEP_S]}
    # Without a label of normal, a change is where a label says.
    changes = fitting.measure_changes(evidence, labels[1:2], rule)
    assert changes.onsets == {"fault": [3 * STEP_S]}


def test_only_runs_of_these_tables_change_without_a_cost():
    scores = fitting.Scores(np.array([1.0, 2.0]), np.array([0.1, 0.2]))
    costs = [fitting.fit_thresholds(scores, scores, x).penalty for x in (0.0, 0.5)]
    assert costs[0] == 0.0 < costs[1]


def test_equal_windows_of_the_validation_leave_a_limit():
    equal = fitting.Scores(np.zeros(3), np.zeros(3))
    for others in (equal, fitting.Scores(np.zeros(0), np.zeros(0))):
        rule = fitting.fit_thresholds(equal, others)
        assert min(rule.unknown, rule.novel, rule.taught) > 0


def test_roles_without_a_normal_bin_are_no_error():
    nothing = np.zeros((0, 3))
    assert normal_bins.fit_normal_bins(lambda: [nothing], [draw(9)]) is None
    fitted = normal_bins.fit_normal_bins(lambda: [draw(100)], [nothing])
    odd = normal_bins.newest_oddness(*[draw(100)[:, None]] * 2, fitted)
    assert (odd > 1).mean() == pytest.approx(0.05)


@pytest.mark.parametrize("seed", range(8))
def test_equal_bins_are_normal_and_others_are_odd(seed):
    row = np.random.default_rng(seed).normal(size=(1, 40)).astype(np.float32)
    equal = np.repeat(row, 90, 0)
    fitted = normal_bins.fit_normal_bins(lambda: [equal[:0], equal], [equal])
    adapted = normal_bins.adapt_normal_bins(fitted, [equal])
    windows = np.stack([row, row + 1e-9, row + 0.1])
    for normal in (fitted, adapted):
        odd = normal_bins.newest_oddness(windows, windows, normal)
        assert (odd < 1).tolist() == [True, True, False]


def test_a_network_needs_four_measured_rows_in_any_captures():
    fitted = normal_bins.fit_normal_bins(lambda: [draw(100)], [])
    for captures in ([draw(9), draw(1), draw(0)], [draw(3), draw(1)], [draw(4)]):
        assert normal_bins.adapt_normal_bins(fitted, captures).limit > 0
    with pytest.raises(UsageError, match="has 3 rows with a measured value"):
        normal_bins.adapt_normal_bins(fitted, [draw(2), draw(1)])


def test_missing_rows_show_no_variation(tables):
    config, read = open_splits(tables)
    learnt = whitening.learn_normal_bins(read, config.data)
    counts = read.counts.copy()
    # Of each six normal rows the last three are missing.
    for first in FAULTS:
        counts[:, first - 3 : first] = np.nan
    fewer = whitening.learn_normal_bins(read._replace(counts=counts), config.data)
    spread = [np.diag(x.whitening.covariance) for x in (learnt, fewer)]
    np.testing.assert_allclose(*spread, rtol=0.5)
    assert fewer.limit > 0.8 * learnt.limit


def test_missing_rows_of_a_network_show_no_variation(tables):
    run, counts = make_run(tables), draw(200)
    sparse = counts.copy()
    sparse[::2] = np.nan
    networks = [
        library_files.Network("site", ("a",), (x,), ()) for x in (counts[1::2], sparse)
    ]
    limits = [adapting.adapt(run, x).normal_bins.limit for x in networks]
    assert limits[1] == pytest.approx(limits[0])


def test_a_network_with_one_window_is_refused_with_how_much_is_needed(tables):
    run, table = make_run(tables), tables / "short.csv"
    rows = (tables / "tables" / "0.csv").read_text().splitlines()
    for count in (WINDOW, WINDOW + 1):
        table.write_text("\n".join(rows[: 1 + count]))
        if count == WINDOW:
            with pytest.raises(UsageError, match=r"short\.csv has one window.* 360 s"):
                adapting.read_network(run, "site", [table])
        else:
            adapting.read_network(run, "site", [table])
