"""All pictures and pages of a finished run."""

import json
import os
import threading

import numpy as np
import pytest

from siamjax.assessment import evaluate, page_data, pictures, visualize
from siamjax.config import from_dict
from siamjax.reports import heatmaps, page, trace
from siamjax.training import loop
from siamjax.types import SiamjaxError
from tests import small_data


@pytest.fixture
def run(tmp_path):
    """A small run: trained, then evaluated."""
    small_data.write(tmp_path / "prepared")
    config = small_data.config(tmp_path / "prepared")
    config.trace_windows = 40
    with small_data.one_device():
        loop.train(from_dict(config), tmp_path / "run")
        evaluate.evaluate_run(tmp_path / "run")
        yield tmp_path / "run"


def test_a_finished_run(run, tmp_path):
    # One test, for two workers would train the run twice.
    written(run)
    what_the_page_says(run)
    what_is_traced(run)
    results_are_known_by_content(run)
    following(run, tmp_path)
    damaged_files_are_a_line(run, tmp_path)


def written(run):
    visualize.visualize_run(run, frames=3)
    names = {"curves", "confusion", "recall", "traffic", "timelines", "embedding"}
    if json.loads(embedded(run / "report.html"))["mistakes"]:
        names.add("mistakes")
    assert {p.name for p in (run / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    assert (run / "film" / "film.mp4").stat().st_size > 1000
    assert any((run / "results").glob("events.out.tfevents.*"))
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


def embedded(page):
    """The data of a page, as JSON."""
    start = '<script type="application/json" id="data">'
    return page.read_text(encoding="utf-8").split(start)[1].split("</script>")[0]


def what_the_page_says(run):
    """The page has the numbers of the run's files."""
    data = page_data.gather_data(run)
    results = json.loads((run / "results.json").read_text())
    assert data["results"] == results
    right = {
        row["capture"]: row["right"] for row in results["identification"]["captures"]
    }
    shown = {row["capture"]: row["right"] for row in data["timelines"]}
    assert {name: shown[name] for name in right} == right
    assert set(page.novel_conditions(data)) == {"busy", "slow"}
    pictured = [window["condition"] for window in data["pictures"]]
    assert set(pictured) == {"normal", "blocked", "overload", "busy"}
    count = len(data["columns"])
    assert all(window["traffic"]["shape"][1] == count for window in data["pictures"])


def what_is_traced(run):
    got = trace.read_trace(run)
    assert got.steps[0] == 0 and got.steps[-1] == 8
    assert set(got.about["roles"]) == {"train", "valid", "test"}
    roles = zip(got.about["conditions"], got.about["roles"])
    assert {condition for condition, role in roles if role == "test"} == {"busy"}
    assert np.abs(got.points[-1] - got.points[0]).max() > 0


def results_are_known_by_content(run):
    """A copy has other times of its files."""
    later = (run / "results.json").stat().st_mtime + 100
    for name in (trace.FILE, "scalars.csv"):
        os.utime(run / name, (later, later))
    results = page_data.find_results(run)
    assert results == json.loads((run / "results.json").read_text())
    rows = (run / "scalars.csv").read_text()
    (run / "scalars.csv").write_text(rows + "9,loss,1.0\n")
    assert page_data.find_results(run) is None
    del results["scalars_sha256"]  # of an older version
    written = (run / "results.json").read_bytes()
    (run / "results.json").write_text(json.dumps(results))
    assert page_data.find_results(run) == results
    (run / "results.json").write_bytes(written)
    (run / "scalars.csv").write_text(rows)


def following(run, tmp_path):
    """A run that is still in training has a page that goes on until its results."""
    early = tmp_path / "early"
    early.mkdir()
    for name in ("config.json", "scalars.csv", trace.ABOUT, trace.FILE):
        (early / name).write_bytes((run / name).read_bytes())
    follower = threading.Thread(target=visualize.follow_run, args=(early, 0.05))
    follower.start()
    for _ in range(200):
        follower.join(0.05)
        if (early / visualize.REPORT).exists():
            break
    assert follower.is_alive()
    assert '"follow": 0.05' in (early / visualize.REPORT).read_text(encoding="utf-8")
    (early / "results.json").write_bytes((run / "results.json").read_bytes())
    follower.join(10)
    assert not follower.is_alive()


def test_columns_of_a_picture_are_those_that_deviate():
    z = np.zeros((2, 4, 20))
    z[0, :, 7], z[1, 0, 3], z[1, :, 5] = -2.0, 0.6, 0.1
    assert heatmaps.deviating_columns(z) == [3, 5, 7]
    assert heatmaps.deviating_columns(np.zeros((1, 4, 20))) == [0, 1, 2]
    assert len(heatmaps.deviating_columns(np.ones((1, 4, 20)))) == heatmaps.COLUMNS


def test_worst_mistakes_come_first_and_few_of_a_kind():
    gap = np.array(
        [
            [0.1, 0.9],
            [0.9, 0.1],
            [0.8, 0.2],
            [2.0, 2.0],
            [0.9, 0.3],
            [2.0, 2.0],
            [0.9, 0.15],
            [0.9, 0.18],
        ]
    )
    names = ["a", "a", "a", "b", "new", "new", "a", "a"]
    mistakes = pictures.find_mistakes(gap, names, ["a", "b"], unknown=1.0)
    assert mistakes == [
        (3, "unknown"),
        (1, "b"),
        (6, "b"),
        (7, "b"),
        (4, "b"),
        (2, "b"),
    ]
    sessions = [0, 1, 1, 2, 3, 3, 1, 4]
    assert pictures.choose_mistakes(mistakes, names, sessions) == [
        (3, "unknown", [3]),
        (1, "b", [1, 6, 7, 2]),
        (7, "b", [1, 6, 7, 2]),
        (4, "b", [4]),
    ]


def damaged_files_are_a_line(run, tmp_path):
    """Whatever the file and what is in it: a line that names it, or it is not used."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    names = ("config.json", trace.ABOUT, trace.FILE, "scalars.csv", "results.json")
    for name in names:
        for content in (b"\xff\0" * 2000, b"{", b"[]", b"x,y,z\n1,2,3\na,b,c\n"):
            for other in names:  # the results last, as evaluation writes them
                data = (run / other).read_bytes() if other != name else content
                (folder / other).write_bytes(data)
            if name == "scalars.csv" and content in (b"{", b"[]"):
                # Rows that a kill cut are not used: the results are of other ones.
                assert "results" not in page_data.gather_data(folder)
                continue
            with pytest.raises(SiamjaxError) as raised:
                page_data.gather_data(folder)
            # A record that a kill cut is not used; then the run itself is opened.
            cut = name == trace.FILE and len(content) < 100
            message = str(raised.value)
            assert f"{name} is damaged" in message or (
                cut and "no checkpoint" in message
            )


def test_no_run_is_a_clear_line(tmp_path):
    with pytest.raises(SiamjaxError, match="holds no run"):
        page_data.gather_data(tmp_path)
