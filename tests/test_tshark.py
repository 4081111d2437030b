"""Runs of tshark: several at a time, one that hangs, and what it prints today."""

import itertools
import json
import sys

import pytest

from siamjax.capture import cleaning, tshark
from siamjax.capture.protocols import PROTOCOLS
from tests import signalling
from tests.signalling_events import EXPECTED, HAS_TSHARK, read


def test_runs_of_tshark_overlap_and_lose_and_repeat_nothing(
    tmp_path, recorded, monkeypatch
):
    monkeypatch.setattr(tshark, "MOST_PACKETS", 4)
    monkeypatch.setattr(tshark, "OVERLAP", 2)
    records = signalling.CONVERSATIONS["radius"]
    assert read(tmp_path / "a", records, ["radius"])[1] == EXPECTED["radius"]


@pytest.mark.skipif(not HAS_TSHARK, reason="tshark is not installed")
def test_tshark_itself_gives_the_same_events(tmp_path):
    records = itertools.chain(*signalling.CONVERSATIONS.values())
    protocols = [name for name, protocol in PROTOCOLS.items() if protocol.filter]
    _, rows, report = read(tmp_path / "a", sorted(records), protocols)
    assert sorted(rows, key=str) == sorted(itertools.chain(*EXPECTED.values()), key=str)
    assert cleaning.not_read(report) == {} and report.tshark


# Prints the lines of the first packets of RADIUS, and then neither reads nor prints.
HANGING = """#!{python}
import sys, time
if "--version" in sys.argv:
    print("TShark 4.0.17")
    sys.exit()
sys.stdin.buffer.read(600)
sys.stdout.write(open("{lines}").read())
sys.stdout.flush()
time.sleep(60)
"""


def test_a_tshark_that_hangs_is_ended_and_keeps_what_it_printed(tmp_path, monkeypatch):
    fields = tshark.fields_of([PROTOCOLS["radius"]])
    recorded = json.loads(signalling.RECORDED.read_text())["radius"]
    printed = [
        "\t".join([str(number), *(cells.get(name, "") for name in fields[1:])])
        for number, cells in enumerate(recorded[:4], 1)
        if cells
    ]
    (tmp_path / "lines").write_text("\n".join(printed) + "\n")
    program = tmp_path / "tshark"
    program.write_text(HANGING.format(python=sys.executable, lines=tmp_path / "lines"))
    program.chmod(0o755)
    monkeypatch.setattr(tshark, "find_tshark", lambda: str(program))
    monkeypatch.setattr(tshark, "PATIENCE_S", 0.5)
    records = signalling.CONVERSATIONS["radius"]
    _, rows, report = read(tmp_path / "a", records, ["radius"])
    expected = [row for row in EXPECTED["radius"] if row[0] <= rows[-1][0]]
    assert rows == expected and 2 <= len(rows) <= 4
    (note,) = report.notes
    assert note == (
        "tshark hung for 0.5 s and was ended: packets 5 to "
        f"{len(records)} were given to it and not read"
    )
    assert cleaning.not_read(report)["tshark"] == len(records) - 4


@pytest.mark.skipif(not HAS_TSHARK, reason="tshark is not installed")
def test_real_runs_of_tshark_that_overlap(tmp_path, monkeypatch):
    monkeypatch.setattr(tshark, "MOST_PACKETS", 5)
    monkeypatch.setattr(tshark, "OVERLAP", 3)
    records = signalling.CONVERSATIONS["diameter"]
    _, rows, report = read(tmp_path / "a", records, ["diameter"])
    assert rows == EXPECTED["diameter"] and cleaning.not_read(report) == {}
