"""Windows per second against sessions: identify, and each second of the monitor.

  python -m scripts.benchmarks.serving --workdir runs/first

Needs an evaluated run of SIP (its config.json, checkpoints, examples.npz, rule.json and
space.npz) and the packaged captures. Sessions together and sessions one by one are
timed in turn, one by one 100 at most. The sessions of the monitor are servers with
some calls a second, with as long a history as is kept: that of one that was watched for
a minute, whose windows are repeated.

The last table has the most sessions in some networks (--networks): each is learnt from
two made-up servers, and has as many of the sessions as the others.
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
from siamjax.identification import (
    adapting,
    assigning,
    comparing,
    decide,
    identify,
    library,
    library_files,
    references,
    sessions,
)
from siamjax.inference import runs
from siamjax.monitoring import monitor, packing, sources, tracking

FILES, SECONDS = 8, 48  # captures that are read, and what is used of each
ALONE = 100  # sessions at most that are timed one by one
CALLS = 1.5  # a second and server
PREFIXES = 16  # of the addresses of servers
# Seconds of the monitor: to begin, those that are read again, and those that are timed.
WARM, AGAIN, TIMED = 76, 5, 8
BEGIN_NS, S = 1_700_000_000 * 10**9, 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", default="runs/first")
    parser.add_argument("--captures", default="data/testbed/captures")
    parser.add_argument("--sessions", default="1,10,100,1000")
    parser.add_argument("--networks", default="0,1,4,16")
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
    time_networks(
        reference, traffics, max(counts), [int(x) for x in options.networks.split(",")]
    )


def read_sessions(run, folder):
    """The beginnings of some captures, of different lengths."""
    paths = identify.list_captures([folder], is_table=False)
    paths = paths[:: max(len(paths) // FILES, 1)]
    made = [sessions.read_traffic(path, run) for path in paths]
    bins = round(SECONDS / run.config.data.bin_s)
    return [x._replace(counts=x.counts[: bins - 2 * i]) for i, x in enumerate(made)]


def time_identify(reference, traffics, counts, pairs):
    """Prints how many windows are embedded and decided on, together and one by one."""
    print("\n| sessions | windows | windows a second, together | one by one | ratio |")
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
    comparisons = comparing.Comparisons(reference.run, reference.examples)
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
    reference = call_normal(reference)
    print(
        "\n| sessions | packets a second | ms for a second of traffic, median "
        "| longest | ms of windows, together | one by one | ratio | MB a session |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    state = watch_one(reference)
    for count in counts:
        took_s, packets, size = time_seconds(state, reference, count)
        pieces = take_windows(reference.run, traffics, count)
        alone = [[piece] for piece in pieces[:ALONE]]
        comparisons = comparing.Comparisons(reference.run, reference.examples)
        (together_s, alone_s), _ = time_pairs(
            functools.partial(compare_pieces, comparisons, [pieces]),
            functools.partial(compare_pieces, comparisons, alone),
            pairs,
        )
        alone_s *= count / len(alone)
        print(
            f"| {count} | {packets:,} | {np.median(took_s):.1f} | {took_s.max():.1f} | "
            f"{1e3 * together_s:.1f} | {1e3 * alone_s:.1f} | "
            f"{alone_s / together_s:.1f} | {size:.1f} |",
            flush=True,
        )


def time_seconds(state, reference, count, by_prefix=None):
    """What a second of traffic of so many servers takes: ms of each, packets of one,
    and MB of a session.

    Args:
      state: of a monitor of one server, whose history each of them gets.
      reference, by_prefix: see `monitor.Monitor`.
      count: of servers.
    """
    names = [
        ipaddress.ip_address(f"10.{i % PREFIXES}.{i // 200}.{i % 200}")
        for i in range(count)
    ]
    before = monitor.resident_bytes()
    watched = monitor.Monitor(
        reference, sources.Tally(), by_prefix=by_prefix, by_server=True
    )
    history = tracking.share_windows(count)
    compared = watched.state()["compared"]
    watched.restore(repeat_state(state, names, history, compared, by_prefix or {}))
    rng, took_s, packets = np.random.default_rng(0), [], 0
    for second in range(WARM - AGAIN, WARM + TIMED):
        batch = make_packets(names, second, rng)
        took_s.append(seconds(watched.add, sources.Batch(batch, time.monotonic())))
        packets = len(batch)
    size = (monitor.resident_bytes() - before) / count / 1e6
    return 1e3 * np.array(took_s[1 - TIMED :]), packets, size


def time_networks(reference, traffics, count, sizes):
    """Prints what so many sessions in several networks take; 0: without one."""
    reference = call_normal(reference)
    print(
        "\n| networks | identify: windows a second "
        "| monitor: ms for a second of traffic, median | longest |"
    )
    print("|--:|--:|--:|--:|")
    known = [learn_network(reference, i) for i in range(max(sizes))]
    for size in sizes:
        chosen = known[:size] or [reference]
        cycle = zip(itertools.cycle(traffics), itertools.cycle(chosen))
        together = [
            traffic._replace(network=there.network)
            for traffic, there in itertools.islice(cycle, count)
        ]
        windows = compare_together(together, reference)
        identify_s = seconds(compare_together, together, reference)
        by_prefix = {
            ipaddress.ip_network(f"10.{i}.0.0/16"): chosen[i % len(chosen)]
            for i in range(PREFIXES if size else 0)
        }
        took_s, _, _ = time_seconds(watch_one(chosen[0]), reference, count, by_prefix)
        print(
            f"| {size} | {windows / identify_s:,.0f} | {np.median(took_s):.1f} | "
            f"{took_s.max():.1f} |",
            flush=True,
        )


def learn_network(reference, number):
    """The reference of a network, learnt from two made-up servers."""
    states = [watch_one(reference, seed=2 + 2 * number + i) for i in range(2)]
    counts = [packing.unpack_counts(state["sessions"][0]["counts"]) for state in states]
    origin = library.origin_of(reference.run)
    network = library_files.Network(f"n{number}", ("a", "b"), tuple(counts), origin)
    return reference._replace(network=adapting.adapt(reference.run, network))


def call_normal(reference):
    """A reference by which all of this made-up traffic is normal."""
    return reference._replace(rule=reference.rule._replace(novel=10.0))


def watch_one(reference, seed=1):
    """The state of a monitor of one server, after its baseline and some windows."""
    watched = monitor.Monitor(reference, sources.Tally(), by_server=True)
    rng = np.random.default_rng(seed)
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


def repeat_state(state, names, history, compared, by_prefix):
    """The state of a monitor of many servers.

    Args:
      state: of a monitor of one server, whose history each of them gets.
      names: their addresses.
      history: so many windows more are before it.
      compared: of the monitor that takes the state.
      by_prefix: see `monitor.Monitor`.
    """
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
    sessions_there = []
    for name in names:
        there = assigning.find_prefix(str(name), by_prefix)
        network = there.network_name if there else session["network"]
        sessions_there.append(longer_session | dict(name=str(name), network=network))
    return state | dict(
        servers=[name.packed.hex() for name in names],
        compared=compared,
        sessions=sessions_there,
    )


def compare_pieces(comparisons, calls):
    """Compares the pieces of each call."""
    for pieces in calls:
        for _ in comparisons.compare(pieces):
            pass


def take_windows(run, traffics, count):
    """The last window of each of so many sessions."""
    bins = run.config.data.bins
    return [
        comparing.Piece(
            traffic,
            np.zeros(1),
            traffic.counts[None, -bins:],
            sessions.repeat_baseline(traffic.baseline, 1),
        )
        for traffic in itertools.islice(itertools.cycle(traffics), count)
    ]


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
