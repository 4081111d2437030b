"""A researcher's loss, as its tutorial has it: through the grid, and in training."""

import pathlib
import re
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from siamjax.config import from_dict
from siamjax.losses import Stateful, check, measurements, resolve, stateful
from siamjax.training import loop, step
from siamjax.types import UsageError
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
    for name in (
        "finite",
        "rows left out",
        "finite differences",
        "gradient at collapse",
        "half precision",
        "B =    64",
        "B² floats",
    ):
        assert name in done.stdout
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


def mean_square(embeddings, labels, *, where=None):
    return jnp.mean(jnp.where(where[:, None], embeddings, 0) ** 2)


def a_row_each(embeddings, labels, *, where=None):
    return jnp.sum(embeddings**2, 1)


def with_a_note(embeddings, labels, *, where=None):
    return mean_square(embeddings, labels, where=where), "note"


def without_where(embeddings, labels):
    return jnp.mean(embeddings**2)


@jax.custom_vjp
def uphill(x):
    return jnp.mean(x**2)


uphill.defvjp(lambda x: (uphill(x), x), lambda x, slope: (-2 * slope * x / x.size,))


def with_a_wrong_sign(embeddings, labels, *, where=None):
    return uphill(jnp.where(where[:, None], embeddings, 0))


def held_constant(embeddings, labels, *, where=None):
    return mean_square(jax.lax.stop_gradient(embeddings), labels, where=where)


def with_state_after(name, returned):
    """A loss with two memories, whose apply gives `returned(value, state)`."""

    def make():
        def init(key, classes, dim):
            return dict(memory=dict(seen=jnp.zeros(()), last=jnp.zeros(dim)))

        def apply(state, embeddings, labels, *, where=None):
            return returned(mean_square(embeddings, labels, where=where), state)

        return Stateful(init, apply, per_class=False)

    make.__name__ = name
    return stateful(make)


drops_all = with_state_after("drops_all", lambda value, state: (value, {}))
drops_one = with_state_after(
    "drops_one", lambda value, state: (value, dict(memory=dict(seen=value)))
)
gives_no_state = with_state_after("gives_no_state", lambda value, state: value)

WRONG = {
    "a_row_each": r"gives float32\[6\]: it must give one float",
    "with_a_note": "with_a_note must return a number, got tuple",
    "without_where": "takes no where; .* Give it where=None: rows where it is False",
    "drops_all": "of head match: the returned state has no memory.last; its apply must",
    "drops_one": "drops_one: the returned state has no memory.last; return a memory",
    "gives_no_state": "must return the value and the state, got one array",
}


@pytest.mark.parametrize(("name", "says"), WRONG.items())
def test_training_says_in_one_sentence_what_is_wrong_with_a_loss(name, says):
    loss = resolve(f"{__name__}.{name}")
    state = loss.init(jax.random.key(0), 2, 3)
    parts = types.SimpleNamespace(
        heads=dict(match=step.HeadLoss(loss, 3, 1.0, "none")),
        sampling=types.SimpleNamespace(draw_tuples=lambda key, labels: {}),
    )

    def total(x):
        arguments = jnp.arange(6) % 2, jax.random.key(0), dict(match={})
        return step.total_loss(dict(match=x), *arguments, dict(match=state), parts)[0]

    with pytest.raises(UsageError, match=says) as error:
        jax.eval_shape(total, jnp.ones((6, 3)))
    assert "\n" not in str(error.value)


def test_the_grid_names_a_wrong_sign_and_a_gradient_that_is_missing():
    measured = {
        name: measurements.measure(f"{__name__}.{name}")
        for name in ("with_a_wrong_sign", "held_constant")
    }
    differences = check.finite_differences(measured["with_a_wrong_sign"])
    assert differences == ("FAIL", "the gradient has the wrong sign")
    verdict, detail = check.second_derivatives(measured["with_a_wrong_sign"])
    assert verdict == "says" and "custom_vjp" in detail
    verdict, detail = check.finite(measured["held_constant"])
    assert verdict == "FAIL" and "gradient is 0 on every batch" in detail
