"""The pages of the losses are those that their docstrings and tables give."""

import pathlib
import re

import pytest

from scripts.tools import losses_page
from siamjax import losses

FOLDER = pathlib.Path(__file__).parent.parent / "docs/losses"
PAGES = losses_page.family_pages()


def read_measured():
    """The last four columns of the table, which take minutes to measure."""
    text = (FOLDER / "index.md").read_text()
    rows = re.findall(r"^\| \[`(\w+)`\](.*) \|$", text, re.M)
    return {name: cells.split(" | ")[-4:] for name, cells in rows}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_of_a_family_is_up_to_date(name):
    assert (FOLDER / name).read_text() == PAGES[name], (
        "run python -m scripts.tools.losses_page docs/losses"
    )


def test_the_index_is_up_to_date():
    measured = read_measured()
    assert list(measured) == list(losses.LOSSES)
    assert (FOLDER / "index.md").read_text() == losses_page.index_page(measured)
    for figures in measured.values():
        assert all(re.fullmatch(r"-?[\d.]+(e[+-]\d+)?", cell) for cell in figures)


def test_the_table_names_the_paper_of_each_loss():
    papers = {name: losses_page.paper(loss) for name, loss in losses.LOSSES.items()}
    assert papers["ntxent"] == "Sohn, NeurIPS 2016"
    assert papers["barlow_twins"] == "Zbontar et al., ICML 2021"
    without_year = {n for n, paper in papers.items() if not paper[-4:].isdigit()}
    assert without_year == {"saturation"} and papers["saturation"] == "this project"


def test_every_page_is_of_a_family_or_known():
    assert {path.name for path in FOLDER.glob("*.md")} == {
        *PAGES,
        "index.md",
        "peer.md",
    }
