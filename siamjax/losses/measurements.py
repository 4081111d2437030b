"""What a loss gives on the batches of `edge_cases`: values, gradients, memory, time.

One program computes all batches in float32, and another one in float64. A loss with a
memory also takes many steps on its own state, and one that draws at random is computed
over many keys. `losses.check` judges what is measured here.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax.losses import edge_cases, registry, states
from siamjax.losses.edge_cases import Batch

# Losses whose embeddings are in the unit cube.
CUBE = ("lossless", "saturation")
# A loss does not change when its batch is ...
CHANGES = dict(P="permuted", R="renamed", O="rotated", T="translated", S="scaled")
LEFT_OUT = "garbage where not counted"
# The batches that a loss with a memory meets one after the other, again and again.
SEQUENCE = (
    "base",
    "random 0",
    "no row counts",
    "random 1",
    "one class",
    LEFT_OUT,
    "all equal",
    "a zero row",
    "random 2",
)
MOST_STEPS = 500
# Keys of a loss that draws.
KEYS = 400
# Programs that run once: XLA compiles them in a third of the time, and they compute the
# same.
FAST_COMPILATION: Any = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
}


class Evaluation(NamedTuple):
    """What a loss gives on each batch."""

    value: dict[str, float]  # name of the batch -> value
    slope: dict[str, np.ndarray]  # -> gradient with respect to the rows, [B, E]
    params_slope: dict[str, float]  # -> largest absolute gradient of the params, or NaN


class Steps(NamedTuple):
    """What a loss with a memory gives, step by step, on the state of its last step."""

    number: int
    passes_end: bool  # of the largest array that it remembers
    finite_value: np.ndarray  # [number] bool, value and gradient
    finite_state: dict[str, np.ndarray]  # array of the state -> [number] bool


class Mean(NamedTuple):
    """The value and the gradient of a loss that draws, over many keys."""

    value: float
    value_error: float  # one standard error
    slope: np.ndarray  # [B, E]
    slope_error: float  # of the gradient's norm


class Measured(NamedTuple):
    """What the loss did on all batches."""

    loss: registry.Loss
    cube: bool
    state: dict[str, Any]
    batches: dict[str, Batch]
    single: Evaluation  # in float32
    double: Evaluation  # in float64
    central_differences: np.ndarray  # [K] along random directions, in float64
    directional_slopes: np.ndarray  # [K] by the gradient
    small: list[tuple[float, np.ndarray]]  # value, slope: `_small_batches`
    state_change: str  # how the state of a step differs in form from the one before
    steps: Steps | None  # None without a memory
    means: dict[str, Mean]  # name of the batch -> of a loss that draws; else empty


def measure(spec: str, cube: bool | None = None) -> Measured:
    """Evaluates a loss on all batches, in float32 and float64.

    Args:
      spec: the text of the loss, see `registry.resolve`.
      cube: whether embeddings are in [0, 1]; by default those of `CUBE` are.
    """
    loss = registry.resolve(spec)
    cube = loss.name in CUBE if cube is None else cube
    state = loss.init(jax.random.key(0), edge_cases.CLASSES, edge_cases.E)
    params = jax.tree.leaves(state.get("params"))
    tables = [p for p in params if p.ndim == 2 and p.shape[1] == edge_cases.E]
    proxies = np.asarray(tables[0]) if tables else None
    batches = edge_cases.all_batches(cube=cube, proxies=proxies)
    batches = {k: b._replace(x=_as_float32(b.x)) for k, b in batches.items()}
    single = evaluate_all(loss, state, [list(batches.values())], jnp.float32)[0]
    # Small enough for the curvature, large enough for the digits of float64.
    step, directions = 1e-6, _directions(batches["base"], len(batches) // 2)
    moved = edge_cases.nudged(batches["base"], directions, step)
    padding = [batches["base"]] * (len(batches) - len(moved))
    with jax.enable_x64(True):
        double, near = evaluate_all(
            loss, state, [list(batches.values()), moved + padding], jnp.float64
        )
    near_values = near[0][: len(moved)]
    differences = (near_values[::2] - near_values[1::2]) / (2 * step)
    base = list(batches).index("base")
    slopes = np.sum(directions * double[1][base][None], (1, 2))
    single, double = (
        Evaluation(*(dict(zip(batches, part)) for part in parts))
        for parts in (single, double)
    )
    state_change = _state_change(loss, state, batches["base"])
    has_memory = bool(jax.tree.leaves(state.get("memory"))) and not state_change
    return Measured(
        loss,
        cube,
        state,
        batches,
        single,
        double,
        differences,
        slopes,
        _evaluate_small(loss, state, batches),
        state_change,
        _take_steps(loss, state, batches) if has_memory else None,
        _means_over_keys(loss, state, batches) if _draws(loss, state, batches) else {},
    )


def _state_change(loss, state, batch):
    """How the form of the next state differs; a text, empty if it does not."""
    batch = batch._replace(x=np.float32(batch.x))
    after = jax.eval_shape(lambda: _apply(loss, state, batch, jax.random.key(1))[1])
    return states.form_change(state, after)


def _apply(loss, state, batch, key):
    return loss.apply(state, batch.x, batch.labels, where=batch.where, key=key)


def _take_steps(loss, state, batches):
    """`Steps` over `SEQUENCE`, until what is remembered was written over."""
    leaves = jax.tree.leaves(state["memory"])
    rows = max((leaf.shape[0] for leaf in leaves if leaf.ndim), default=0)
    wanted = 2 * len(SEQUENCE) + -(-rows // edge_cases.B)
    count = min(wanted, MOST_STEPS)
    sequence = edge_cases.stack([batches[name] for name in SEQUENCE])
    sequence = sequence._replace(x=np.float32(sequence.x))

    def step(state, number):
        batch = Batch(*(jnp.asarray(a)[number % len(SEQUENCE)] for a in sequence))
        key = jax.random.fold_in(jax.random.key(1), number)

        def value(x):
            return _apply(loss, state, batch._replace(x=x), key)

        (loss_value, state), slope = jax.value_and_grad(value, has_aux=True)(batch.x)
        finite = jnp.isfinite(loss_value) & jnp.isfinite(slope).all()
        finite_state = {
            k: _all_finite(v) for k, v in states.named_leaves(state).items()
        }
        return state, (finite, finite_state)

    run = jax.jit(lambda state: jax.lax.scan(step, state, jnp.arange(count))[1])
    state = jax.tree.map(jnp.asarray, state)
    finite_value, finite_state = run.lower(state).compile(FAST_COMPILATION)(state)
    finite_state = {name: np.asarray(flags) for name, flags in finite_state.items()}
    return Steps(count, count == wanted, np.asarray(finite_value), finite_state)


def _all_finite(array):
    is_float = jnp.issubdtype(array.dtype, jnp.inexact)
    return jnp.isfinite(array).all() if is_float else jnp.bool_(True)


def _draws(loss, state, batches):
    """Whether the value depends on the key."""
    batch = batches["base"]._replace(x=np.float32(batches["base"].x))
    program = jax.make_jaxpr(lambda key: _apply(loss, state, batch, key)[0])(
        jax.random.key(0)
    )
    (key,) = program.jaxpr.invars
    return any(key is used for step in program.jaxpr.eqns for used in step.invars)


def _means_over_keys(loss, state, batches):
    """`Mean` of `base`, of each of `CHANGES`, of `LEFT_OUT`, and under `alone` of its
    rows that count as a batch of their own. Each has keys of its own."""
    names = ["base", *CHANGES.values(), LEFT_OUT]
    counted = np.flatnonzero(batches[LEFT_OUT].where)
    alone = Batch(*(a[counted] for a in batches[LEFT_OUT]))
    groups = [edge_cases.stack([batches[name] for name in names])]
    groups.append(edge_cases.stack([alone]))
    groups = [group._replace(x=np.float32(group.x)) for group in groups]
    keys = jax.random.split(jax.random.key(2), (len(names) + 1, KEYS))

    def moments(batch, keys):
        value, (slope, _) = jax.vmap(lambda k: evaluate(loss, state, batch, key=k))(
            keys
        )
        spread = jnp.sqrt(jnp.sum(jnp.var(slope, 0)))
        return value.mean(), value.std(), slope.mean(0), spread

    parts = keys[: len(names)], keys[len(names) :]
    run = jax.jit(lambda: [jax.vmap(moments)(g, k) for g, k in zip(groups, parts)])
    answers = [zip(*map(np.asarray, part)) for part in run()]
    return {
        name: Mean(value, deviation / KEYS**0.5, slope, spread / KEYS**0.5)
        for name, (value, deviation, slope, spread) in zip(
            [*names, "alone"], itertools.chain.from_iterable(answers)
        )
    }


def _evaluate_small(loss, state, batches):
    """`[(value, slope)]`: of a batch that has only the rows of `LEFT_OUT` that count,
    then of batches of 0, 1 and 2 rows."""
    counted = np.flatnonzero(batches[LEFT_OUT].where)
    parts = [(LEFT_OUT, counted), *(("base", np.arange(n)) for n in (0, 1, 2))]
    small = [Batch(*(a[rows] for a in batches[name])) for name, rows in parts]
    small = [b._replace(x=np.float32(b.x)) for b in small]
    run = jax.jit(lambda small: [evaluate(loss, state, b) for b in small])
    answers = run.lower(small).compile(FAST_COMPILATION)(small)
    return [(float(value), np.asarray(slope)) for value, (slope, _) in answers]


def evaluate(
    loss: registry.Loss,
    state: dict[str, Any],
    batch: Batch,
    dtype: Any = None,
    key: jax.Array | None = None,
) -> tuple[jax.Array, tuple[jax.Array, Any]]:
    """The value and its gradients with respect to embeddings and params."""
    key = jax.random.key(1) if key is None else key

    def value(x, params):
        full_state = {**state, "params": params} if state else state
        number = _apply(loss, full_state, batch._replace(x=x), key)[0]
        registry.check_number(loss, number)
        return number

    x = jnp.asarray(batch.x, dtype)
    return jax.value_and_grad(value, (0, 1))(x, state.get("params", {}))


def evaluate_all(
    loss: registry.Loss,
    state: dict[str, Any],
    groups: Sequence[Sequence[Batch]],
    dtype: Any,
) -> list[Any]:
    """For each group of G batches: values `[G]`, gradients `[G, B, E]`, and the largest
    of the params `[G]`. All groups have one size: one compilation serves them."""
    state = jax.tree.map(lambda a: _cast(a, dtype), state)
    stacked = [edge_cases.stack(group) for group in groups]
    stacked = [batch._replace(x=jnp.asarray(batch.x, dtype)) for batch in stacked]
    options = FAST_COMPILATION if dtype == jnp.float64 else None
    traced = jax.jit(jax.vmap(lambda batch: evaluate(loss, state, batch)))
    run = traced.lower(stacked[0]).compile(options)
    return [_to_numpy(*run(batch)) for batch in stacked]


def _to_numpy(value, slopes):
    slope, params_slope = slopes
    leaves = [jnp.abs(p).reshape(len(value), -1) for p in jax.tree.leaves(params_slope)]
    largest = jnp.concatenate([jnp.zeros((len(value), 1)), *leaves], 1).max(1)
    return np.asarray(value), np.asarray(slope), np.asarray(largest)


def _cast(a, dtype):
    return a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a


def _as_float32(x):
    """float64 values that float32 can hold, so that both widths see the same batch."""
    with np.errstate(over="ignore"):
        return x.astype(np.float32).astype(np.float64)


def _directions(batch, number):
    directions = np.random.default_rng(3).normal(size=(number, *batch.x.shape))
    return directions / np.linalg.norm(directions, axis=(1, 2), keepdims=True)


# Where second derivatives are taken.
CURVED = ("base", "random 0", "a duplicate", "all equal", "a zero row", "one class")


def has_custom_vjp(m: Measured) -> bool:
    """Whether the loss has a `jax.custom_vjp`, which has no forward mode."""
    batch = m.batches["base"]._replace(x=m.batches["base"].x.astype(np.float32))
    program = jax.make_jaxpr(lambda: _apply(m.loss, m.state, batch, jax.random.key(1)))
    return "custom_vjp_call" in str(program())


def second_order(m: Measured) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The Hessian times a random direction on the batches of `CURVED`, in float64.

    Returns:
      direction: `[B, E]`.
      products: name of the route -> `[batches, B, E]`, by three orders of forward and
        reverse mode; forward over forward gives the product with the direction again,
        `[batches]`. `differences` are central differences of the gradient.
    """
    direction = _directions(m.batches["base"], 1)[0]
    with jax.enable_x64(True):
        state = jax.tree.map(lambda a: _cast(a, jnp.float64), m.state)
        batch = edge_cases.stack([m.batches[name] for name in CURVED])
        run = jax.jit(
            jax.vmap(lambda b: _hessian_products(m.loss, state, b, direction))
        )
        products = run.lower(batch).compile(FAST_COMPILATION)(batch)
    return direction, {name: np.asarray(values) for name, values in products.items()}


def _hessian_products(loss, state, batch, direction):
    """Of one batch, name of the route -> product, see `second_order`."""
    x, v = jnp.asarray(batch.x), jnp.asarray(direction)
    key, step = jax.random.key(1), 1e-6

    def value(x):
        return _apply(loss, state, batch._replace(x=x), key)[0]

    def slope(x):
        return jax.jvp(value, (x,), (v,))[1]

    gradient = jax.grad(value)
    return {
        "forward over reverse": jax.jvp(gradient, (x,), (v,))[1],
        "reverse over reverse": jax.grad(lambda x: jnp.vdot(gradient(x), v))(x),
        "reverse over forward": jax.grad(slope)(x),
        "forward over forward": jax.jvp(slope, (x,), (v,))[1],
        "differences": (gradient(x + step * v) - gradient(x - step * v)) / (2 * step),
    }


def compile_loss(
    loss: registry.Loss, size: int, dim: int, classes: int, options: Any = None
) -> tuple[Callable, Batch]:
    """Value and gradient, compiled for batches `[size, dim]`; and such a batch."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(size, dim)).astype(np.float32)
    labels = (np.arange(size) % classes).astype(np.int32)
    state = loss.init(jax.random.key(0), classes, dim)
    batch = Batch(jnp.asarray(x), jnp.asarray(labels), jnp.ones(size, bool))
    run = jax.jit(lambda b: evaluate(loss, state, b))
    return run.lower(batch).compile(options), batch


def temporary_bytes(run: Any) -> int | None:
    """Memory that a compiled function needs besides its input and output; None where
    XLA does not tell it."""
    account = run.memory_analysis()
    return account.temp_size_in_bytes if account else None


def least_seconds(run: Callable, batch: Batch, repeats: int = 3) -> float:
    """The least time of `repeats` evaluations."""
    jax.block_until_ready(run(batch))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run(batch))
        times.append(time.perf_counter() - start)
    return min(times)
