"""An audit as text: the table of gaps, a line for each probe, the verdict."""

import textwrap

NAMES = {
    "moving": "as predictions read them",
    "debiased": "debias: less the start value",
    "precise": "precise: mean over batches",
    "pooled": "pooled: of all training data",
    "per-session": "per-session",
    "batch": "of each batch",
    "per-branch": "of each branch of a batch",
}


def table(report):
    """The lines of a `examine.Report`."""
    own = report.gaps["moving"]
    row = "{:30s} {:>7s} {:>9s} {:>7s}   {}".format
    yield row("statistics", "loss", "neighbour", "shift", "gap, 0: none, 1: chance")
    yield row("training mode", f"{own.train_loss:.3f}", _share(own.train_hits), "", "")
    for name, gap in report.gaps.items():
        interval = f"{gap.share:z5.2f}  [{gap.low:z.2f}, {gap.high:z.2f}]"
        yield row(
            NAMES[name], f"{gap.predict_loss:.3f}", _share(gap.predict_hits),
            f"{gap.shift:.2f}", interval,
        )  # fmt: skip
    yield row("labels dealt at random", f"{own.chance_loss:.3f}", "", "", "")
    yield ""
    for name, line in probes(report):
        yield f"{name:10s} {line}"
    yield ""
    yield from textwrap.wrap(report.verdict.text, 79)


def probes(report):
    """`(name, line)` of each probe."""
    found = report.probes
    if lag := found.get("lag"):
        worst = ", ".join(f"{name} {z:.2f}" for name, z in lag["worst"].items())
        yield (
            "lag",
            (
                f"{lag['updates']} updates, {100 * lag['start_share']:.1f} % still the "
                "start value; distance to the training data in deviations:"
            ),
        )
        yield "", worst
    population = found["population"]
    shares = ", ".join(
        f"{100 * share:.0f} % by {name}"
        for name, share in population["share_between"].items()
    )
    yield (
        "population",
        (
            f"batch means vary {population['design_effect']:.1f} x as much as those of "
            f"fair draws; {population['sessions_per_batch']:.1f} sessions a batch"
        ),
    )
    yield "", f"variance of window means explained: {shares}"
    yield (
        "leak",
        (
            f"one other batch-mate moves the rest by {100 * found['leak']:.2f} % of "
            "the distance between points"
        ),
    )
    yield "padding", f"{100 * found['padding']:.1f} % of the bins"
    numerics = found["numerics"]
    constant = ", ".join(numerics["constant"]) or "none"
    yield (
        "numerics",
        (
            f"level up to {numerics['level_over_deviation']:.1f} deviations, one-pass "
            f"variance would err by {100 * numerics['one_pass_error']:.2g} %"
        ),
    )
    yield "", f"constant columns: {constant}"
    if devices := found.get("devices"):
        yield (
            "devices",
            (
                f"statistics on 1 and on {devices['devices']} devices differ by "
                f"{devices['difference']:.1g}"
            ),
        )
    yield "hygiene", "; ".join(_hygiene(found["hygiene"]))
    if inputs := found.get("inputs"):
        apart = ", ".join(f"{name} {value:.1g}" for name, value in inputs.items())
        yield "inputs", f"training against identification, largest difference: {apart}"


def _hygiene(found):
    yes = {True: "yes", False: "NO"}
    yield f"{found['updates']} updates in {found['steps']} steps"
    for text, key in (
        ("moved by training", "moved"),
        ("left alone by prediction", "left_alone"),
        ("finite", "finite"),
        ("same after reload", "same_after_reload"),
    ):
        yield f"{text}: {yes[found[key]]}"
    if found["zero_variance"]:
        yield f"{found['zero_variance']} variances are 0"


def _share(hits):
    return f"{100 * hits:.0f} %"
