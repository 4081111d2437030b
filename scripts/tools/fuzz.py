"""Mutates captures, tables, labels and files of runs, and reads them, for a given time.

python -m scripts.tools.fuzz --seconds 60 [--targets captures,tables] [--seed 0]
  [--keep DIR]

A mutated file is read, or refused in one line (SiamjaxError, OSError). Anything else is
a finding: another exception, more than LIMIT_S seconds, more than LIMIT_MB of memory
beyond what the process has at rest. Each finding is kept with its traceback, and the
exit code is 1. A seed gives the same mutations again.
"""

import argparse
import contextlib
import faulthandler
import io
import logging
import lzma
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

from scripts.tools import chaos
from siamjax.capture import counters, events
from siamjax.data import labels, prepared, stretches
from siamjax.types import SiamjaxError

LIMIT_S, LIMIT_MB = 20, 1024
SEED_BYTES = 60_000  # of a capture that is mutated: its beginning
NASTY = [
    *(b"", b"\0", b"\xff" * 8, b"\r\n\r\n", b"=cmd", b"-", b"nan", b"inf"),
    *(b"1e400", b"9" * 400, b"1000000000000000000", b"9999-12-31", b'"', b",", b"'"),
    *(b"\xef\xbb\xbf", b"\x1b[31m", b"\xc3\x28", b"{", b"[" * 50, b"x" * 200_000),
]

TABLE = b"time,cpu,calls\n" + b"".join(
    f"{i},{i % 7 + 0.5},{i * 3}\n".encode() for i in range(200)
)
LABELS = b"file,condition,onset_s,clear_s\na.pcap,blocked,50.0,80\nb.pcap,normal,,\n"
STRETCHES = b"file,start,end,condition\nt.csv,50,80,blocked\nt.csv,0,50,normal\n"


class Target(NamedTuple):
    """A kind of file: its untouched bytes, and what reads it."""

    name: str
    files: dict[str, bytes]  # by the name that the mutated file gets
    read: Callable[[pathlib.Path], object]


def main() -> None:
    options = _options()
    logging.disable(logging.CRITICAL)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz."))
    keep = pathlib.Path(options.keep or folder / "findings")
    makers = dict(
        captures=captures,
        tables=tables,
        labels=label_tables,
        stretches=stretch_tables,
        prepared=prepared_sets,
        runs=run_files,
        checkpoints=checkpoints,
    )
    names = options.targets.split(",") if options.targets else list(makers)
    targets = [makers[name](folder) for name in names]
    tally = {target.name: dict(read=0, refused=0, findings=0) for target in targets}
    for target in targets:
        end, case = time.monotonic() + options.seconds / len(targets), 0
        while time.monotonic() < end:
            outcome = try_mutation(target, folder, options.seed, case, keep)
            tally[target.name][outcome] += 1
            case += 1
    print("| files | mutations | read | refused in one line | findings |")
    print("|---|--:|--:|--:|--:|")
    for name, counts in tally.items():
        cells = [name, sum(counts.values()), *counts.values()]
        print("| " + " | ".join(map(str, cells)) + " |")
    if any(counts["findings"] for counts in tally.values()):
        print(f"findings are in {keep}")
        sys.exit(1)
    shutil.rmtree(folder)


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--targets", default="", help="such as captures,tables")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", default="", help="folder of the findings")
    return parser.parse_args()


def try_mutation(target, folder, seed, case, keep):
    """Mutates a file of a target and reads it: `read`, `refused` or `findings`."""
    draw = random.Random(f"{seed} {target.name} {case}")
    name = draw.choice(sorted(target.files))
    data = mutated(target.files[name], list(target.files.values()), draw)
    path = folder / target.name / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    before_mb, began = _memory_mb(), time.monotonic()
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(LIMIT_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            target.read(path)
        outcome, why = "read", ""
    except (SiamjaxError, OSError) as error:
        outcome, why = "refused", str(error)
    except Exception:
        outcome, why = "findings", traceback.format_exc()
    finally:
        signal.alarm(0)
        path.write_bytes(target.files[name])  # the next mutation starts from good files
    if "\n" in why and outcome == "refused":
        outcome, why = "findings", f"more than one line:\n{why}"
    if _memory_mb() - before_mb > LIMIT_MB:
        outcome, why = "findings", f"{_memory_mb() - before_mb:.0f} MB of memory\n{why}"
    if outcome == "findings":
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{target.name}-{case}-{pathlib.Path(name).name}").write_bytes(data)
        text = f"{name}, {time.monotonic() - began:.1f} s\n{why}"
        (keep / f"{target.name}-{case}.txt").write_text(text)
        print(f"{target.name} {case}: {why.strip().splitlines()[-1][:150]}", flush=True)
    return outcome


def mutated(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """One to four random changes of some bytes."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(changed) + 1)
        size = min(int(draw.expovariate(1 / 30)) + 1, 5000)
        kind = draw.randrange(7)
        if kind == 0 and changed:  # a flipped bit
            changed[place % len(changed)] ^= 1 << draw.randrange(8)
        elif kind == 1:  # random bytes over what is there
            changed[place : place + size] = draw.randbytes(size)
        elif kind == 2:  # cut at the end
            del changed[place:]
        elif kind == 3:  # cut out
            del changed[place : place + size]
        elif kind == 4:  # there twice
            changed[place:place] = changed[place : place + size * 50]
        elif kind == 5:  # a piece of another file
            other = draw.choice(others)
            begin = draw.randrange(len(other) + 1)
            changed[place:place] = other[begin : begin + size * 20]
        else:  # what readers stumble over
            changed[place : place + draw.randrange(4)] = draw.choice(NASTY)
    return bytes(changed)


def captures(folder):
    """Beginnings of packaged captures, plain and compressed."""
    files = {}
    for condition in ("normal", "blocked", "delay"):
        path = min(chaos.CAPTURES.glob(f"{condition}_*"))
        plain = lzma.decompress(path.read_bytes())[:SEED_BYTES]
        files[f"{condition}.pcap"] = plain
        files[f"{condition}.pcap.xz"] = lzma.compress(plain, preset=0)
    return Target("captures", files, events.read_events)


def tables(folder):
    """A table of counters as CSV and as Parquet."""
    import pandas

    parquet = io.BytesIO()
    pandas.read_csv(io.BytesIO(TABLE)).to_parquet(parquet)
    files = {"t.csv": TABLE, "t.parquet": parquet.getvalue()}
    return Target("tables", files, counters.read_counters)


def label_tables(folder):
    return Target("labels", {"labels.csv": LABELS}, labels.read_labels)


def stretch_tables(folder):
    return Target("stretches", {"labels.csv": STRETCHES}, stretches.read_stretches)


def prepared_sets(folder):
    """The files of a prepared data set."""
    bench = chaos.Bench(folder / "made", None)
    bench.prepare()
    data = folder / "prepared"
    shutil.copytree(bench.state("ingest") / "data", data)
    return Target("prepared", _files(data), lambda path: prepared.read_data_set(data))


def run_files(folder):
    """The files of a finished run beside its checkpoints, read as commands do."""
    from siamjax.assessment import page_data
    from siamjax.identification import enrol
    from siamjax.inference import deciding, runs
    from siamjax.reports import page, scalars, trace
    from siamjax.training import run_config

    run = _finished(folder, "runs")
    ready, saved = runs.open_run(run), run_config.read_config(run)
    names = [enrol.EXAMPLES, enrol.RULE, deciding.FILE, "results.json"]
    names += [scalars.FILE, trace.ABOUT]

    def read(path):
        if path.name in (enrol.EXAMPLES, enrol.RULE):
            enrol.read_enrolment(ready)
        elif path.name == deciding.FILE:
            deciding.read_deciding(run, ready.config, len(ready.columns))
        elif path.name == "results.json":
            if (results := page_data.read_results(run))["shots"]:
                config = run_config.read_config(run)
                data = dict(title="", results=results, config=config, curves={})
                page_data.make_subtitle(data)
                page.write_page(run.parent / "report.html", data)
        elif path.name == run_config.FILE:
            run_config.parse_config(run, run_config.read_config(run), saved)
        else:  # newer than the results, which are then not read
            os.utime(run / trace.FILE)
            page.write_page(run.parent / "report.html", page_data.gather_data(run))
            scalars.drop_after(run / scalars.FILE, 10**6)

    names += [trace.FILE, run_config.FILE]
    return Target("runs", {f"run/{n}": (run / n).read_bytes() for n in names}, read)


def checkpoints(folder):
    """The checkpoints of a run, opened as evaluation and the audit open them."""
    from siamjax.auditing import from_run
    from siamjax.inference import runs
    from siamjax.training import checkpoints

    run = _finished(folder, "checkpoints")

    def read(path):
        runs.open_run(run)
        from_run.open_with_data(run, checkpoints.LAST)

    saved = _files(run / checkpoints.FOLDER).items()
    names = {f"run/{checkpoints.FOLDER}/{name}": data for name, data in saved}
    return Target("checkpoints", names, read)


def _finished(folder, name):
    """A finished run in a folder of that name; the run's data is named from there."""
    bench = chaos.Bench(folder / "made", None)
    bench.prepare()
    shutil.copytree(bench.state("train"), folder / name)
    os.chdir(folder / name)
    return folder / name / "run"


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class TooSlow(Exception):
    """A file took longer than LIMIT_S; no OSError, as TimeoutError is."""


def _too_slow(*_):
    raise TooSlow(f"more than {LIMIT_S} s")


def _memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    faulthandler.enable()
    main()
