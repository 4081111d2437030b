"""The proof grid of one loss: python -m siamjax.losses.check my_module.my_loss:beta=3

Every check of `GRID` runs on all batches that break losses (`batches`), in one
compilation for float32 and one for float64, and says `pass`, `FAIL`, or what it found.
"""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import files
from siamjax.losses import batches, registry
from siamjax.losses.precision import wide

# Losses whose embeddings are in the unit cube.
CUBE = ("lossless", "saturation")
# What must not change each loss: Permuting rows, Renaming classes, rOtating,
# Translating, Scaling embeddings. Of other losses the grid says what holds.
_OF_DISTANCE, _OF_ANGLE = "PROT", "PROS"
INVARIANT = dict(
    contrastive=_OF_DISTANCE, snr="PRS", intra_pair_variance=_OF_ANGLE,
    manhattan_lstm="PRT", triplet=_OF_DISTANCE, lossless="PR", ntxent=_OF_ANGLE,
    supcon=_OF_ANGLE, infonce="ROS", npairs="RO", nca=_OF_DISTANCE,
    prototypical=_OF_DISTANCE, multi_similarity=_OF_ANGLE, circle=_OF_ANGLE,
    lifted=_OF_DISTANCE, generalized_lifted=_OF_DISTANCE, tuplet_margin=_OF_ANGLE,
    angular=_OF_ANGLE, smooth_ap=_OF_ANGLE, fastap=_OF_ANGLE, histogram=_OF_ANGLE,
    ranked_list=_OF_DISTANCE, margin=_OF_DISTANCE, sigmoid_pairs=_OF_ANGLE,
    weighted_l1="PRT", proxy_nca="PS", proxy_nca_pp="PS", proxy_anchor="PS",
    soft_triple="PS", normalized_softmax="PS", cosface="PS", arcface="PS", center="PRO",
    variance="PRT", covariance="PRT", koleo=_OF_ANGLE, uniformity=_OF_ANGLE,
    zero_mean="PR", embedding_norm="PRO", saturation="PR", memory=_OF_DISTANCE,
    mined="PRO",
)  # fmt: skip
# Losses that hold a part of themselves constant, by their paper: no finite differences.
HELD = ("circle", "memory")
LEFT_OUT = "garbage where not counted"
CHANGES = dict(P="permuted", R="renamed", O="rotated", T="translated", S="scaled")


class Result(NamedTuple):
    check: str
    verdict: str  # pass, FAIL, or `says`: a finding that is neither
    detail: str


class Measured(NamedTuple):
    """What the loss did on all batches; dicts by name of batch."""

    loss: registry.Loss
    cube: bool
    state: dict
    given: dict  # name -> Batch
    value: dict  # name -> float, in float32
    slope: dict  # name -> [B, E]
    of_params: dict  # name -> largest absolute gradient of the params, NaN if any is
    value64: dict  # the same in float64
    slope64: dict
    difference: tuple  # along directions: central differences, and by the gradient
    shapes: list  # value and slope of batches of fewer rows: `_shapes`


def check(spec, cube=None):
    """Runs the grid on the loss of a text: a list of `Result`."""
    measured = measure(spec, cube)
    return [Result(name, *test(measured)) for name, test in GRID.items()]


def measure(spec, cube=None):
    """Evaluates the loss on all batches, in float32 and float64."""
    loss = registry.resolve(spec)
    cube = loss.name in CUBE if cube is None else cube
    state = loss.init(jax.random.key(0), batches.CLASSES, batches.E)
    rows = [
        p for p in jax.tree.leaves(state.get("params"))
        if p.ndim == 2 and p.shape[1] == batches.E
    ]  # fmt: skip
    proxies = np.asarray(rows[0]) if rows else None
    given = batches.all_batches(cube=cube, proxies=proxies)
    given = {k: b._replace(x=_single(b.x)) for k, b in given.items()}
    value, slope, of_params = _run(loss, state, list(given.values()), jnp.float32)
    # Small enough for the curvature, large enough for the digits of float64.
    step, directions = 1e-6, _directions(given["base"], len(given) // 2)
    moved = batches.nudged(given["base"], directions, step)
    with wide(True):
        value64, slope64, _ = _run(loss, state, list(given.values()), jnp.float64)
        around = moved + [given["base"]] * (len(given) - len(moved))
        near = _run(loss, state, around, jnp.float64)[0][: len(moved)]
    found = (near[::2] - near[1::2]) / (2 * step)
    base = list(given).index("base")
    said = np.sum(directions * slope64[base][None], (1, 2))
    dicts = (dict(zip(given, part)) for part in (value, slope, of_params))
    wides = (dict(zip(given, part)) for part in (value64, slope64))
    shapes = _shapes(given)
    each = jax.jit(lambda some: [evaluate(loss, state, b) for b in some])(shapes)
    shapes = [(float(v), np.asarray(slope)) for v, (slope, _) in each]
    return Measured(loss, cube, state, given, *dicts, *wides, (found, said), shapes)


def _shapes(given):
    """The rows that count of a batch, alone; then batches of 0, 1 and 2 rows."""
    some = np.flatnonzero(given[LEFT_OUT].where)
    parts = [(LEFT_OUT, some), *(("base", np.arange(n)) for n in (0, 1, 2))]
    out = [batches.Batch(*(a[rows] for a in given[name])) for name, rows in parts]
    return [b._replace(x=np.float32(b.x)) for b in out]


def evaluate(loss, state, batch, dtype=None):
    """The value and its gradients with respect to embeddings and params."""
    params = state.get("params", {})

    def value(x, params):
        own = {**state, "params": params} if state else state
        key = jax.random.key(1)
        return loss.apply(own, x, batch.labels, where=batch.where, key=key)[0]

    x = jnp.asarray(batch.x, dtype)
    return jax.value_and_grad(value, (0, 1))(x, params)


def _run(loss, state, given, dtype):
    """Values `[G]`, gradients `[G, B, E]`, and the largest of the params `[G]`."""
    cast = jax.tree.map(lambda a: _cast(a, dtype), state)
    stacked = batches.stack(given)
    each = jax.vmap(lambda batch: evaluate(loss, cast, batch))
    stacked = stacked._replace(x=jnp.asarray(stacked.x, dtype))
    value, (slope, of_params) = jax.jit(each)(stacked)
    leaves = [jnp.abs(p).reshape(len(given), -1) for p in jax.tree.leaves(of_params)]
    largest = jnp.concatenate([jnp.zeros((len(given), 1)), *leaves], 1).max(1)
    return np.asarray(value), np.asarray(slope), np.asarray(largest)


def _cast(a, dtype):
    return a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a


def _single(x):
    """float64 values that float32 can hold, so that both widths see the same batch."""
    with np.errstate(over="ignore"):
        return x.astype(np.float32).astype(np.float64)


def _directions(batch, number):
    rng = np.random.default_rng(3)
    out = rng.normal(size=(number, *batch.x.shape))
    return out / np.linalg.norm(out, axis=(1, 2), keepdims=True)


def _judge(bad, good="pass"):
    bad = [reason for reason in bad if reason]
    more = f", and {len(bad) - 4} more" if len(bad) > 4 else ""
    return ("FAIL", ", ".join(bad[:4]) + more) if bad else ("pass", good)


def finite(m):
    """Value and gradient are finite on every batch but those of absurd size, where an
    overflow may make them infinite, but not NaN."""
    beyond = {f"times {size:g}" for size in batches.BEYOND}
    inside = [name for name in m.given if name not in beyond | set(batches.BROKEN)]
    bad = []
    for name in inside:
        value, slope, params = m.value[name], m.slope[name], m.of_params[name]
        bad.append("" if np.isfinite(value) else f"value on {name} is {value}")
        bad.append("" if np.isfinite(slope).all() else f"gradient on {name}")
        bad.append("" if np.isfinite(params) else f"gradient of params on {name}")
    bad += [f"NaN on {n}" for n in sorted(beyond) if np.isnan(m.value[n])]
    bad += [f"NaN gradient on {n}" for n in beyond if np.isnan(m.slope[n]).any()]
    largest = max(np.abs(m.slope[n]).max() for n in inside)
    number = len(inside) + len(beyond)
    return _judge(bad, f"{number} batches, largest gradient {largest:.3g}")


def seen(m):
    """A row that counts and is not finite makes the value NaN."""
    bad = [
        f"the value on {name} is {m.value[name]}"
        for name in batches.BROKEN if not np.isnan(m.value[name])
    ]  # fmt: skip
    return _judge(bad, "NaN: " + ", ".join(batches.BROKEN))


def nothing(m):
    """Without a row that counts the gradient is 0, and so is a loss without weights."""
    name = "no row counts"
    bad = ["gradient" if np.any(m.slope[name] != 0) else ""]
    if not m.state.get("params"):
        bad.append(f"value {m.value[name]}" if m.value[name] != 0 else "")
    return _judge(bad, "exactly 0")


def left_out(m):
    """Rows not counted are as rows not there, one batch as one of many; they hold NaN,
    inf and 3e38."""
    rows, (value, slope) = np.flatnonzero(m.given[LEFT_OUT].where), m.shapes[0]
    bad = [_apart("value", m.value[LEFT_OUT], value, 1e-5)]
    bad.append(_apart("gradient", m.slope[LEFT_OUT][rows], slope, 1e-5))
    left = m.slope[LEFT_OUT][list(batches.MASKED)]
    return _judge([*bad, "gradient of left-out rows" if left.any() else ""],
                  "one batch alone = one of many")  # fmt: skip


def small(m):
    """Batches of 0, 1 and 2 rows, by shape."""
    bad = [
        f"B = {len(slope)}" for value, slope in m.shapes[1:]
        if not np.isfinite(value) or not np.isfinite(slope).all()
    ]  # fmt: skip
    return _judge(bad, "B = 0, 1, 2")


def precision(m):
    """float32 agrees with float64: 1e-5 of the value, 1e-5 of the gradient's norm."""
    names = ["base", "permuted", *(f"random {i}" for i in range(3))]
    bad = [_apart(f"value on {n}", m.value[n], m.value64[n], 1e-5) for n in names]
    bad += [_apart(f"gradient on {n}", m.slope[n], m.slope64[n], 1e-5) for n in names]
    worst = max(_error(m.slope[n], m.slope64[n]) for n in names)
    return _judge(bad, f"gradient within {worst:.1e}")


def slopes(m):
    """The gradient is that of finite differences in float64."""
    found, said = m.difference
    if m.loss.name in HELD:
        return "says", f"a part is held constant: off by {_error(said, found):.1e}"
    return _judge([_apart("gradient", said, found, 1e-5)],
                  f"within {_error(said, found):.1e}")  # fmt: skip


def invariances(m):
    """What it does not notice: permutation, renaming, rotation, translation, scale."""
    base, holds = m.value64["base"], ""
    for letter, name in CHANGES.items():
        same = np.isclose(m.value64[name], base, rtol=1e-6, atol=1e-12)
        holds += letter if same else ""
    said = ", ".join(CHANGES[letter] for letter in holds) or "none"
    if m.loss.name not in INVARIANT:
        return "says", said
    missing = set(INVARIANT[m.loss.name]) - set(holds)
    return _judge([f"{CHANGES[k]} changes it" for k in sorted(missing)], said)


def collapse(m):
    """How hard the loss pushes points apart that have all come close to one place."""
    sizes = [np.linalg.norm(m.slope[f"collapse {s:g}"]) for s in batches.COLLAPSE]
    at = np.linalg.norm(m.slope["all equal"])
    parts = [f"{s:g}: {v:.3g}" for s, v in zip(batches.COLLAPSE, sizes)]
    return "says", f"gradient norm at spread {', '.join(parts)}; at 0: {at:.3g}"


def half(m, dtypes=("bfloat16", "float16")):
    """Half-precision embeddings: as the same numbers in float32, gradient rounded."""
    bad = []
    for dtype in dtypes:
        x = jnp.asarray(m.given["base"].x, dtype)
        exact = m.given["base"]._replace(x=x.astype(jnp.float32))
        rounded = exact._replace(x=x)
        run = jax.jit(lambda b: evaluate(m.loss, m.state, b))
        value, (slope, _) = run(rounded)
        wanted, (wanted_slope, _) = run(exact)
        bad.append(_apart(f"{dtype} value", value, wanted, 1e-5))
        bad.append(_apart(f"{dtype} gradient", slope.astype(jnp.float32), wanted_slope,
                          2 * float(jnp.finfo(dtype).eps)))  # fmt: skip
    return _judge(bad, " and ".join(dtypes))


GRID = {
    "finite": finite,
    "rows not finite": seen,
    "nothing to learn from": nothing,
    "rows left out": left_out,
    "small batches": small,
    "precision": precision,
    "finite differences": slopes,
    "invariances": invariances,
    "gradient at collapse": collapse,
}
# What takes compilations of its own: for some losses in the quick tests, for all here.
LONG = {"half precision": half}


def _error(got, wanted):
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    return np.linalg.norm(got - wanted) / max(np.linalg.norm(wanted), 1e-30)


def _apart(what, got, wanted, within):
    """Empty where two agree to a share of the wanted norm, or 1e-6 of a small one."""
    error = np.linalg.norm(np.asarray(got, np.float64) - np.asarray(wanted, np.float64))
    if error <= max(within * np.linalg.norm(wanted), 1e-6 * min(1, within * 1e5)):
        return ""
    return f"{what} off by {_error(got, wanted):.1e}"


def compiled(loss, size, dim, classes):
    """Value and gradient, compiled for batches of this shape; and such a batch."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(size, dim)).astype(np.float32)
    labels = (np.arange(size) % classes).astype(np.int32)
    state = loss.init(jax.random.key(0), classes, dim)
    batch = batches.Batch(jnp.asarray(x), jnp.asarray(labels), jnp.ones(size, bool))
    return jax.jit(lambda b: evaluate(loss, state, b)).lower(batch).compile(), batch


def memory(run):
    """Temporary bytes of what was compiled, by XLA's account; None without one."""
    account = run.memory_analysis()
    return account.temp_size_in_bytes if account else None


def seconds(run, batch, repeats=3):
    """Of one evaluation: the least of some."""
    jax.block_until_ready(run(batch))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run(batch))
        times.append(time.perf_counter() - start)
    return min(times)


def draw(m, path):
    """Points of two dimensions and where a step against the gradient moves them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rng = np.random.default_rng(0)
    labels = (np.arange(24) % 3).astype(np.int32)
    x = (rng.normal(size=(24, 2)) + 0.7 * rng.normal(size=(3, 2))[labels]).astype("f4")
    x = 1 / (1 + np.exp(-x)) if m.cube else x
    state = m.loss.init(jax.random.key(0), 3, 2)
    batch = batches.Batch(x, labels, np.ones(24, bool))
    value, (slope, _) = jax.jit(lambda b: evaluate(m.loss, state, b))(batch)
    figure, axes = pyplot.subplots(figsize=(5, 5))
    axes.quiver(x[:, 0], x[:, 1], -slope[:, 0], -slope[:, 1], labels, cmap="Dark2",
                angles="xy", width=0.004)  # fmt: skip
    axes.scatter(x[:, 0], x[:, 1], c=labels, cmap="Dark2")
    axes.set_title(f"{m.loss.spec}: {value:.3g}")
    axes.set_aspect("equal")
    with files.replacing(path) as beside:
        figure.savefig(beside, dpi=120, format="png")
    pyplot.close(figure)


if __name__ == "__main__":
    from siamjax.commands import check

    check.run()
