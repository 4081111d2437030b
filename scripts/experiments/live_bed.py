"""The monitor beside the test bed: is a fault told while it lasts, and its end?

  python -m scripts.experiments.live_bed --workdir runs/first --kind blocked --seed 9

scripts/testbed/record.py makes real traffic of sipp and kamailio in network namespaces,
and switches a fault on and off. From the moment at which it captures, `tcpdump -w - |
siamjax monitor -` watches the same interface. With `--adapt_s` the run is adapted to
normal traffic of the bed before. Needs what scripts/testbed/README.md says, and root
rights. The exit code is 1 if no alarm came within `LATE_S` after the onset, if the
fault was not named while it lasted, or was not seen to end.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from siamjax.monitoring import records

_WORKDIR = flags.DEFINE_string("workdir", None, "An evaluated run.", required=True)
_KIND = flags.DEFINE_string("kind", "blocked", "What record.py switches on.")
_SEED = flags.DEFINE_integer("seed", 3, "Of its plan.")
_NETWORK = flags.DEFINE_string("network", "testbed", "A network of the bed.")
_DURATION = flags.DEFINE_integer("duration", 120, "Seconds of traffic.")
_ADAPT = flags.DEFINE_integer("adapt_s", 0, "Seconds of normal traffic to adapt to.")
_SLOT = flags.DEFINE_integer("slot", 7, "Of the bed; no other may run in it.")
_BED = pathlib.Path(__file__).parent.parent / "testbed"
LATE_S = 8.0


def main(argv):
    del argv
    with tempfile.TemporaryDirectory(prefix="live_bed.") as folder:
        label, made = watch_bed(pathlib.Path(folder))
    changes = [r for r in made if isinstance(r, records.Change)]
    zero_s = float(label["notes"].rpartition("start_epoch=")[2])

    def since(text):
        return records.parse_time(text) / 1e9 - zero_s

    print(
        f"{label['condition']} from {label['onset_s']} to {label['clear_s'] or '-'} s"
    )
    for change in changes:
        print(
            f"{since(change.time):6.1f} s: {change.state} {change.condition} since "
            f"{since(change.onset):.1f} s"
        )
    beats = [r for r in made if isinstance(r, records.Heartbeat)]
    lag_s = max(beat.lag_s for beat in beats)
    print(
        f"{beats[-1].messages} messages, {beats[-1].dropped} dropped, lag {lag_s:.1f} s"
    )
    onset_s, clear_s = float(label["onset_s"]), float(label["clear_s"] or "inf")
    during = [c for c in changes if onset_s <= since(c.time) <= clear_s + LATE_S]
    is_early = any(since(c.time) <= onset_s + LATE_S for c in during)
    is_named = any(c.condition == label["condition"] for c in during)
    is_over = changes[-1].condition != label["condition"] or clear_s == float("inf")
    sys.exit(not (is_early and is_named and is_over))


def record(folder: pathlib.Path, kind: str, duration_s: int) -> subprocess.Popen:
    """Starts a recording; its label comes on standard output."""
    options = [f"--network={_NETWORK.value}", f"--kind={kind}", f"--out={folder}"]
    options += [f"--seed={_SEED.value}", f"--slot={_SLOT.value}"]
    return subprocess.Popen(
        [sys.executable, "record.py", *options, f"--duration={duration_s}"],
        cwd=_BED,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
    )


def adapt(folder: pathlib.Path) -> list[str]:
    """Adapts the run to normal traffic; the flags with which the monitor knows it."""
    if not _ADAPT.value:
        return []
    if record(folder, "normal", _ADAPT.value).wait():
        raise SystemExit("record.py failed")
    flags_of_run = [f"--library={folder / 'library'}", "--network=bed"]
    command = [sys.executable, "-m", "siamjax", "adapt", f"--workdir={_WORKDIR.value}"]
    (capture,) = folder.glob("normal*.pcap.xz")
    subprocess.run([*command, *flags_of_run, str(capture)], check=True)
    return flags_of_run


def watch_bed(folder: pathlib.Path) -> tuple[dict, list[records.Record]]:
    """The label of a recording, and what the monitor said meanwhile."""
    adapted = adapt(folder)
    bed = record(folder, _KIND.value, _DURATION.value)
    while not list(folder.glob("testbed*/capture.pcap")):
        if bed.poll() is not None:
            raise SystemExit("record.py ended before it captured")
        time.sleep(0.1)
    place = ["ip", "netns", "exec", f"proxy{_SLOT.value}"]
    capture = subprocess.Popen(
        [*place, *"tcpdump -i access -n -U --immediate-mode -Z root -w -".split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    command = [sys.executable, "-m", "siamjax", "monitor", "--json", "--heartbeat_s=1"]
    command += [f"--workdir={_WORKDIR.value}", f"--state={folder / 'state'}", *adapted]
    watched = subprocess.Popen(
        [*command, "-"],
        stdin=capture.stdout,
        stdout=subprocess.PIPE,
        text=True,
    )
    capture.stdout.close()
    said, _ = bed.communicate()
    capture.send_signal(signal.SIGINT)
    told, _ = watched.communicate()
    if bed.returncode or watched.returncode:
        raise SystemExit(f"record.py {bed.returncode}, monitor {watched.returncode}")
    made = [records.from_json(json.loads(line)) for line in told.splitlines()]
    return json.loads(said)[0], made


if __name__ == "__main__":
    app.run(main)
