"""A researcher's loss, as its tutorial has it: through the grid, and in training."""

import pathlib
import re
import sys

import jax
import pytest

from siamjax.config import from_dict
from siamjax.training import loop
from tests import commands, small_data

ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / "docs/tutorials/loss.md").read_text()
CODE = re.search(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
CHECKED = re.search(r"siamjax check (\S+)", PAGE).group(1)
TRAINED = re.search(r"heads\.match\.loss=(\S+)", PAGE).group(1)


@pytest.fixture
def written(tmp_path):
    (tmp_path / CODE.group(1)).write_text(CODE.group(2))
    return tmp_path


def test_the_loss_of_the_tutorial_goes_through_the_grid(written, monkeypatch):
    """By the command, in the folder of the file; the loss has about ten lines."""
    assert len(CODE.group(2).strip().splitlines()) <= 12
    monkeypatch.chdir(written)
    done = commands.run("check", CHECKED, "--sizes=64", "--picture=push.png")
    sys.modules.pop(CHECKED.partition(".")[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{CHECKED}\n  margin=1.0, power=2\n")
    for check in (
        "finite",
        "rows left out",
        "finite differences",
        "gradient at collapse",
        "half precision",
        "B =    64",
        "B² floats",
    ):
        assert check in done.stdout
    assert "permuted, renamed, rotated, translated" in done.stdout
    assert (written / "push.png").read_bytes()[:4] == b"\x89PNG"


def test_the_loss_of_the_tutorial_trains(written, monkeypatch):
    monkeypatch.syspath_prepend(written)
    monkeypatch.setattr(jax, "devices", lambda *a, found=jax.devices: found(*a)[:1])
    small_data.write(written / "prepared")
    config = small_data.config(written / "prepared", steps=4)
    config.heads.match.loss = TRAINED
    config.batch.made_up, config.heads.view = 0, None  # quick to compile
    config.trace_frames = 0
    then = loop.train(from_dict(config), written / "run")
    assert int(then.step) == 4
    sys.modules.pop(TRAINED.partition(".")[0])
