"""A page of one's own out of the parts: runs beside one another, tables that sort."""

import re

import numpy as np
import pytest

from siamjax.comparison import analysis, report, tables
from siamjax.comparison import page as comparison_page
from siamjax.evaluation.statistics import Clustered
from siamjax.reports import page
from siamjax.reports.trace import Trace
from tests.browser import logged_errors, set_size, settle, visit

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
        head="view",
        dim=3,
        conditions=names,
        captures=names,
        times=[0.0] * windows,
        roles=["test"] * windows,
        novel=["delay"],
    )
    return page.trace_data(Trace(about, np.array(steps), points.astype(np.float32)))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "mine.js").write_text(SCRIPT)
    runs = [("triplet", traced([0, 10, 40])), (HOSTILE, traced([0, 40]))]
    data = dict(
        title=HOSTILE,
        runs=[dict(name=name, trace=trace) for name, trace in runs],
        rows=ROWS,
        lines=[["triplet", [[0, 40], [1.0, 0.1]]], [HOSTILE, [[0, 40], [1.0, 0.2]]]],
    )
    page.build_page(
        folder / "compare.html",
        data,
        ["scene.js", "cube.js", "curves.js", "tables.js", str(folder / "mine.js")],
        conditions=["delay", HOSTILE, "normal"],
        novel=["delay"],
    )
    return folder / "compare.html"


@pytest.fixture
def opened(chromium, path):
    visit(chromium, path)
    yield chromium
    assert logged_errors(chromium) == []
    assert chromium.execute_script("return window.hacked") is None


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


def many_losses():
    """A report of twelve losses, as `comparison.report` makes it."""
    level = Clustered(0.823, 0.771, 0.875, 0.01, 0.02, 9)
    names = [f"loss_with_a_name_{i}" for i in range(12)]
    pairs = [
        analysis.Pair(names[0], name, level._replace(value=0.1), 0.04)
        for name in names[1:]
    ]
    metrics = {(metric, group): level for _, metric, group in tables.COLUMNS}
    tally = {name: (11, 10, 9) for name in names}
    head = dict(
        levels={name: metrics for name in [*names, "mean and deviation, cosine"]},
        pairs=dict(one_shot=pairs),
        tally=dict(one_shot=tally),
        power=dict(one_shot=(0.01, 0.02)),
        naive=dict.fromkeys(names, 0.001),
        conditions=8,
        captures=80,
        repeats=5,
        training={name: report.Training(name, 9.0, 123.4, 0.1) for name in names},
    )
    return dict(
        when="today",
        times=1,
        losses=names,
        data_sets=dict(small=dict(match=head, view=head)),
        heads=dict(small={}),
        missing=[],
        tuning={},
        shares=[],
    )


def test_a_comparison_of_many_losses_cuts_no_column(chromium, tmp_path):
    made = many_losses()
    comparison_page.write_comparison(tmp_path / "compare.html", made, {}, {})
    visit(chromium, tmp_path / "compare.html", width=1400)
    cut = """return [...document.querySelectorAll('.scroll')]
        .map(box => box.scrollWidth - box.clientWidth)"""
    assert max(chromium.execute_script(cut)) <= 0
    links = """return [...document.querySelectorAll('#contents a')]
        .map(a => document.querySelector(a.hash).querySelector('h2').textContent)"""
    titles = chromium.execute_script(links)
    assert titles[:2] == ["small, match head", "small, view head"]
    set_size(chromium, 390, 800)
    settle(chromium)
    notes = """return [...document.querySelectorAll('#results .sideways')]
        .map(note => note.hidden ? '' : note.textContent)"""
    assert chromium.execute_script(notes) == [
        "8 more columns: scroll the table sideways →"
    ]
    assert logged_errors(chromium) == []


def test_a_table_for_a_paper_has_a_caption_and_names_its_packages():
    first, *lines = tables.format_latex(many_losses()).splitlines()
    packages = re.findall(r"\\usepackage{(\w+)}", first)
    assert first.startswith("%") and packages == ["booktabs", "graphicx"]
    captions = [line for line in lines if line.startswith(r"\caption{")]
    assert [line.split(".")[0] for line in captions] == [
        rf"\caption{{Losses compared on small, {head} head"
        for head in ("match", "view")
    ]
    assert all(line.count("{") == line.count("}") for line in captions)
    assert lines.count(r"\end{table*}") == 2
