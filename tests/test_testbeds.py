"""The recorded networks in data/: labels, captures, counts and plans fit together."""

import ast
import csv
import importlib
import lzma
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from siamjax.capture import cleaning, tshark
from siamjax.configs import board
from siamjax.data import counts, labels, prepared

ROOT = pathlib.Path(__file__).parent.parent
DATA, SCRIPTS = ROOT / "data", ROOT / "scripts" / "testbed"
FOLDERS = sorted(path.parent for path in DATA.glob("*/labels.csv"))
MOST_BYTES = 56_000_000  # of all data

each_network = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def scripts():
    """The modules of scripts/testbed, which import each other without a package."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import loader_example
        import networks
        import plan
        import signs
        import split
        import summarize
    finally:
        sys.path.remove(str(SCRIPTS))
    modules = (loader_example, networks, plan, signs, split, summarize)
    return {module.__name__: module for module in modules}


def read_rows(path):
    with open(path, newline="") as table:
        return list(csv.DictReader(table))


@each_network
def test_labels_are_well_formed_and_name_every_capture(folder):
    table = labels.read_labels(folder / "labels.csv")
    assert not table.wrong and not table.problems
    assert set(table.labels) == {path.name for path in folder.glob("captures/*")}


@each_network
def test_the_same_seed_gives_the_plan_that_was_recorded(folder, scripts):
    plan, network = scripts["plan"], scripts["networks"].NETWORKS[folder.name]
    by_file = {}
    for row in read_rows(folder / "labels.csv"):
        by_file.setdefault(row["file"], []).append(row)
    for file, rows in by_file.items():
        kind, _, seed = file.removesuffix(".pcap.xz").rpartition("_")
        planned = plan.make_plan(network, kind, int(seed))
        assert rows[0]["rate_cps"] == f"{planned.load.rate_cps:.2f}"
        assert f"load={planned.pattern};" in rows[0]["notes"]
        if not planned.faults:
            assert [row["condition"] for row in rows] == ["normal"]
            continue
        for row, fault in zip(rows, planned.faults, strict=True):
            assert row["condition"] == fault.condition
            assert row["severity"] == f"{fault.severity:.3f}"
            assert row["notes"].startswith(fault.notes)
            # Labels count from the first packet, which can come late at a low rate.
            assert -0.8 < max(fault.onset, 0) - float(row["onset_s"]) < 2.5
            assert bool(row["clear_s"]) == (fault.clear is not None)


@each_network
def test_a_capture_of_each_network_is_read(folder, scripts):
    """The packaged counts are those of the capture, and nothing is lost."""
    protocol = scripts["networks"].NETWORKS[folder.name].protocol
    if protocol != "sip" and not tshark.find_tshark():
        pytest.skip("tshark is not installed")
    path = min(folder.glob("captures/*"), key=lambda path: path.stat().st_size)
    session, kinds, report = prepared.session_from_capture(path)
    assert report.server == cleaning.FOUND
    assert report.messages > 500 and not report.causes.get("unnamed")
    assert list(report.by_protocol) == [protocol]
    table, header = scripts["loader_example"].load_counts(folder)
    recounted = counts.bin_session(session, kinds, 0.5, (protocol,))
    assert recounted.shape[1] == len(header)
    np.testing.assert_allclose(table[path.name], recounted, rtol=1e-4)


def test_faults_are_seen_and_other_traffic_is_clean(scripts):
    for folder in FOLDERS:
        problems, _ = scripts["summarize"].find_problems(folder)
        assert not problems


def test_the_check_of_signs_notices_a_wrong_label(scripts, tmp_path):
    """A fault that is labelled where there is none is not seen."""
    folder = tmp_path / "testbed"
    folder.mkdir()
    source = DATA / "testbed"
    with lzma.open(source / "counts.csv.xz", "rt") as table:
        kept = [line for line in table if line.startswith(("file,", "normal_001"))]
    with lzma.open(folder / "counts.csv.xz", "wt") as table:
        table.writelines(kept)
    row = dict(read_rows(source / "labels.csv")[0])
    assert row["file"].startswith("normal_001")
    for condition in scripts["signs"].SIP.signs:
        is_rate = condition in ("registration_storm", "invite_flood")
        severity = "20" if is_rate else "0.5"
        row |= dict(condition=condition, onset_s="40", clear_s="80", severity=severity)
        with open(folder / "labels.csv", "w", newline="") as table:
            writer = csv.DictWriter(table, row)
            writer.writeheader()
            writer.writerow(row)
        problems, _ = scripts["summarize"].find_problems(folder)
        assert len(problems) == 1 and condition in problems[0]


def test_the_split_names_every_capture(scripts):
    rows = read_rows(DATA / "split.csv")
    expected = [
        (folder.name, *row)
        for folder in FOLDERS
        for row in scripts["split"].split_network(
            row["file"] for row in read_rows(folder / "labels.csv")
        )
    ]
    assert sorted(tuple(row.values()) for row in rows) == sorted(expected)
    assert {row["part"] for row in rows} <= {"train", "valid", "test", "stream"}


@pytest.mark.parametrize("name", ["radius", "gtp"])
def test_novel_faults_of_configs_are_in_the_network(name):
    labelled = {row["condition"] for row in read_rows(DATA / name / "labels.csv")}
    config = importlib.import_module(f"siamjax.configs.{name}").get_config()
    assert config.data.dir == f"runs/{name}"
    network = board.get_config(name).networks[name]
    choices = zip(network.novel, network.novel_valid, strict=True)
    for novel, novel_valid in (*choices, (config.data.novel, config.data.novel_valid)):
        assert {*novel, *novel_valid} < labelled
        assert not set(novel) & set(novel_valid)


def test_the_loader_needs_only_numpy_and_tells_faults_apart():
    source = (SCRIPTS / "loader_example.py").read_text()
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert imported - sys.stdlib_module_names == {"numpy"}
    printed = subprocess.run(
        [sys.executable, SCRIPTS / "loader_example.py", DATA],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(printed) == len(FOLDERS)
    assert all(float(line.split()[-1]) > 0.5 for line in printed)


def test_all_data_is_small():
    size = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file())
    assert size < MOST_BYTES
