"""The proof grid of one loss: python -m siamjax.losses.check my_module.my_loss:beta=3

Every check of `GRID` runs on batches that break many losses (`edge_cases`) and says
`pass`, `FAIL`, or what it measured. One program computes all batches in float32, and
another one in float64. A loss with a memory also takes many steps on its own state, and
one that draws at random is compared in expectation, over many keys.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import files
from siamjax.losses import edge_cases, registry
from siamjax.losses.edge_cases import Batch

# Losses whose embeddings are in the unit cube.
CUBE = ("lossless", "saturation")
# A loss does not change when its batch is ...
CHANGES = dict(P="permuted", R="renamed", O="rotated", T="translated", S="scaled")
# The changes that must leave each loss as it is. For a loss that is not in this table
# the grid only reports which ones do.
INVARIANT = {
    "PROT": (  # of Euclidean distances
        "contrastive, triplet, nca, prototypical, lifted, generalized_lifted, "
        "ranked_list, margin, memory"
    ),
    "PROS": (  # of angles
        "intra_pair_variance, ntxent, supcon, multi_similarity, circle, tuplet_margin, "
        "angular, smooth_ap, fastap, histogram, sigmoid_pairs, koleo, uniformity, "
        "negative_cosine, alignment, spectral_contrastive, sincere, decoupled, "
        "robust_infonce, recall_at_k, sup_ap, roadmap, pnp, contextual, "
        "soft_supcon, cosine_regression, cosent, instance, hard_contrastive, "
        "threshold_consistent, orthogonal_projection, global_orthogonal, "
        "anti_collapse, dynamic_soft_margin"
    ),
    "PRT": "manhattan_lstm, weighted_l1, variance, covariance",
    "PRO": "center, embedding_norm, mined, ring",
    "PR": "lossless, zero_mean, saturation",
    "PRS": "snr, matryoshka, angle",
    "ROS": "infonce",
    "R": "gist",  # invariant to angles, but for rounding over its low temperature
    "RO": "npairs",
    "RT": "vicreg",
    "RTS": "barlow_twins",
    "PS": (
        "proxy_nca, proxy_nca_pp, proxy_anchor, soft_triple, normalized_softmax, "
        "cosface, arcface, elasticface, curricularface, p2sgrad, "
        "potential_field, manifold, regular_weights"
    ),
    "P": "adaface, magface, sphereface, large_margin_softmax, softmax_classifier",
}
INVARIANT = {loss: k for k, names in INVARIANT.items() for loss in names.split(", ")}
# Losses whose paper holds a part constant: finite differences are not their gradient.
HELD = (
    "circle",
    "memory",
    "negative_cosine",
    "contextual",
    "adaface",
    "curricularface",
    "dynamic_soft_margin",
)
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
# Keys of a loss that draws: two means may differ by five standard errors.
KEYS = 400
STANDARD_ERRORS = 5
# Programs that run once: XLA compiles them in a third of the time, and they compute the
# same.
FAST_COMPILATION: Any = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
}


class Result(NamedTuple):
    check: str
    verdict: str  # pass, FAIL, or `says`: a measurement that is neither
    detail: str


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


def run_grid(spec: str, cube: bool | None = None) -> list[Result]:
    """Runs every check of `GRID` on a loss; arguments as in `measure`."""
    measured = measure(spec, cube)
    return [Result(name, *check(measured)) for name, check in GRID.items()]


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
    old, new = _forms(state), _forms(after)
    for name in old:
        if name not in new:
            return f"the returned state has no {name}"
        if old[name] != new[name]:
            return f"{name} becomes {new[name]}, it was {old[name]}"
    added = [name for name in new if name not in old]
    return f"the returned state has {added[0]}, init gives none" if added else ""


def _forms(state):
    return {
        name: f"{leaf.dtype}{list(leaf.shape)}"
        for name, leaf in _named_leaves(jax.eval_shape(lambda: state)).items()
    }


def _named_leaves(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }


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
        finite_state = {k: _all_finite(v) for k, v in _named_leaves(state).items()}
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
            [*names, "alone"], [one for part in answers for one in part]
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
        return _apply(loss, full_state, batch._replace(x=x), key)[0]

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


def _verdict(problems, good="pass"):
    problems = [problem for problem in problems if problem]
    if not problems:
        return "pass", good
    more = f", and {len(problems) - 4} more" if len(problems) > 4 else ""
    return "FAIL", ", ".join(problems[:4]) + more


Check = Callable[[Measured], tuple[str, str]]


def finite(m: Measured) -> tuple[str, str]:
    """Value and gradient are finite on every batch. At absurd sizes (`BEYOND`) they may
    overflow to infinity, but must not be NaN."""
    beyond = {f"times {size:g}" for size in edge_cases.BEYOND}
    inside = [n for n in m.batches if n not in beyond | set(edge_cases.BROKEN)]
    value, slope, params_slope = m.single
    problems = []
    for name in inside:
        if not np.isfinite(value[name]):
            problems.append(f"value on {name} is {value[name]}")
        if not np.isfinite(slope[name]).all():
            problems.append(f"gradient on {name}")
        if not np.isfinite(params_slope[name]):
            problems.append(f"gradient of params on {name}")
    problems += [f"NaN on {n}" for n in sorted(beyond) if np.isnan(value[n])]
    problems += [f"NaN gradient on {n}" for n in beyond if np.isnan(slope[n]).any()]
    steepest = max(inside, key=lambda n: np.abs(slope[n]).max())
    largest = f"largest gradient {np.abs(slope[steepest]).max():.3g} on {steepest}"
    return _verdict(problems, f"{len(inside) + len(beyond)} batches, {largest}")


def not_finite_rows(m: Measured) -> tuple[str, str]:
    """A row that counts and is not finite makes the value NaN."""
    values = {name: m.single.value[name] for name in edge_cases.BROKEN}
    finite_values = {n: v for n, v in values.items() if not np.isnan(v)}
    problems = [f"the value on {n} is {v}" for n, v in finite_values.items()]
    return _verdict(problems, "NaN: " + ", ".join(values))


def no_rows(m: Measured) -> tuple[str, str]:
    """If no row counts, the gradient is 0, and a loss without weights is 0."""
    name = "no row counts"
    problems = ["gradient" if np.any(m.single.slope[name] != 0) else ""]
    value = m.single.value[name]
    if not m.state.get("params") and value != 0:
        problems.append(f"value {value}")
    return _verdict(problems, "exactly 0")


def rows_left_out(m: Measured) -> tuple[str, str]:
    """Rows that do not count change nothing, though they hold NaN, inf and 3e38. A
    batch computed alone gives the same as among others."""
    rows, (value, slope) = np.flatnonzero(m.batches[LEFT_OUT].where), m.small[0]
    masked_slope = m.single.slope[LEFT_OUT]
    good = "one batch alone = one of many"
    if m.means:
        masked = m.means[LEFT_OUT]
        masked = masked._replace(slope=masked.slope[rows])
        problems, good = _differ_in_mean(masked, m.means["alone"]), f"{good}; {IN_MEAN}"
    else:
        problems = [
            _differ("value", m.single.value[LEFT_OUT], value, 1e-5),
            _differ("gradient", masked_slope[rows], slope, 1e-5),
        ]
    if masked_slope[list(edge_cases.MASKED)].any():
        problems.append("gradient of left-out rows")
    return _verdict(problems, good)


def small_batches(m: Measured) -> tuple[str, str]:
    """Batches of 0, 1 and 2 rows, by shape."""
    problems = [
        f"B = {len(slope)}"
        for value, slope in m.small[1:]
        if not np.isfinite(value) or not np.isfinite(slope).all()
    ]
    return _verdict(problems, "B = 0, 1, 2")


def precision(m: Measured) -> tuple[str, str]:
    """float32 agrees with float64 to 1e-5 of the value and of the gradient's norm."""
    names = ["base", "permuted", *(f"random {i}" for i in range(3))]
    value, slope, _ = m.single
    double_value, double_slope, _ = m.double
    problems = []
    for n in names:
        problems.append(_differ(f"value on {n}", value[n], double_value[n], 1e-5))
        problems.append(_differ(f"gradient on {n}", slope[n], double_slope[n], 1e-5))
    worst = max(relative_error(slope[n], double_slope[n]) for n in names)
    return _verdict(problems, f"gradient within {worst:.1e}")


def finite_differences(m: Measured) -> tuple[str, str]:
    """The gradient agrees with finite differences in float64."""
    error = relative_error(m.directional_slopes, m.central_differences)
    if m.loss.name in HELD:
        return "says", f"a part is held constant: off by {error:.1e}"
    problem = _differ("gradient", m.directional_slopes, m.central_differences, 1e-5)
    return _verdict([problem], f"within {error:.1e}")


def invariances(m: Measured) -> tuple[str, str]:
    """Which changes of the batch leave the loss as it is: see `CHANGES`. The order of
    the rows never matters to a loss that draws, in the mean."""
    if m.means:
        base = m.means["base"]
        unchanged = {
            letter: name
            for letter, name in CHANGES.items()
            if not _differ_in_mean(base, m.means[name], slopes=False)
        }
        problem = "" if "P" in unchanged else "permuted changes the mean"
        return _verdict([problem], f"{', '.join(unchanged.values())}; {IN_MEAN}")
    values = m.double.value
    unchanged = {
        letter: name
        for letter, name in CHANGES.items()
        if np.isclose(values[name], values["base"], rtol=1e-6, atol=1e-12)
    }
    detail = ", ".join(unchanged.values()) or "none"
    if m.loss.name not in INVARIANT:
        return "says", detail
    missing = set(INVARIANT[m.loss.name]) - set(unchanged)
    return _verdict([f"{CHANGES[k]} changes it" for k in sorted(missing)], detail)


def steps(m: Measured) -> tuple[str, str]:
    """A step returns a state of the form that it was given. A loss with a memory stays
    finite on its own state, until all that it remembers was written over."""
    if m.state_change or m.steps is None:
        return _verdict([m.state_change], "no memory")
    problems = [_first_bad("value or gradient", m.steps.finite_value)]
    problems += [
        _first_bad(name, flags) for name, flags in m.steps.finite_state.items()
    ]
    end = "past the end" if m.steps.passes_end else "not up to the end"
    return _verdict(problems, f"{m.steps.number} steps, {end} of the memory")


def _first_bad(what, finite):
    if finite.all():
        return ""
    return f"{what} not finite at step {int(np.argmin(finite)) + 1}"


def collapse(m: Measured) -> tuple[str, str]:
    """How hard the loss pushes points apart when all are close to one place."""
    slope, sizes = m.single.slope, edge_cases.COLLAPSE
    norms = {s: np.linalg.norm(slope[f"collapse {s:g}"]) for s in sizes}
    parts = ", ".join(f"{s:g}: {norm:.3g}" for s, norm in norms.items())
    equal = np.linalg.norm(slope["all equal"])
    return "says", f"gradient norm at spread {parts}; at 0: {equal:.3g}"


def half_precision(m: Measured) -> tuple[str, str]:
    """Half-precision embeddings give what the same numbers in float32 give; the
    gradient is rounded."""
    problems = []
    run = jax.jit(lambda b: evaluate(m.loss, m.state, b))
    for dtype in ("bfloat16", "float16"):
        x = jnp.asarray(m.batches["base"].x, dtype)
        rounded = m.batches["base"]._replace(x=x)
        exact = rounded._replace(x=x.astype(jnp.float32))
        value, (slope, _) = run(rounded)
        exact_value, (exact_slope, _) = run(exact)
        eps = float(jnp.finfo(dtype).eps)
        slope = slope.astype(jnp.float32)
        problems.append(_differ(f"{dtype} value", value, exact_value, 1e-5))
        problems.append(_differ(f"{dtype} gradient", slope, exact_slope, 2 * eps))
    return _verdict(problems, "bfloat16 and float16")


# Where the Hessian must be finite, and of these where it must be right.
CURVED = ("base", "random 0", "a duplicate", "all equal", "a zero row", "one class")
SMOOTH = ("base", "random 0")


def second_derivatives(m: Measured) -> tuple[str, str]:
    """The Hessian times a direction, by all four orders of forward and reverse mode,
    agrees with differences of the gradient in float64, and is finite where rows are
    equal or 0."""
    direction = _directions(m.batches["base"], 1)[0]
    with jax.enable_x64(True):
        state = jax.tree.map(lambda a: _cast(a, jnp.float64), m.state)
        batch = edge_cases.stack([m.batches[name] for name in CURVED])
        run = jax.jit(
            jax.vmap(lambda b: _hessian_products(m.loss, state, b, direction))
        )
        answers = run.lower(batch).compile(FAST_COMPILATION)(batch)
    answers = {name: np.asarray(values) for name, values in answers.items()}
    differences, problems, worst = answers.pop("differences"), [], 0.0
    for i, name in enumerate(CURVED):
        wanted = {1: differences[i], 0: np.sum(differences[i] * direction)}
        for route, values in answers.items():
            if not np.isfinite(values[i]).all():
                problems.append(f"{route} not finite on {name}")
            elif name in SMOOTH:
                right = wanted[min(values[i].ndim, 1)]
                worst = max(worst, relative_error(values[i], right))
                problems.append(_differ(f"{route} on {name}", values[i], right, 1e-4))
    if m.loss.name in HELD:
        problems = [problem for problem in problems if "finite" in problem]
        return _verdict(problems, "finite; a part is held constant")
    return _verdict(problems, f"four routes within {worst:.1e}")


def _hessian_products(loss, state, batch, direction):
    """Name of the route -> Hessian times direction `[B, E]`; forward over forward gives
    its product with the direction again. `differences` are those of the gradient."""
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


GRID: dict[str, Check] = {
    "finite": finite,
    "rows not finite": not_finite_rows,
    "nothing to learn from": no_rows,
    "rows left out": rows_left_out,
    "small batches": small_batches,
    "precision": precision,
    "finite differences": finite_differences,
    "invariances": invariances,
    "steps": steps,
    "gradient at collapse": collapse,
}
# Checks with compilations of their own: the quick tests run them for a few losses only.
LONG: dict[str, Check] = {
    "half precision": half_precision,
    "second derivatives": second_derivatives,
}


IN_MEAN = f"it draws: means over {KEYS} keys"


def _differ_in_mean(mean, wanted, slopes=True):
    """Texts that say by how many standard errors two means differ, if too many."""
    parts = {"value": ("value", "value_error")}
    if slopes:
        parts["gradient"] = "slope", "slope_error"
    problems = []
    for what, (part, error) in parts.items():
        gap = np.linalg.norm(getattr(mean, part) - getattr(wanted, part))
        rounding = 1e-6 * max(1.0, np.linalg.norm(getattr(wanted, part)))
        allowed = rounding + STANDARD_ERRORS * np.hypot(
            getattr(mean, error), getattr(wanted, error)
        )
        if not gap <= allowed:
            problems.append(f"mean {what} off by {gap:.1e}, allowed {allowed:.1e}")
    return problems


def relative_error(value: Any, reference: Any) -> float:
    """The norm of the difference divided by the norm of the reference."""
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    size = max(float(np.linalg.norm(reference)), 1e-30)
    return float(np.linalg.norm(value - reference)) / size


def _differ(what, value, reference, within):
    """A text that says how far two arrays differ; empty where they agree.

    They may differ by the share `within` of the reference's norm, and by 1e-6 where
    that norm is small.
    """
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    allowed = max(within * np.linalg.norm(reference), 1e-6 * min(1, within * 1e5))
    if np.linalg.norm(value - reference) <= allowed:
        return ""
    return f"{what} off by {relative_error(value, reference):.1e}"


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


def cost_line(loss: registry.Loss, size: int) -> str:
    """A line with time and memory of value and gradient for a batch of `size` rows."""
    run, batch = compile_loss(loss, size, dim=16, classes=8)
    line = f"B = {size:5} {1e3 * least_seconds(run, batch):11.1f} ms"
    memory = temporary_bytes(run)
    if memory is None:
        return line
    return f"{line}, temporary memory {memory / (4 * size * size):.1f} B² floats"


def draw(m: Measured, path: str) -> None:
    """Draws points in two dimensions, and where a step against the gradient moves them.

    Args:
      m: of `measure`.
      path: of the PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rng = np.random.default_rng(0)
    labels = (np.arange(24) % 3).astype(np.int32)
    x = (rng.normal(size=(24, 2)) + 0.7 * rng.normal(size=(3, 2))[labels]).astype("f4")
    x = 1 / (1 + np.exp(-x)) if m.cube else x
    state = m.loss.init(jax.random.key(0), 3, 2)
    batch = Batch(x, labels, np.ones(24, bool))
    value, (slope, _) = jax.jit(lambda b: evaluate(m.loss, state, b))(batch)
    figure, axes = pyplot.subplots(figsize=(5, 5))
    arrows = x[:, 0], x[:, 1], -slope[:, 0], -slope[:, 1], labels
    axes.quiver(*arrows, cmap="Dark2", angles="xy", width=0.004)
    axes.scatter(x[:, 0], x[:, 1], c=labels, cmap="Dark2")
    axes.set_title(f"{m.loss.spec}: {value:.3g}")
    axes.set_aspect("equal")
    with files.replacing(path) as new_path:
        figure.savefig(new_path, dpi=120, format="png")
    pyplot.close(figure)


if __name__ == "__main__":
    from siamjax.commands import check

    check.run()
