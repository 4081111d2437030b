"""Record one labelled packet capture of SIP signalling from the test bed.

    python record.py --condition blocked --seed 7 --out captures --duration 100

Builds a test bed (see testbed.py), runs calls and registrations in it and captures
at the access side of the proxy. The fault (see faults.py) begins at a random time and,
in most captures, ends at a random time. Writes OUT/CONDITION_SEED.pcap.xz and prints
the label of the capture as JSON. The seed decides all random numbers here, but not
those of sipp, kamailio and nft. Needs root rights, sipp, kamailio, tcpdump, nft, ip and
tc.
"""

import argparse
import json
import lzma
import random
import sched
import shutil
import tempfile
import time
from pathlib import Path

from faults import CONDITIONS
from testbed import Testbed

LABEL_COLUMNS = (
    "file condition onset_s clear_s seed rate_cps hold_s severity notes".split()
)
LOAD_PATTERNS = ["constant", "ramp", "bursty"]


def poisson(rng, mean):
    """A Poisson random number: arrivals in one unit of time."""
    count, elapsed = 0, rng.expovariate(1.0)
    while elapsed < mean:
        count += 1
        elapsed += rng.expovariate(1.0)
    return count


def load_curve(rng, pattern, rate, seconds):
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
    curve = []
    while len(curve) < seconds:
        curve += [rate * rng.uniform(0.4, 0.8)] * rng.randint(4, 12)
        curve += [rate * rng.uniform(1.4, 2.2)] * rng.randint(2, 6)
    return curve[:seconds]


def compress(pcap, target):
    with open(pcap, "rb") as source, lzma.open(target, "wb", preset=9) as sink:
        shutil.copyfileobj(source, sink)


def record(condition, seed, out_dir, duration, slot):
    """Record one capture; returns its label."""
    rng = random.Random(f"{condition}/{seed}")
    rate, hold_s = rng.uniform(5, 30), rng.uniform(0.5, 5)
    register_rate = rng.uniform(2, 6)
    base_delay_s = rng.uniform(0.005, 0.04)
    weights = [1, 1, 1] if condition == "normal" else [2, 1, 1]
    pattern = rng.choices(LOAD_PATTERNS, weights)[0]
    onset = rng.uniform(0.3, 0.5) * duration
    clear = rng.uniform(0.65, 0.9) * duration if rng.random() < 0.6 else None

    warm_up = round(4 + 1.5 * hold_s)
    seconds = warm_up + duration
    calls = [poisson(rng, mean) for mean in load_curve(rng, pattern, rate, seconds)]
    registers = [poisson(rng, register_rate) for _ in range(seconds)]

    name = f"{condition}_{seed:03d}"
    measured = {}  # planned time of each action of the fault -> when it was done

    with tempfile.TemporaryDirectory(prefix=f"testbed{slot}_") as run_dir:
        pcap = Path(run_dir) / "capture.pcap"
        with Testbed(slot, run_dir, hold_s, base_delay_s) as bed:
            fault = CONDITIONS[condition](bed, rng, rate, onset, clear)
            schedule = sched.scheduler(time.time, time.sleep)

            def set_load(second):
                bed.set_call_rate(calls[second])
                bed.set_register_rate(registers[second])

            begin = time.time()
            for second in range(warm_up):
                schedule.enterabs(begin + second, 1, set_load, (second,))
            schedule.run()

            start = bed.start_capture(pcap)

            def do_action(planned, action):
                action()
                measured[planned] = time.time() - start

            for second in range(duration):
                schedule.enterabs(start + second, 1, set_load, (warm_up + second,))
            for planned, action in fault.actions:
                if planned < duration:
                    schedule.enterabs(start + planned, 0, do_action, (planned, action))
            schedule.enterabs(start + duration, 2, bed.stop_capture)
            schedule.run()
        compress(pcap, out_dir / f"{name}.pcap.xz")

    faulty = condition != "normal"
    notes = (
        f"load={pattern};register_rps={register_rate:.2f};"
        f"base_delay_s={base_delay_s:.3f};start_epoch={start:.6f}"
    )
    return dict(
        file=f"{name}.pcap.xz",
        condition=condition,
        onset_s=f"{measured[onset]:.3f}" if faulty else "",
        clear_s=f"{measured[clear]:.3f}" if faulty and clear is not None else "",
        seed=seed,
        rate_cps=f"{rate:.2f}",
        hold_s=f"{hold_s:.2f}",
        severity=f"{fault.severity:.3f}",
        notes=";".join(filter(None, [fault.notes, notes])),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--condition", required=True, choices=list(CONDITIONS))
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument(
        "--out", required=True, type=Path, help="folder for the capture"
    )
    parser.add_argument(
        "--duration", type=int, default=100, help="seconds (default 100)"
    )
    parser.add_argument(
        "--slot",
        type=int,
        default=0,
        help="number of the test bed; two that run at the same time must differ",
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    label = record(
        options.condition, options.seed, options.out, options.duration, options.slot
    )
    print(json.dumps(label))


if __name__ == "__main__":
    main()
