"""The public face of `siamjax.losses`: its names, its types, and docs/own_loop.md."""

import importlib
import pathlib
import pkgutil
import re
import runpy
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from siamjax import losses
from siamjax.losses.annotations import check_choice
from siamjax.types import UsageError

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))


def test_no_module_shadows_a_public_name():
    for module in pkgutil.iter_modules(losses.__path__, "siamjax.losses."):
        importlib.import_module(module.name)
    for name in losses.__all__:
        assert not isinstance(getattr(losses, name), types.ModuleType), name
    functions = {f.__name__ for f in losses.LOSSES.values()}
    assert functions < set(losses.__all__)


def test_a_choice_that_is_not_known_is_refused_without_resolve():
    x, labels = np.ones((2, 1)), np.arange(2)
    with pytest.raises(UsageError, match="mining=hrad is not known: use one of all, "):
        losses.triplet(x, labels, mining="hrad")
    with pytest.raises(UsageError, match="reduce=al is not known: use one of active, "):
        losses.triplet(x, labels, reduce="al")
    with pytest.raises(UsageError, match="mining=al is not known: use one of all, "):
        check_choice("mining", "al", losses.Mining)


def test_mypy_sees_a_wrong_choice(tmp_path):
    config = "[mypy]\nfollow_imports = silent\nignore_missing_imports = True\n"
    for name in ("jax", "numpy", "flax", "optax", "absl"):
        config += f"[mypy-{name}.*]\nfollow_imports = skip\n"
    (tmp_path / "mypy.ini").write_text(config)
    (tmp_path / "use.py").write_text(
        "from siamjax import losses\n"
        'losses.triplet(..., ..., mining="hard", distance=losses.lp(1.5))\n'
        'losses.triplet(..., ..., mining="hrad")\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "use.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    errors = [e for e in done.stdout.splitlines() if "[arg-type]" in e]
    of_choice = [e for e in errors if '"mining"' in e]
    assert len(of_choice) == 1, done.stdout + done.stderr
    assert of_choice[0].startswith("use.py:3: error:")
    assert not [e for e in errors if '"distance"' in e]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_learn_and_the_page_shows_them(path, capsys, monkeypatch):
    page = (ROOT / "docs/own_loop.md").read_text()
    assert f"```python\n# {path.name}\n{path.read_text()}```" in page
    if path.stem == "flax_nnx":
        pytest.importorskip("flax", minversion="0.11")  # its optimiser takes the model
    monkeypatch.syspath_prepend(path.parent)
    names = runpy.run_path(str(path), run_name="__main__")
    if "history" in names:
        assert names["history"][-1] < 0.8 * names["history"][0]
    assert capsys.readouterr().out


def test_the_stateful_example_has_no_gradient_of_rows_that_do_not_count(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs/examples")
    loss = losses.resolve("stateful_loss.learnt_centers")
    state = loss.init(jax.random.key(0), classes=2, dim=2)
    rows = jnp.array([[1.0, 2.0], [3.0, 4.0], [jnp.nan, jnp.inf]])
    labels, where = np.array([0, 1, 9]), np.array([True, True, False])
    params, slope = jax.grad(
        lambda params, x: loss.apply(
            dict(state, params=params), x, labels, where=where
        )[0],
        (0, 1),
    )(state["params"], rows)
    assert np.isfinite(params["centers"]).all() and np.any(slope[:2] != 0)
    np.testing.assert_array_equal(slope[2], 0)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("own_loop", marks=pytest.mark.slow),  # 10 s of compilation
        pytest.param("mining", marks=pytest.mark.slow),
        "metrics",
    ],
)
def test_the_snippets_of_a_page_run(name):
    """In order, as they are read; the whole files of a page are tested above."""
    page = (ROOT / f"docs/{name}.md").read_text()
    snippets = re.findall(r"^```python\n(?!# \w+\.py\n)(.*?)^```", page, re.M | re.S)
    assert len(snippets) == page.count("```python\n") - page.count("```python\n# ")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(128, 4)).astype(np.float32)
    names = dict(
        jax=jax,
        jnp=jnp,
        embeddings=rows,
        labels=np.arange(128) % 8,
        captures=np.arange(128) % 3,
        where=np.arange(128) < 120,
        first=rows[:8],
        second=rows[8:16],
        inputs=jnp.asarray(rows),
        params=np.eye(4, dtype=np.float32),
        encode=lambda params, x: x @ params,
        update=lambda state, x, labels: (state + 1, x),
        classes=8,
        dim=4,
        seed=0,
    )
    for snippet in snippets:
        exec(compile(snippet, f"docs/{name}.md", "exec"), names)
    if name == "mining":
        steps, memory = names["train_step"](0, names["memory"], 5)
        assert steps == 1 and memory.seen.sum() == 8
    else:
        values = names["value"] if name == "own_loop" else names["scores"]["map@r"]
        assert np.isfinite(values).all()
