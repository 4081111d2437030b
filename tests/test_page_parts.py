"""A page of one's own out of the parts: runs beside one another, tables that sort."""

import numpy as np
import pytest

from siamjax.reports import page
from siamjax.reports.trace import Trace
from tests.browser import chromium, settle, severe

HOSTILE = "</script><script>window.hacked = 1</script>"
SCRIPT = """
cube(data.runs, "Two losses", "side by side");
const cells = ([name, x]) =>
  [el("td", {}, name), value(x, {}, interval(x, x, x), number(x))];
const rows = data.rows.map((row) => el("tr", {}, ...cells(row)));
section("table", "Losses").append(table(["loss", "recall"], rows, {id: "losses"}));
section("lines", "Loss").append(chart("loss", data.lines));
"""
ROWS = [("triplet", 0.9), (HOSTILE, float("nan")), ("contrastive", 0.85), ("arc", 1.0)]


def traced(steps, windows=12):
    points = np.random.default_rng(0).uniform(size=(len(steps), windows, 3))
    names = ["normal", "delay", HOSTILE] * (windows // 3)
    about = dict(
        head="view", dim=3, conditions=names, captures=names, times=[0.0] * windows,
        roles=["test"] * windows, novel=["delay"],
    )  # fmt: skip
    return page.trace_data(Trace(about, np.array(steps), points.astype(np.float32)))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "mine.js").write_text(SCRIPT)
    runs = [("triplet", traced([0, 10, 40])), (HOSTILE, traced([0, 40]))]
    data = dict(
        title=HOSTILE,
        runs=[dict(name=name, trace=trace) for name, trace in runs],
        rows=ROWS,
        lines=[["triplet", [[0, 40], [1.0, 0.1]]], [HOSTILE, [[0, 40], [1.0, 0.2]]]],
    )
    parts = ["scene.js", "cube.js", "curves.js", "tables.js", str(folder / "mine.js")]
    page.build(
        folder / "compare.html", data, parts,
        conditions=["delay", HOSTILE, "normal"], novel=["delay"],
    )  # fmt: skip
    with chromium() as browser:
        browser.get((folder / "compare.html").as_uri())
        settle(browser)
        yield browser
        assert severe(browser) == []
        assert browser.execute_script("return window.hacked") is None


def test_one_slider_moves_all_runs(opened):
    pictures = """
        const slider = document.querySelector('input[type=range]');
        slider.value = arguments[0];
        slider.dispatchEvent(new Event('input'));
        return [...document.querySelectorAll('canvas')].map(c => c.toDataURL())"""
    opened.execute_script(pictures, 0)  # the first reading changes how Chromium draws
    start = opened.execute_script(pictures, 0)
    end = opened.execute_script(pictures, 100)
    assert len(start) == 2 and start[0] != end[0] and start[1] != end[1]
    output = opened.execute_script("return document.querySelector('output').value")
    assert output == "step 40"
    captions = opened.execute_script(
        "return [...document.querySelectorAll('.scenes figcaption')]"
        ".map(node => node.textContent)"
    )
    assert captions == ["triplet", HOSTILE]
    cursor = opened.execute_script(
        "return document.querySelector('#lines .cursor').getAttribute('x1')"
    )
    assert float(cursor) > 200


def test_a_click_on_a_heading_sorts(opened):
    click = """
        document.querySelectorAll('#losses th button')[arguments[0]].click();
        return [...document.querySelectorAll('#losses tr')].slice(1)
          .map(row => row.cells[0].textContent)"""
    by_name = sorted((name for name, _ in ROWS), reverse=True)
    assert opened.execute_script(click, 0) == by_name
    by_value = ["arc", "triplet", "contrastive", HOSTILE]  # no number comes last
    assert opened.execute_script(click, 1) == by_value
    assert opened.execute_script(click, 1) == by_value[::-1]
    sort = "return document.querySelectorAll('#losses th')[1].getAttribute('aria-sort')"
    assert opened.execute_script(sort) == "ascending"
