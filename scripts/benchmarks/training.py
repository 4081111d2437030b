"""Times the whole training step of siamjax and the same step in PyTorch, on the CPU.

A step is: rows of the batch, their features, the encoder (T = 60, F = 32, LSTM H = 64,
mean and maximum, a linear head of 16 with unit norm), the mean over all active
triplets, gradients, AdamW. In PyTorch: torch.nn.LSTM and TripletMarginLoss of
pytorch-metric-learning. The frameworks take turns, each time in a new process. The
result is the median over processes of the median step. siamjax runs 20 steps a call, as
training does with its default rhythm. Both first print their loss on the same batch and
weights; these must agree. On a busy machine give both one core: `taskset -c 0`.

  pip install -e . torch==2.13.0 pytorch-metric-learning==2.9.0
  python -m scripts.benchmarks.training --out bench_train.csv
"""

import argparse
import csv
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

T, F, H, E, MARGIN, RATE, DECAY = 60, 32, 64, 16, 0.2, 1e-3, 1e-2
FLOOR, CLIP = 0.3, 3.0
SESSIONS, BINS, HOP = 256, 240, 10
# Batch size -> measured steps of PyTorch in a process, of which one takes up to 10 s.
REPEATS = {64: 40, 256: 8, 1024: 2}
STEPS, CALLS = 20, {64: 6, 256: 3, 1024: 2}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=3, help="processes per framework")
    parser.add_argument("--torch_python", default=sys.executable, help="that has torch")
    parser.add_argument("--out", help="CSV with one row per measurement")
    parser.add_argument("--child", choices=["siamjax", "torch"], help=argparse.SUPPRESS)
    parser.add_argument("--classes", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--start", help=argparse.SUPPRESS)
    return parser.parse_args()


def counts_and_windows(classes):
    """Poisson counts `[S, BINS, F]` of sessions, each of one condition, and windows."""
    rng = np.random.default_rng(0)
    condition = np.arange(SESSIONS) % classes
    rates = rng.gamma(1.0, 4.0, size=(classes, F))
    counts = rng.poisson(rates[condition][:, None], (SESSIONS, BINS, F))
    start = np.arange(0, BINS - T, HOP)
    session = np.repeat(np.arange(SESSIONS), len(start))
    starts = np.tile(start, SESSIONS)
    views = (x.astype(np.int32) for x in (session, starts, condition[session]))
    return counts.astype(np.float32), *views


def run_siamjax(batch, classes, start):
    """Milliseconds of each call's mean step; writes the first batch and weights."""
    import jax

    from configs import default
    from siamjax.config import from_dict
    from siamjax.data import features, sampler
    from siamjax.training import devices, state, step
    from siamjax.types import Baseline, Column, Windows

    config = default.get_config()
    config.steps = 10**6
    config.data.bins = T
    config.batch.update(
        conditions=classes, made_up=0, per_condition=batch // classes, tuples="all"
    )
    config.encoder.update(
        hidden=(H,), bidirectional=False, pooling="mean_max", norm="none"
    )
    config.heads.view = None
    loss = f"triplet:margin={MARGIN},reduce=active"
    config.heads.match.update(dim=E, norm="unit", loss=loss, weight=1.0)
    config.optimizer.update(
        learning_rate=RATE, warmup=0, final=1.0, weight_decay=DECAY, clip_norm=1.0
    )
    config = from_dict(config)
    columns = tuple(Column(f"column_{i}", "request") for i in range(F))
    counts, *views = counts_and_windows(classes)
    scaler = features.make_scaler(columns, floor=FLOOR, clip=CLIP)
    baseline = Baseline(
        *jax.vmap(features.session_baseline, (0, None))(counts[:, :T], scaler)
    )
    windows = Windows(*views)
    mesh = devices.make_mesh(jax.devices("cpu"))
    parts = step.build_parts(config, columns=columns, classes=classes, mesh=mesh)
    every = np.ones(len(windows.start), bool)
    table = sampler.sampling_table(windows, every, conditions=classes)
    data = step.Data(np.int32(0), counts, baseline, scaler, windows, table)
    data = jax.device_put(data, devices.replicated(mesh))
    current = jax.device_put(state.create_state(0, parts), devices.replicated(mesh))
    first = jax.jit(lambda s, d: step.make_batch(s, d, parts))(current.step, data)
    key = jax.random.key(0)
    loss_value, _ = step.objective(current.params, current, first, key, parts)
    weights = {
        f"{layer}/{name}": leaf
        for layer, leaves in current.params["encoder"].items()
        for name, leaf in leaves.items()
    }
    np.savez(
        start,
        x=first.windows,
        labels=first.labels,
        loss=loss_value,
        mean=baseline.mean,
        deviation=baseline.deviation,
        **weights,
    )
    run, times = step.compile_run(parts), []
    for _ in range(1 + CALLS[batch]):
        begin = time.perf_counter()
        current, metrics = run(current, STEPS, data)
        jax.block_until_ready(metrics)
        times.append((time.perf_counter() - begin) / STEPS * 1e3)
    return times[1:]


def run_torch(batch, classes, start):
    """Milliseconds of each step."""
    import torch
    from pytorch_metric_learning.losses import TripletMarginLoss

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    begun = np.load(start)
    lstm = torch.nn.LSTM(F, H, batch_first=True)
    head = torch.nn.Linear(2 * H, E)
    with torch.no_grad():
        for parameter, value in (
            (lstm.weight_ih_l0, begun["lstm_0/kernel"].T),
            (lstm.weight_hh_l0, begun["lstm_0/recurrent"].T),
            (lstm.bias_ih_l0, begun["lstm_0/bias"]),
            (lstm.bias_hh_l0, np.zeros(4 * H)),
            (head.weight, begun["match/kernel"].T),
            (head.bias, begun["match/bias"]),
        ):
            parameter.copy_(torch.tensor(value))
    parameters = [*lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    triplet = TripletMarginLoss(margin=MARGIN)  # unit norm and mean of active: defaults

    def loss_of(x, labels):
        h, _ = lstm(x)
        summary = torch.cat([h.mean(1), h.max(1).values], -1)
        return triplet(head(summary), labels)

    with torch.no_grad():
        first = torch.tensor(begun["x"]), torch.tensor(begun["labels"]).long()
        loss = float(loss_of(*first))
    if not np.isclose(loss, begun["loss"], rtol=1e-3):
        sys.exit(f"the losses differ: siamjax {begun['loss']}, PyTorch {loss}")

    counts, session, first, condition = map(torch.tensor, counts_and_windows(classes))
    mean, deviation = torch.tensor(begun["mean"]), torch.tensor(begun["deviation"])
    by_class = torch.stack([torch.where(condition == c)[0] for c in range(classes)])
    labels = torch.arange(classes).repeat_interleave(batch // classes)

    def step():
        rows = by_class[labels, torch.randint(by_class.shape[1], (batch,))]
        bins = first[rows].long()[:, None] + torch.arange(T)
        index = session[rows].long()
        x = torch.log1p(counts[index[:, None], bins])
        x = (x - mean[index][:, None]) / (deviation[index][:, None] + FLOOR)
        optimizer.zero_grad()
        loss_of(x.clamp(-CLIP, CLIP), labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    times = []
    for _ in range(1 + REPEATS[batch]):
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    return times[1:]


def compare(batch, classes, options, folder):
    """Rows of the CSV: the two frameworks in turn, each time in a new process."""
    start, rows = str(pathlib.Path(folder) / f"{batch}_{classes}.npz"), []
    for number in range(options.rounds):
        for child, python in (
            ("siamjax", sys.executable),
            ("torch", options.torch_python),
        ):
            command = [python, "-m", "scripts.benchmarks.training", f"--child={child}"]
            command += [f"--batch={batch}", f"--classes={classes}"]
            command += [f"--start={start}"]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True
            )
            ms = statistics.median(map(float, done.stdout.split()))
            rows.append(
                dict(batch=batch, classes=classes, round=number, framework=child, ms=ms)
            )
    return rows


def main():
    options = arguments()
    if options.child:
        child = dict(siamjax=run_siamjax, torch=run_torch)[options.child]
        print(*child(options.batch[0], options.classes, options.start))
        return
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.processor() or platform.machine()}, {cores} cores")
    print(f"{'B':>5} {'classes':>8} {'siamjax ms':>11} {'PyTorch ms':>11} {'ratio':>6}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for batch in options.batch:
            for classes in sorted({8, batch // 8}):
                measured = compare(batch, classes, options, folder)
                mine, theirs = (
                    statistics.median(
                        r["ms"] for r in measured if r["framework"] == name
                    )
                    for name in ("siamjax", "torch")
                )
                print(
                    f"{batch:5} {classes:8} {mine:11.1f} {theirs:11.1f} "
                    f"{theirs / mine:6.1f}",
                    flush=True,
                )
                rows += measured
    if options.out:
        with open(options.out, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
