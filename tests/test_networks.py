"""The board of networks: its cells, its leaks, its table."""

import collections
import dataclasses
import importlib
import json

import numpy as np
import pytest

from siamjax.config import from_dict as training_config
from siamjax.config import to_plain
from siamjax.data import prepared
from siamjax.evaluation import baselines
from siamjax.evaluation.cross_fit import Row
from siamjax.experiments import runner
from siamjax.networks import cells, config, run, table
from siamjax.types import NORMAL, TEST, TRAIN, VALID, DataSet, SiamjaxError, UsageError
from tests import small_data


def board(networks, settings=("default",), **templates):
    plain = dict(
        settings=list(settings),
        seeds=1,
        draws=5,
        workers=1,
        templates=templates,
        networks=networks,
    )
    return config.from_dict(plain)


@pytest.fixture(scope="module")
def two_networks(tmp_path_factory):
    """A board of two small networks; the second is judged by runs on the first too."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    small_data.write(folders[0], captures=8)
    conditions = (NORMAL, *small_data.FAULTS)
    others = [
        small_data.session(f"{name}_{i}", name, seed=1000 + 10 * c + i)
        for c, name in enumerate(conditions)
        for i in range(4)
    ]
    prepared.write_data_set(
        folders[1], DataSet(tuple(others), small_data.KINDS, {}), {}
    )
    small = to_plain(training_config(small_data.config(folders[0], steps=2)))
    small["heads"]["view"] = None
    small["batch"]["made_up"] = 0  # made-up conditions take seconds to compile
    here = dict(template="small", novel=[["busy"]], novel_valid=[["slow"]], folds=1)
    there = here | dict(
        changes=dict(data=dict(dir=str(folders[1]))), trained_on=["first"]
    )
    return board(dict(first=here, second=there), small=small)


@pytest.fixture(scope="module")
def judged(two_networks):
    """What a run on the first network gives."""
    cell, _ = cells.list_cells(two_networks, valid=False)
    assert cell["network"] == "first"
    return cells.run_cell(two_networks, cell)


def test_a_run_is_judged_on_its_own_network_and_on_another(judged):
    home, away = judged
    assert (home["network"], home["source"]) == ("first", "first")
    assert (away["network"], away["source"]) == ("second", "first")
    roles = {(row.condition, row.role) for row in home["rows"]}
    assert roles == {
        ("normal", "known"),
        ("blocked", "known"),
        ("overload", "known"),
        ("busy", "novel"),
    }
    moved = {(row.condition, row.role) for row in away["rows"]}
    adapted = {row.method for row in away["rows"] if row.method.endswith("adapted")}
    assert {"siamjax, adapted", "WCCN, adapted", "match alone, adapted"} < adapted
    assert not {"normal_0", "normal_1"} & {row.capture for row in away["rows"]}
    names = ("normal", "blocked", "overload", "slow", "busy")
    assert moved == {(name, "moved") for name in names}


def test_a_network_that_only_helps_others_is_not_judged_itself(two_networks):
    first = dataclasses.replace(two_networks.networks["first"], only_moved=True)
    networks = two_networks.networks | dict(first=first)
    joined = dataclasses.replace(two_networks, networks=networks)
    cell, _ = cells.list_cells(joined, valid=False)
    assert [part["network"] for part in cells.run_cell(joined, cell)] == ["second"]
    listed = cells.list_cells(joined, valid=True)
    assert [cell["network"] for cell in listed] == ["second"]


def test_what_decides_is_the_space_that_validation_chose(judged):
    for part in judged:
        by_method = collections.defaultdict(set)
        for row in part["rows"]:
            by_method[row.method].add(row._replace(method=""))
        assert by_method[cells.DECIDES] == by_method[part["space"]]
        assert {"WCCN", *baselines.BASELINES} < set(by_method)
        assert {row.shots for row in part["rows"]} == set(cells.SHOTS)


def test_the_test_captures_change_nothing_that_is_learnt(two_networks):
    """Windows of the test split are poisoned: whitening and choice stay the same."""
    cell = cells.list_cells(two_networks, valid=False)[0]
    train = cells.configure(two_networks, cell)
    splits = cells.open_cached(train.data)
    test = splits.sessions.role == TEST
    assert test.any()
    counts = splits.counts.copy()
    counts[test] = 1e6
    chosen = []
    for data in (splits, splits._replace(counts=counts)):
        methods, candidates = cells.train_methods(train, data)
        windows = data.windows_of(VALID)
        points = methods(data, windows, None)
        space = cells.choose_space(candidates, methods, data, draws=5)
        chosen.append((space, points))
    assert chosen[0][0] == chosen[1][0]
    for name, points in chosen[0][1].items():
        np.testing.assert_array_equal(points, chosen[1][1][name], err_msg=name)


def test_a_training_that_is_judged_elsewhere_sees_no_other_role(two_networks):
    cell = cells.list_cells(two_networks, valid=False)[0]
    train = cells.configure(two_networks, cell)
    splits = cells.open_cached(train.data)
    there = two_networks.train_on("second", "default").data
    elsewhere = cells.open_elsewhere(there, splits, train.data.dir)
    assert set(elsewhere.sessions.role) == {TEST}
    assert TRAIN in splits.sessions.role
    assert elsewhere.conditions.known == splits.conditions.known
    np.testing.assert_array_equal(elsewhere.scaler.floor, splits.scaler.floor)


def test_validation_judges_validation_captures_alone(two_networks):
    cell = cells.list_cells(two_networks, valid=True)[0]
    (result,) = cells.run_cell(two_networks, cell)
    roles = {(row.condition, row.role) for row in result["rows"]}
    assert ("slow", "novel") in roles and not any(name == "busy" for name, _ in roles)
    assert cells.DECIDES not in {row.method for row in result["rows"]}
    splits = cells.open_cached(cells.configure(two_networks, cell).data)
    role = dict(zip(splits.sessions.names, splits.sessions.role))
    assert {role[row.capture] for row in result["rows"]} == {VALID}


def row(method, recall, capture="a", condition="x", role="novel", shots=1):
    return Row(0, shots, method, condition, capture, role, recall)


def by_hand():
    """Two networks, two settings; two captures of one condition each."""
    cell = dict(network="n", setting="default", choice=0, fold=0, seed=0, valid=False)
    results = []
    for network, setting, ours, simple in (
        ("n", "default", (1.0, 0.5), (0.5, 0.5)),
        ("n", "wide:steps=3", (0.5, 0.5), (0.5, 0.5)),
        ("m", "default", (0.2, 0.4), (0.6, 0.8)),
    ):
        rows = [row(cells.DECIDES, r, c) for c, r in zip("ab", ours)]
        rows += [row("WCCN", r, c) for c, r in zip("ab", simple)]
        part = dict(network=network, source=network, space="match alone", rows=rows)
        results.append((cell | dict(network=network, setting=setting), [part]))
    return zip(*results)


def test_the_table_by_hand():
    built = table.build_table(*by_hand())
    places = [(c["network"], c["question"], c["shots"]) for c in built["columns"]]
    assert places == [("m", "novel", 1), ("n", "novel", 1)]
    recalls = {
        (column["network"], m["setting"], m["method"]): m
        for column in built["columns"]
        for m in column["methods"]
    }
    assert recalls["n", "default", "siamjax"]["recall"][0] == 0.75
    assert recalls["n", "wide", "siamjax"]["recall"][0] == 0.5
    assert recalls["n", "default", "siamjax"]["less_best_simple"][0] == 0.25
    assert recalls["m", "default", "siamjax"]["less_best_simple"][0] == pytest.approx(
        -0.4
    )
    assert [c["best_simple"] for c in built["columns"]] == ["WCCN", "WCCN"]
    (ours,) = (
        s
        for s in built["summary"]
        if (s["setting"], s["method"]) == ("default", "siamjax")
    )
    assert ours["mean"] == pytest.approx((0.75 + 0.3) / 2)
    assert (ours["worst"], ours["worst_network"]) == (pytest.approx(0.3), "m")
    assert built["columns"][1]["spaces"] == {
        "default": {"match alone": 1},
        "wide": {"match alone": 1},
    }
    json.dumps(built)


def test_the_texts_have_every_method_and_only_complete_means():
    built = table.build_table(*by_hand())
    lines = table.format_markdown(built).splitlines()
    assert "0.750 [" in next(s for s in lines if s.startswith("| default | siamjax"))
    wide = next(s for s in lines if s.startswith("| wide | siamjax"))
    assert wide.endswith("|  |  |")  # it was not judged on m
    heading, *rows = table.csv_rows(built)
    assert len(rows) == 5 and all(len(r) == len(heading) for r in rows)


def test_a_board_is_not_run_twice(two_networks, tmp_path, monkeypatch):
    def work(config, cell):
        calls.append(cell["network"])
        part = dict(
            network=cell["network"], source=cell["network"], space="match alone"
        )
        return [part | dict(rows=[row(cells.DECIDES, 0.5), row("WCCN", 0.5)])]

    calls = []
    monkeypatch.setattr(cells, "run_cell", work)
    first = run.run_board(two_networks, tmp_path)
    assert run.run_board(two_networks, tmp_path) == first
    assert calls == ["first", "second"]
    assert json.loads((tmp_path / "board.json").read_text()) == first
    assert (tmp_path / "board.csv").exists() and (tmp_path / "board.md").exists()


def test_other_cells_are_run_where_a_training_diverged(
    two_networks, tmp_path, monkeypatch
):
    """The first does; the error names its loss."""

    def run_second(config, cell):
        if cell["network"] == "first":
            return run_cell(config, cell)
        part = dict(network="second", source="second", space="match alone", rows=[])
        return [part]

    weights = [
        (step, dict(params=np.full(2, value))) for step, value in enumerate((0, np.nan))
    ]
    run_cell = cells.run_cell
    monkeypatch.setattr(cells, "run_cell", run_second)
    monkeypatch.setattr(cells.trainings, "train", lambda *_: weights)
    with pytest.raises(
        SiamjaxError, match=r"^1 of 2 cells failed, .* triplet.* diverged"
    ):
        run.run_board(two_networks, tmp_path)
    (row,) = runner.read_rows(tmp_path / "cells.jsonl")
    assert row["cell"]["network"] == "second"


def test_a_network_without_data_is_named_and_nothing_is_left(two_networks, tmp_path):
    plain = to_plain(two_networks)
    folder = str(tmp_path / "nowhere")
    plain["networks"]["second"]["changes"]["data"]["dir"] = folder
    with pytest.raises(UsageError, match=f"network second: .*ingest .*--out={folder}"):
        run.run_board(config.from_dict(plain), tmp_path / "board")
    assert list(tmp_path.iterdir()) == []


def test_a_cell_is_new_where_what_it_depends_on_has_changed(two_networks):
    def digests(config):
        return [cell["digest"] for cell in cells.list_cells(config, valid=False)]

    before = digests(two_networks)
    assert len(set(before)) == 2 and digests(two_networks) == before
    more_draws = dataclasses.replace(two_networks, draws=6)
    assert not set(before) & set(digests(more_draws))
    alone = dataclasses.replace(
        two_networks, networks=dict(first=two_networks.networks["first"])
    )
    assert digests(alone)[0] != before[0]  # it is judged on one network less


def test_networks_can_be_named_without_those_they_are_moved_from():
    board_config = importlib.import_module("configs.board")
    alone = config.from_dict(board_config.get_config("access"))
    assert alone.networks["access"].trained_on == ()
    both = config.from_dict(board_config.get_config("access,bed"))
    assert "without_access" in board_config.NETWORKS["access"]["trained_on"]
    assert both.networks["access"].trained_on == ("bed",)


def test_a_setting_that_changes_the_data_is_refused(two_networks):
    plain = to_plain(two_networks) | dict(settings=["short:data.bins=8", "default"])
    with pytest.raises(UsageError, match=r"short:data.bins=8.*a board of its own"):
        config.from_dict(plain)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(template="nose"), "template is 'nose'"),
        (dict(novel_valid=[]), "1 choices and novel_valid 0"),
        (dict(trained_on=["nowhere"]), "trained_on names 'nowhere'"),
        (dict(folds=0), "folds is 0"),
        (dict(changes=dict(steps=-1)), "networks.first.steps is -1"),
        (dict(only_moved=True), "network first is judged on other networks alone"),
        (dict(source=dict(name="nose")), r"networks.first.source.name is 'nose'"),
    ],
)
def test_a_wrong_field_of_a_network_is_named(two_networks, changes, message):
    plain = to_plain(two_networks)
    plain["networks"]["second"]["trained_on"] = []
    plain["networks"]["first"] |= changes
    with pytest.raises(UsageError, match=message):
        config.from_dict(plain)


def test_a_network_with_a_source_makes_its_data_set(two_networks, tmp_path):
    plain = to_plain(two_networks)
    source = dict(name="synthetic", seed=0, conditions=3, sessions=6)
    data = dict(dir=str(tmp_path / "made"))
    plain["networks"]["first"] |= dict(source=source, changes=dict(data=data))
    plain["networks"]["second"]["changes"]["data"]["dir"] = str(tmp_path / "missing")
    with pytest.raises(UsageError, match=r"network second: .*missing"):
        run.run_board(config.from_dict(plain), tmp_path / "board")
    assert len(prepared.read_data_set(tmp_path / "made").sessions) == 6


def test_a_network_that_the_config_does_not_have_is_named():
    get_config = importlib.import_module("configs.board").get_config
    assert list(get_config("core,bed").networks) == ["bed", "core"]
    with pytest.raises(UsageError, match="no network 'nowhere': name some of bed,"):
        get_config("bed,nowhere")


def test_the_networks_of_the_configuration_fit_their_templates():
    plain = importlib.import_module("configs.board").get_config()
    read = config.from_dict(plain)
    assert len(read.networks["bed"].novel) == 6
    novel = collections.Counter(
        f for choice in read.networks["bed"].novel for f in choice
    )
    assert set(novel.values()) <= {1, 2} and len(novel) == 11
    for network in read.networks.values():
        for test, valid in zip(network.novel, network.novel_valid, strict=True):
            assert not set(test) & set(valid)
    assert dataclasses.replace(read, seeds=1).seeds == 1


def test_a_setting_that_names_a_head_leaves_nothing_to_choose(
    two_networks, monkeypatch
):
    weights = [(0, None), (2, None)]
    monkeypatch.setattr(cells.trainings, "train", lambda *_: iter(weights))
    train = cells.configure(
        two_networks, cells.list_cells(two_networks, valid=False)[0]
    )
    named = dataclasses.replace(train, decide_with="match")
    _, candidates = cells.train_methods(named, cells.open_cached(train.data))
    assert list(candidates) == ["match + raw 1"]
