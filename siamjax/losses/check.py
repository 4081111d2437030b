"""The proof grid of one loss: python -m siamjax.losses.check my_module.my_loss:beta=3

Every check of `GRID` judges what a loss did on batches that break many losses
(`measurements`, `edge_cases`), and says `pass`, `FAIL`, or what it measured.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from siamjax import files
from siamjax.losses import edge_cases, measurements, registry
from siamjax.losses.edge_cases import Batch
from siamjax.losses.measurements import CHANGES, KEYS, LEFT_OUT, Measured

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
# Two means of a loss that draws may differ by five standard errors.
STANDARD_ERRORS = 5


class Result(NamedTuple):
    check: str
    verdict: str  # pass, FAIL, or `says`: a measurement that is neither
    detail: str


def run_grid(spec: str, cube: bool | None = None) -> list[Result]:
    """Runs every check of `GRID` on a loss; arguments as in `measure`."""
    measured = measurements.measure(spec, cube)
    return [Result(name, *check(measured)) for name, check in GRID.items()]


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
    if not slope[steepest].any():
        problems.append("the gradient is 0 on every batch")
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
    if problem and relative_error(-m.directional_slopes, m.central_differences) <= 1e-5:
        problem = "the gradient has the wrong sign"
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
    run = jax.jit(lambda b: measurements.evaluate(m.loss, m.state, b))
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


# Of the batches with second derivatives: where these must be right, not only finite.
SMOOTH = ("base", "random 0")


def second_derivatives(m: Measured) -> tuple[str, str]:
    """The Hessian times a direction, by all four orders of forward and reverse mode,
    agrees with differences of the gradient in float64, and is finite where rows are
    equal or 0. Where a part is held constant the differences see that part move, so the
    four agree with one another."""
    if measurements.has_custom_vjp(m):
        return "says", "it has a jax.custom_vjp, so no jax.jvp: jax.custom_jvp has both"
    direction, products = measurements.second_order(m)
    differences, problems, worst = products.pop("differences"), [], 0.0
    held = m.loss.name in HELD
    right_products = products["forward over reverse"] if held else differences
    for i, name in enumerate(measurements.CURVED):
        wanted = {1: right_products[i], 0: np.sum(right_products[i] * direction)}
        for route, values in products.items():
            if not np.isfinite(values[i]).all():
                problems.append(f"{route} not finite on {name}")
            elif name in SMOOTH:
                right = wanted[min(values[i].ndim, 1)]
                worst = max(worst, relative_error(values[i], right))
                problems.append(_differ(f"{route} on {name}", values[i], right, 1e-4))
    good = f"four routes within {worst:.1e}"
    return _verdict(problems, f"{good}; a part is held constant" if held else good)


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


def cost_line(loss: registry.Loss, size: int) -> str:
    """A line with time and memory of value and gradient for a batch of `size` rows."""
    run, batch = measurements.compile_loss(loss, size, dim=16, classes=8)
    line = f"B = {size:5} {1e3 * measurements.least_seconds(run, batch):11.1f} ms"
    memory = measurements.temporary_bytes(run)
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
    value, (slope, _) = jax.jit(lambda b: measurements.evaluate(m.loss, state, b))(
        batch
    )
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
