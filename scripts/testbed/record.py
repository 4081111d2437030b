"""Record one labelled packet capture of SIP signalling from the test bed.

    python record.py --network access --kind blocked --seed 7 --out captures

Builds a test bed (see testbed.py), runs its load and captures at the proxy while faults
(see faults.py) are switched on and off. What is recorded was drawn before: see plan.py.
Writes OUT/KIND_SEED.pcap.xz and prints the rows of labels.csv as JSON, one for each
fault. The seed decides the plan, but not the random numbers of sipp, kamailio and nft.
Needs root rights, sipp, kamailio, tcpdump, nft, ip and tc.
"""

import argparse
import json
import lzma
import sched
import shutil
import struct
import tempfile
import time
from pathlib import Path

from gtp_bed import GtpBed
from networks import NETWORKS
from plan import KINDS, make_plan
from radius_bed import RadiusBed
from sip_bed import SipBed

BEDS = dict(sip=SipBed, radius=RadiusBed, gtpv1=GtpBed)
# An action of a fault that is done later than this spoils the capture.
MAX_LATE_S = 0.5
LABEL_COLUMNS = (
    "file condition onset_s clear_s seed rate_cps hold_s severity notes".split()
)


def check_in_time(planned):
    """Raises a RuntimeError where the machine was too busy to keep to the plan."""
    late_s = time.time() - planned
    if late_s > MAX_LATE_S:
        raise RuntimeError(
            f"{late_s:.1f} s late: the machine was too busy, the capture is not used"
        )


def read_first_time(pcap):
    """The epoch time of the first packet."""
    with open(pcap, "rb") as file:
        seconds, microseconds = struct.unpack_from("<II", file.read(32), 24)
    return seconds + microseconds / 1e6


def compress(pcap, target):
    preset = 9 | lzma.PRESET_EXTREME
    with open(pcap, "rb") as source, lzma.open(target, "wb", preset=preset) as sink:
        shutil.copyfileobj(source, sink)


def record(network, plan, out_dir, slot):
    """Record one capture; returns the rows of its label."""
    measured = {}  # planned time of each action of a fault -> when it was done

    with tempfile.TemporaryDirectory(prefix=f"testbed{slot}_") as run_dir:
        pcap = Path(run_dir) / "capture.pcap"
        bed = BEDS[network.protocol](
            network, plan.load, plan.base_delay_s, slot=slot, run_dir=run_dir
        )
        with bed:
            schedule = sched.scheduler(time.time, time.sleep)

            def set_load(second):
                bed.set_load(
                    plan.calls[second], plan.registers[second], plan.options[second]
                )

            def do_action(zero, planned, action):
                action(bed)
                measured[planned] = time.time()
                check_in_time(zero + planned)

            def add_to_schedule(zero, first, last):
                """What is planned from first to last, in seconds from `zero`."""
                for second in range(first, last):
                    schedule.enterabs(
                        zero + second, 1, set_load, (plan.warm_up_s + second,)
                    )
                for fault in plan.faults:
                    for planned, action in fault.actions:
                        if first <= planned < last:
                            schedule.enterabs(
                                zero + planned, 0, do_action, (zero, planned, action)
                            )

            add_to_schedule(time.time() + plan.warm_up_s, -plan.warm_up_s, 0)
            schedule.run()
            start = bed.start_capture(pcap)
            add_to_schedule(start, 0, plan.duration_s)
            end = start + plan.duration_s
            schedule.enterabs(end, 1, check_in_time, (end,))
            schedule.enterabs(end, 2, bed.stop_capture)
            schedule.run()
        start = read_first_time(pcap)  # labels count from the first packet
        compress(pcap, out_dir / f"{plan.name}.pcap.xz")
    return label_rows(plan, measured, start)


def label_rows(plan, measured, start):
    """The rows of labels.csv for a recorded plan: one, or one for each fault.

    Args:
      plan: what was recorded.
      measured: epoch time at which each action was done, by its planned time.
      start: epoch time of the first packet of the capture.
    """
    load = plan.load
    common = [f"load={plan.pattern}"]
    if load.register_rps:
        common.append(f"register_rps={load.register_rps:.2f}")
    common.append(f"base_delay_s={plan.base_delay_s:.3f}")
    if load.options_rps:
        common.append(f"options_rps={load.options_rps:.2f}")
    common += [f"{kind}_share={share:.3f}" for kind, share in load.failing]
    common.append(f"start_epoch={start:.6f}")

    def row(condition, onset_s, clear_s, severity, notes):
        return dict(
            file=f"{plan.name}.pcap.xz",
            condition=condition,
            onset_s=onset_s,
            clear_s=clear_s,
            seed=plan.seed,
            rate_cps=f"{load.rate_cps:.2f}",
            hold_s=f"{load.hold_s:.2f}",
            severity=f"{severity:.3f}",
            notes=";".join(filter(None, [*notes, *common])),
        )

    rows = []
    for fault in plan.faults:
        onset_s = measured[fault.onset] - start
        notes = [fault.notes]
        if onset_s < 0:
            notes.append(f"began_s={onset_s:.3f}")
        cleared = fault.clear is not None
        clear_s = f"{measured[fault.clear] - start:.3f}" if cleared else ""
        onset_s = f"{max(onset_s, 0.0):.3f}"
        rows.append(row(fault.condition, onset_s, clear_s, fault.severity, notes))
    return rows or [row("normal", "", "", 0.0, [])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="testbed", choices=list(NETWORKS))
    parser.add_argument("--kind", required=True, choices=KINDS)
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument(
        "--out", required=True, type=Path, help="folder for the capture"
    )
    parser.add_argument(
        "--duration", type=int, help="seconds (default: as the network says)"
    )
    parser.add_argument(
        "--slot",
        type=int,
        default=0,
        help="number of the test bed; two that run at the same time must differ",
    )
    options = parser.parse_args()
    network = NETWORKS[options.network]
    plan = make_plan(network, options.kind, options.seed, options.duration)
    options.out.mkdir(parents=True, exist_ok=True)
    print(json.dumps(record(network, plan, options.out, options.slot)))


if __name__ == "__main__":
    main()
