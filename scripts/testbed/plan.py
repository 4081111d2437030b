"""What is drawn before a capture is recorded: rates, load curve, faults, times.

A plan depends on nothing but the network, the kind of capture, the seed and the
duration. Recording it needs root rights; making it does not.

A kind is a condition (a capture with this fault, or none), or one of these:

two_faults     two faults, the second one begins after the first one has ended
begins_inside  the fault begins before the capture and ends within it
long_normal    40 minutes without a fault, at a low rate with a daily curve
"""

import math
import random
from dataclasses import dataclass

from conditions import CONDITIONS
from faults import Fault, Load
from networks import Network

TWO_FAULTS, BEGINS_INSIDE, LONG_NORMAL = "two_faults", "begins_inside", "long_normal"
SPECIAL_KINDS = (TWO_FAULTS, BEGINS_INSIDE, LONG_NORMAL)
KINDS = (*CONDITIONS, *SPECIAL_KINDS)

LONG_NORMAL_S = 2400
LONG_NORMAL_SHARE = 0.25  # of the rates of other captures
TWO_FAULTS_S = 130


@dataclass(frozen=True)
class Plan:
    """All that was drawn for one capture.

    Load lists have one entry for each second from the start of the load, `warm_up_s`
    before the capture. The times of faults count from the start of the capture.
    """

    kind: str
    seed: int
    duration_s: int
    warm_up_s: int
    load: Load
    pattern: str
    base_delay_s: float  # one way, between proxy and callee
    calls: list[int]
    registers: list[int]
    options: list[int]
    faults: list[Fault]  # in order of time; of normal captures: empty

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.seed:03d}"


def make_plan(
    network: Network, kind: str, seed: int, duration_s: int | None = None
) -> Plan:
    """Draws the plan of a capture; without a duration, the one of its kind."""
    if duration_s is None:
        duration_s = {TWO_FAULTS: TWO_FAULTS_S, LONG_NORMAL: LONG_NORMAL_S}.get(
            kind, network.duration_s
        )
    # The first network was recorded before there were others: its seeds have no name.
    prefix = "" if network.name == "testbed" else f"{network.name}/"
    rng = random.Random(f"{prefix}{kind}/{seed}")

    scale = LONG_NORMAL_SHARE if kind == LONG_NORMAL else 1.0
    rate = scale * rng.uniform(*network.rate_cps)
    hold_s = rng.uniform(*network.hold_s)
    register_rate = scale * rng.uniform(*network.register_rps)
    base_delay_s = rng.uniform(0.005, 0.04)
    patterns = network.load_patterns
    weights = [1] * len(patterns)
    if kind != "normal" and patterns[0] == "constant":
        weights[0] = 2
    pattern = rng.choices(patterns, weights)[0]
    if kind == LONG_NORMAL:
        pattern = "daily"
    onset = rng.uniform(*network.onset) * duration_s
    clear = rng.uniform(*network.clear) * duration_s if rng.random() < 0.6 else None

    warm_up_s = round(4 + 1.5 * hold_s)
    if kind == BEGINS_INSIDE:
        onset, clear = -rng.uniform(15, 25), rng.uniform(0.35, 0.5) * duration_s
        warm_up_s += 25
    seconds = warm_up_s + duration_s
    curve = load_curve(rng, pattern, rate, seconds)
    calls = [poisson(rng, mean) for mean in curve]
    others = (
        [mean / rate for mean in curve]
        if network.all_follow_load
        else [1.0] * len(curve)
    )
    registers = [poisson(rng, register_rate * share) for share in others]
    options_rate, options, failing = 0.0, [0] * seconds, ()
    if network.options_rps:
        options_rate = scale * rng.uniform(*network.options_rps)
        options = [poisson(rng, options_rate * share) for share in others]
    if network.failing_share:
        failing = _draw_failing(
            rng, network.failing_kinds, rng.uniform(*network.failing_share)
        )
    load = Load(rate, hold_s, register_rate, options_rate, failing)

    faults = [
        CONDITIONS[condition](network, rng, load, begin, end)
        for condition, begin, end in _draw_times(
            rng, network, kind, onset, clear, duration_s
        )
    ]
    return Plan(
        kind,
        seed,
        duration_s,
        warm_up_s,
        load,
        pattern,
        base_delay_s,
        calls,
        registers,
        options,
        faults,
    )


def _draw_failing(rng, kinds, failing_share):
    """(kind of the user, share of the calls) of calls that fail every day."""
    weights = {kind: rng.uniform(0.3, 1.0) for kind in kinds}
    total = sum(weights.values())
    return tuple((kind, failing_share * w / total) for kind, w in weights.items())


def _draw_times(rng, network, kind, onset, clear, duration_s):
    """(condition, onset, clear) of each fault of a capture."""
    if kind in ("normal", LONG_NORMAL):
        return []
    if kind in CONDITIONS:
        return [(kind, onset, clear)]
    conditions = [
        name for name in network.captures if name in CONDITIONS and name != "normal"
    ]
    if kind == BEGINS_INSIDE:
        return [(rng.choice(conditions), onset, clear)]
    first, second = rng.sample(conditions, 2)
    first_onset = rng.uniform(30, 35)
    first_clear = first_onset + rng.uniform(20, 26)
    second_onset = first_clear + rng.uniform(2, 25)
    return [
        (first, first_onset, first_clear),
        (second, second_onset, second_onset + 25 if rng.random() < 0.6 else None),
    ]


def poisson(rng: random.Random, mean: float) -> int:
    """A Poisson random number: arrivals in one unit of time."""
    count, elapsed = 0, rng.expovariate(1.0)
    while elapsed < mean:
        count += 1
        elapsed += rng.expovariate(1.0)
    return count


def load_curve(
    rng: random.Random, pattern: str, rate: float, seconds: int
) -> list[float]:
    """Mean calls per second in each second; their mean is about the base rate."""
    if pattern == "constant":
        return [rate] * seconds
    if pattern == "ramp":
        first = rng.uniform(0.4, 1.6)
        last = 2 - first
        return [
            rate * (first + (last - first) * second / seconds)
            for second in range(seconds)
        ]
    if pattern in ("doubling", "halving"):
        return _drift(rng, pattern, rate, seconds)
    if pattern == "daily":
        periods, phase = rng.uniform(1, 2), rng.uniform(0, 2 * math.pi)
        return [
            rate * (1 + 0.5 * math.sin(2 * math.pi * periods * i / seconds + phase))
            for i in range(seconds)
        ]
    curve = []
    while len(curve) < seconds:
        curve += [rate * rng.uniform(0.4, 0.8)] * rng.randint(4, 12)
        curve += [rate * rng.uniform(1.4, 2.2)] * rng.randint(2, 6)
    return curve[:seconds]


def _drift(rng, pattern, rate, seconds):
    """Low, then high by a factor of about two, or the reverse; a ramp in between."""
    factor = rng.uniform(1.8, 2.4)
    low = 2 / (1 + factor)
    first, last = (low, low * factor) if pattern == "doubling" else (low * factor, low)
    begin, length = rng.uniform(0.2, 0.6) * seconds, rng.uniform(5, 40)
    shares = (min(max((i - begin) / length, 0.0), 1.0) for i in range(seconds))
    return [rate * (first + (last - first) * share) for share in shares]
