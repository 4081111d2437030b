"""Every loss, value and gradient, against pytorch-metric-learning 2.9, on the CPU.

Each framework has its own process, both on the same core. They take turns, several
times for every loss and size. The result is the shortest time, because other work on
the machine only makes it longer. Peak memory is how much one evaluation raises the
resident memory of the process. It is measured in two more processes, which give memory
back to the system at once, if an evaluation takes less than a second. A framework is
left out at a size where it would probably take more than LIMIT_S or LIMIT_GB, judged by
its growth up to then. Both gradients include that of a loss's weights.

  pip install -e .[viz] torch==2.13.0 pytorch-metric-learning==2.9.0
  python -m scripts.benchmarks.losses --out docs/bench_losses

With --losses, the rows of other losses in OUT stay as they are.
"""

import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

LIMIT_S, LIMIT_GB = 60.0, 12.0
# How long a turn measures, and how many turns each framework gets.
TURN_S, TURNS = 0.05, 3
# Giving a large block back needs it to be mapped apart.
FRUGAL = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
SIDES = ("siamjax", "pml")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", nargs="+", help="texts; all by default")
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--dim", type=int, default=16, help="of the embeddings")
    parser.add_argument("--out", help="writes OUT_<layout>.csv, .md and .png")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


# Name -> classes in a batch of B rows.
LAYOUTS = {"8_classes": lambda size: 8, "8_per_class": lambda size: size // 8}


def data(size, classes, dim):
    """Unit rows in overlapping clusters, as midway in training; labels in turn."""
    rng = np.random.default_rng(0)
    labels = np.arange(size) % classes
    x = rng.normal(size=(classes, dim))[labels] + rng.normal(size=(size, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def make_siamjax(spec, size, classes, dim):
    """A compiled function that evaluates the loss and its gradients."""
    import jax
    import jax.numpy as jnp

    from siamjax.losses import edge_cases, measurements, resolve

    loss = resolve(spec)
    x, labels = data(size, classes, dim)
    x = 1 / (1 + np.exp(-x)) if loss.name in measurements.CUBE else x
    state = loss.init(jax.random.key(0), classes, dim)
    every = np.ones(size, bool)
    batch = edge_cases.Batch(x, labels.astype(np.int32), every)
    batch = jax.tree.map(jnp.asarray, batch)
    run = (
        jax.jit(lambda s, b: measurements.evaluate(loss, s, b))
        .lower(state, batch)
        .compile()
    )
    return lambda: jax.block_until_ready(run(state, batch))


def make_pml(spec, size, classes, dim):
    """The same of pytorch-metric-learning; None if it does not have the loss."""
    import torch

    from scripts.benchmarks import peer_losses

    makers = peer_losses.weighted(classes, dim)
    if spec in makers:
        loss, _ = makers[spec]()
    elif spec in peer_losses.CASES:
        loss = peer_losses.CASES[spec]
    else:
        return None
    x, labels = (torch.tensor(a) for a in data(size, classes, dim))
    x.requires_grad_()

    def run():
        x.grad = None
        loss(x, labels).backward()

    return run


def child(side):
    """Answers each line of a request with a line: seconds of each run, and bytes."""
    make = dict(siamjax=make_siamjax, pml=make_pml)[side]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr
    evaluate, last_request = None, None
    for line in sys.stdin:
        request = json.loads(line)
        if last_request != request:
            evaluate = None  # the memory of the last one is free before the next
            evaluate, last_request = make(*request), request
        time.sleep(0.02)  # another thread may still give memory back
        times, peak, until = [], None, time.perf_counter() + TURN_S
        while evaluate and (not times or time.perf_counter() < until):
            before = current_and_peak()[0] if not times else None
            begin = time.perf_counter()
            evaluate()
            times.append(time.perf_counter() - begin)
            peak = current_and_peak()[1] - before if before else peak
        print(json.dumps(dict(times=times, peak=peak)), file=answers, flush=True)


def current_and_peak():
    """Bytes of resident memory, and the peak since the last call of this."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    kb = dict(line.split(":") for line in lines if line.startswith("Vm"))
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    return [1024 * int(kb[name].split()[0]) for name in ("VmRSS", "VmHWM")]


class Child:
    """A process that measures one framework."""

    def __init__(self, side, cache, extra):
        cached = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.benchmarks.losses", "--child", side],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | cached | extra,
        )

    def ask(self, what):
        print(json.dumps(what), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process that measured {what} is gone")
        return json.loads(answer)


def measure(spec, sizes, classes_of, dim, speed, memory):
    """A row for each size: seconds and bytes of both sides, None where left out."""
    rows, before = [], {}
    for size in sizes:
        what = (spec, size, classes_of(size), dim)
        row = dict(loss=spec, batch=size, classes=what[2])
        sides = [s for s in SIDES if s not in before or not too_large(before[s], size)]
        times, peak = {side: [] for side in sides}, {}
        for _ in range(TURNS):
            for side in sides:
                if sum(times[side]) < 20 * TURN_S:
                    answer = speed[side].ask(what)
                    times[side] += answer["times"]
                    peak.setdefault(side, answer["peak"])
        for side in SIDES:
            seconds = min(times.get(side) or [np.nan])
            if seconds < 1:
                if seconds < 0.1:
                    memory[side].ask(what)  # what a first run leaves behind
                peak[side] = memory[side].ask(what)["peak"]
            size_bytes = peak.get(side) if np.isfinite(seconds) else np.nan
            row |= {f"{side}_ms": 1e3 * seconds, f"{side}_mb": size_bytes / 1e6}
            before.setdefault(side, []).append((size, seconds, size_bytes))
        rows.append(row | dict(ratio=row["pml_ms"] / row["siamjax_ms"]))
    return rows


def too_large(before, size):
    """Whether the next size would take too much time or memory.

    The growth is that between the last two sizes, at most size ** 3 as of lists of
    triplets; after a single size it is size ** 4, as of lists of pairs of pairs.
    """
    if not np.isfinite(before[-1][1]):
        return True
    last, seconds, peak = before[-1]

    def grown(value, column):
        if len(before) < 2:
            return value * (size / last) ** 4
        growth = np.log(max(value, 1e-9) / max(before[-2][column], 1e-9))
        power = growth / np.log(last / before[-2][0])
        return value * (size / last) ** np.clip(power, 2, 3)

    return grown(seconds, 1) > LIMIT_S or grown(peak, 2) > 1e9 * LIMIT_GB


def specs():
    """Texts of the losses that both have, then ours alone."""
    from scripts.benchmarks import peer_losses
    from siamjax.losses import LOSSES

    shared = [*peer_losses.CASES, *peer_losses.weighted(8, 16)]
    alone = set(LOSSES) - {spec.partition(":")[0] for spec in shared}
    size = "memory:size=4096"  # the default is less than the largest batch
    return shared, [size if name == "memory" else name for name in sorted(alone)]


def summary(rows, sizes):
    """One line for each size: the median and the least ratio of the shared losses."""
    for size in sizes:
        ratios = [
            (r["ratio"], r["loss"])
            for r in rows
            if r["batch"] == size and np.isfinite(r["ratio"])
        ]
        if ratios:
            median = statistics.median(ratio for ratio, _ in ratios)
            least, loss = min(ratios)
            yield (
                f"B = {size}: median {median:.1f} over {len(ratios)} losses, "
                f"least {least:.2f} ({loss})"
            )


def table(rows, sizes):
    """Markdown: a row for each loss; milliseconds of ours and the ratio; MB."""

    def cell(row):
        ours = f"{row['siamjax_ms']:.3g}"
        if not np.isfinite(row["siamjax_ms"]):
            return "–"
        if not np.isfinite(row["ratio"]):
            return ours
        return f"{ours} ({row['ratio']:.3g}x)"

    def megabytes(row):
        both = [row[f"{side}_mb"] for side in SIDES]
        return " / ".join(f"{v:.0f}" if np.isfinite(v) else "–" for v in both)

    head = [f"B = {size}, ms" for size in sizes] + [f"MB at {s}" for s in sizes[-2:]]
    yield f"| loss | {' | '.join(head)} |"
    yield "|---" + "|---:" * len(head) + "|"
    for loss in dict.fromkeys(r["loss"] for r in rows):
        mine = [r for r in rows if r["loss"] == loss]
        cells = [*map(cell, mine), *map(megabytes, mine[-2:])]
        yield f"| `{loss}` | {' | '.join(cells)} |"


def draw(rows, sizes, path):
    """Ratios of the shared losses by size of the batch, one line each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shared = [r for r in rows if np.isfinite(r["ratio"])]
    order = {}
    for row in shared:
        order[row["loss"]] = row["ratio"]  # that of the largest batch
    names = sorted(order, key=order.get)
    figure, axes = pyplot.subplots(figsize=(9, 0.24 * len(names) + 1.6))
    shades = pyplot.get_cmap("viridis_r")(np.linspace(0.15, 1, len(sizes)))
    for size, shade in zip(sizes, shades):
        ratios = {r["loss"]: r["ratio"] for r in shared if r["batch"] == size}
        places = [names.index(loss) for loss in ratios]
        look = dict(color=shade, s=28, label=f"B = {size}", zorder=3)
        axes.scatter(list(ratios.values()), places, **look)
    for place, name in enumerate(names):
        ratios = [r["ratio"] for r in shared if r["loss"] == name]
        axes.plot([min(ratios), max(ratios)], [place] * 2, color="0.8", zorder=1)
    axes.axvline(1, color="0.4", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel("times faster than pytorch-metric-learning 2.9, value and gradient")
    axes.grid(axis="x", color="0.92")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    pyplot.close(figure)


def main():
    options = arguments()
    if options.child:
        return child(options.child)
    shared, alone = specs()
    losses = options.losses or [*shared, *alone]
    with tempfile.TemporaryDirectory() as cache:
        speed = {side: Child(side, cache, {}) for side in SIDES}
        memory = {side: Child(side, cache, FRUGAL) for side in SIDES}
        for layout in options.layouts:
            rows = []
            for spec in losses:
                measured = measure(
                    spec, options.batch, LAYOUTS[layout], options.dim, speed, memory
                )
                rows += measured
                print(f"{layout} {spec}", flush=True)
                print(*table(measured, options.batch), sep="\n", flush=True)
            if options.out:
                path = f"{options.out}_{layout}"
                rows = merged(rows, stored(f"{path}.csv") if options.losses else [])
                write(rows, sorted({row["batch"] for row in rows}), path)
            print(layout, *summary(rows, options.batch), sep="\n")


def stored(path):
    """The rows of a table that was written before, as numbers."""
    with open(path, newline="") as file:
        return [
            {k: v if k == "loss" else float(v) for k, v in row.items()}
            | dict(batch=int(row["batch"]), classes=int(row["classes"]))
            for row in csv.DictReader(file)
        ]


def merged(rows, before):
    """Rows of `before`, replaced where `rows` has a new one, and the other `rows`."""
    new = {(row["loss"], row["batch"]): row for row in rows}
    kept = [new.pop((row["loss"], row["batch"]), row) for row in before]
    return [*kept, *new.values()]


def write(rows, sizes, path):
    with open(f"{path}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            )
    text = [*table(rows, sizes), "", *(f"- {line}" for line in summary(rows, sizes))]
    pathlib.Path(f"{path}.md").write_text("\n".join(text) + "\n")
    draw(rows, sizes, f"{path}.png")


if __name__ == "__main__":
    main()
