"""Windows per second against sessions: identify, and each second of the monitor.

  python -m scripts.benchmarks.serving --workdir runs/first

Needs an evaluated run of SIP (its config.json, checkpoints, examples.npz, rule.json and
space.npz) and the packaged captures. Sessions together and sessions one by one are
timed in turn, one by one 100 at most. The sessions of the monitor are servers with
some calls a second, with as long a history as is kept: that of one that was watched for
a minute, whose windows are repeated.
"""

import argparse
import functools
import ipaddress
import itertools
import logging
import time

import jax
import numpy as np

from scripts.benchmarks import stream
from siamjax.identification import comparing, decide, identify, references, sessions
from siamjax.inference import runs
from siamjax.monitoring import monitor, packing, sources, tracking

FILES, SECONDS = 8, 48  # captures that are read, and what is used of each
ALONE = 100  # sessions at most that are timed one by one
CALLS = 1.5  # a second and server
# Seconds of the monitor: to begin, those that are read again, and those that are timed.
WARM, AGAIN, TIMED = 76, 5, 8
BEGIN_NS, S = 1_700_000_000 * 10**9, 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", default="runs/first")
    parser.add_argument("--captures", default="data/testbed/captures")
    parser.add_argument("--sessions", default="1,10,100,1000")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    counts = [int(text) for text in options.sessions.split(",")]
    reference = references.open_reference(runs.open_run(options.workdir))
    device = jax.devices()[0]
    clock = "wall clock" if _is_accelerated() else "time of the processor"
    print(f"{device.device_kind}, {clock}, median of {options.pairs} pairs")
    traffics = read_sessions(reference.run, options.captures)
    time_identify(reference, traffics, counts, options.pairs)
    time_monitor(reference, traffics, counts, options.pairs)


def read_sessions(run, folder):
    """The beginnings of some captures, of different lengths."""
    paths = identify.list_captures([folder], is_table=False)
    paths = paths[:: max(len(paths) // FILES, 1)]
    made = [sessions.read_traffic(path, run) for path in paths]
    bins = round(SECONDS / run.config.data.bin_s)
    return [x._replace(counts=x.counts[: bins - 2 * i]) for i, x in enumerate(made)]


def time_identify(reference, traffics, counts, pairs):
    """Prints how many windows are embedded and decided on, together and one by one."""
    print("\n| sessions | windows | together, a second | one by one | ratio |")
    print("|--:|--:|--:|--:|--:|")
    for count in counts:
        chosen = list(itertools.islice(itertools.cycle(traffics), count))
        compare = functools.partial(compare_together, chosen, reference)
        alone = chosen[:ALONE]
        (together_s, alone_s), windows = time_pairs(
            compare, functools.partial(compare_alone, alone, reference), pairs
        )
        alone_s *= count / len(alone)
        print(
            f"| {count} | {windows} | {windows / together_s:,.0f} | "
            f"{windows / alone_s:,.0f} | {alone_s / together_s:.2f} |",
            flush=True,
        )


def compare_together(traffics, reference):
    """Names what happens in all sessions; how many windows they have."""
    comparisons = comparing.Comparisons(
        reference.run, reference.examples, reference.network
    )
    windows = 0
    for evidence in comparisons.compare_sessions(traffics):
        decide.find_spans(
            evidence,
            reference.rule,
            references.list_origins(reference),
            reference.taught,
        )
        windows += len(evidence.start_s)
    return windows


def compare_alone(traffics, reference):
    for traffic in traffics:
        identify.compare_session(traffic, reference)


def time_monitor(reference, traffics, counts, pairs):
    """Prints what a second of traffic takes, and the memory of a session."""
    # All of this made-up traffic is called normal, as most traffic is.
    reference = reference._replace(rule=reference.rule._replace(novelty=10.0))
    print(
        "\n| sessions | packets a second | ms for a second, median | longest | "
        "windows together, ms | one by one, ms | ratio | MB a session |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    state = watch_one(reference)
    for count in counts:
        names = [
            ipaddress.ip_address(f"10.1.{i // 200}.{i % 200}") for i in range(count)
        ]
        before = monitor.resident_bytes()
        watched = monitor.Monitor(reference, sources.Tally(), by_server=True)
        history = tracking.share_windows(count)
        watched.restore(repeat_state(state, names, history))
        rng, took_s, packets = np.random.default_rng(0), [], 0
        for second in range(WARM - AGAIN, WARM + TIMED):
            batch = make_packets(names, second, rng)
            took_s.append(seconds(watched.add, sources.Batch(batch, time.monotonic())))
            packets = len(batch)
        took_s = 1e3 * np.array(took_s[1 - TIMED :])
        size = (monitor.resident_bytes() - before) / count / 1e6
        del watched
        windows = take_windows(reference.run, traffics, count)
        alone = take_windows(reference.run, traffics, min(count, ALONE))
        compare = comparing.Comparison(reference.run, reference.examples).compare
        (together_s, alone_s), _ = time_pairs(
            functools.partial(compare, *windows, end_s=0.0),
            functools.partial(compare_windows_alone, compare, alone),
            pairs,
        )
        alone_s *= count / len(alone[0])
        print(
            f"| {count} | {packets:,} | {np.median(took_s):.1f} | {took_s.max():.1f} | "
            f"{1e3 * together_s:.1f} | {1e3 * alone_s:.1f} | "
            f"{alone_s / together_s:.1f} | {size:.1f} |",
            flush=True,
        )


def watch_one(reference):
    """The state of a monitor of one server, after its baseline and some windows."""
    watched = monitor.Monitor(reference, sources.Tally(), by_server=True)
    rng = np.random.default_rng(1)
    for second in range(WARM):
        batch = make_packets([ipaddress.ip_address("10.1.0.0")], second, rng)
        watched.add(sources.Batch(batch, time.monotonic()))
    return watched.state()


def make_packets(servers, second, rng):
    """Calls of six messages to each server in a second, in order of time."""
    made = []
    for server in servers:
        for call in range(rng.poisson(CALLS)):
            first_ns = BEGIN_NS + second * S + int(rng.integers(0, S * 9 // 10))
            name = f"{server}-{second}-{call}"
            ends = (stream.dialog(name, end=end) for end in (False, True))
            for i, packet in enumerate(itertools.chain(*ends)):
                packet = packet.replace(stream.SERVER, server.packed, 1)
                made.append((first_ns + i * S // 60, 101, packet, len(packet)))
    return sorted(made)


def repeat_state(state, names, history):
    """The state of a monitor where each server has the history of the one in `state`,
    with so many windows before it."""
    (session,) = state["sessions"]
    tracker = session["tracker"]
    counts = packing.unpack_counts(session["counts"])
    rows = np.arange(history) % len(tracker["evidence"]["start_s"])
    bins = np.arange(2 * history) % len(counts)

    def longer(x, first=None):
        return np.concatenate([x[rows] if first is None else first, x])

    start_s = tracker["evidence"]["start_s"]
    evidence = {name: longer(x) for name, x in tracker["evidence"].items()}
    evidence["start_s"] = longer(start_s, start_s[0] + np.arange(-history, 0.0))
    path = longer(tracker["path"], np.resize(tracker["decoder"]["path"], history))
    longer_tracker = tracker | dict(
        evidence=evidence,
        path=path,
        begins_s=tracker["begins_s"] - history,
    )
    longer_session = session | dict(
        first=session["first"] - len(bins),
        counts=packing.pack_counts(longer(counts, counts[bins])),
        tracker=longer_tracker,
    )
    return state | dict(
        servers=[name.packed.hex() for name in names],
        sessions=[longer_session | dict(name=str(name)) for name in names],
    )


def take_windows(run, traffics, count):
    """The last window of each of so many sessions."""
    bins = run.config.data.bins
    chosen = list(itertools.islice(itertools.cycle(traffics), count))
    counts = np.stack([x.counts[-bins:] for x in chosen])
    baselines = [sessions.repeat_baseline(x.baseline, 1) for x in chosen]
    baseline = type(baselines[0])(*map(np.concatenate, zip(*baselines)))
    return counts, baseline, np.zeros(count)


def compare_windows_alone(compare, windows):
    counts, baseline, start_s = windows
    for i in range(len(counts)):
        row = slice(i, i + 1)
        part = type(baseline)(*(x[row] for x in baseline))
        compare(counts[row], part, start_s[row], end_s=0.0)


def time_pairs(first, second, pairs):
    """Seconds of two functions, medians of pairs, and what the first one returns."""
    made, times = [], []
    for _ in range(pairs):
        first_s = seconds(lambda: made.append(first()))
        times.append((first_s, seconds(second)))
    return np.median(times, 0), made[0]


def seconds(function, *arguments):
    """By the clock with an accelerator, else of the processor: others may use it."""
    clock = time.perf_counter if _is_accelerated() else time.process_time
    start_s = clock()
    function(*arguments)
    return clock() - start_s


def _is_accelerated():
    return jax.devices()[0].platform != "cpu"


if __name__ == "__main__":
    main()
