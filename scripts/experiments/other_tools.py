"""What other tools say of captures with faults that the run never saw.

  python -m scripts.experiments.other_tools --workdir runs/first --sip_doctor PATH

Each capture of the conditions that the run did not train on, and each normal one, is
read by `siamjax identify`, by sip-doctor, by tshark's statistics of SIP and by sngrep.
sip-doctor says what is wrong with single calls, not since when a service is ill: so
the calls with a finding are counted before and after the onset, which the labels give.
"""

import collections
import csv
import json
import lzma
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

from absl import app, flags

from siamjax.types import NORMAL

_WORKDIR = flags.DEFINE_string("workdir", "runs/first", "An evaluated run.")
_CAPTURES = flags.DEFINE_string("captures", "data/testbed/captures", "Of the bed.")
_LABELS = flags.DEFINE_string("labels", "data/testbed/labels.csv", "Their labels.")
_DOCTOR = flags.DEFINE_string("sip_doctor", "sip-doctor", "The command.")


class Seen(NamedTuple):
    """What the tools say of one capture."""

    verdicts: tuple[str, ...]  # conditions of siamjax, in order
    early: float  # share of calls with a finding of sip-doctor before the onset
    late: float  # the same after it
    findings: tuple[str, ...]  # the most frequent one after the onset
    warnings: tuple[str, ...]  # of sip-doctor, about the whole capture
    counted: int  # messages that tshark's `sip,stat` counts
    dialogs: int  # that sngrep lists


def main(argv):
    del argv
    run = json.loads(
        (pathlib.Path(_WORKDIR.value) / "results.json").read_text(encoding="utf-8")
    )
    known = {n for n, c in run["conditions"].items() if c["group"] == "known"}
    labels = read_labels(_LABELS.value)
    paths = [
        path
        for path in sorted(pathlib.Path(_CAPTURES.value).glob("*.pcap.xz"))
        if (name := labels.get(path.name, (NORMAL, 0.0))[0]) == NORMAL
        or name not in known
    ]
    by_condition = collections.defaultdict(list)
    for path, verdicts in zip(paths, ask_siamjax(paths)):
        condition, onset_s = labels.get(path.name, (NORMAL, 0.0))
        by_condition[condition].append(look(path, onset_s, verdicts))
    print_table(by_condition)


def read_labels(path):
    """{capture: (condition, onset)} of the first fault of each."""
    labels = {}
    with open(path, newline="", encoding="utf-8") as file:
        for name, condition, onset_s, *_ in csv.reader(file):
            if name not in labels and re.fullmatch(r"[\d.]+", onset_s):
                labels[name] = condition, float(onset_s)
    return labels


def look(path, onset_s, verdicts):
    """`Seen` of one capture."""
    with tempfile.TemporaryDirectory() as folder:
        plain = pathlib.Path(folder) / "capture.pcap"
        with lzma.open(path) as packed, open(plain, "wb") as file:
            shutil.copyfileobj(packed, file)
        early, late, findings, warnings = ask_doctor(plain, onset_s)
        return Seen(
            verdicts,
            early,
            late,
            findings,
            warnings,
            ask_tshark(plain),
            ask_sngrep(plain, folder),
        )


def ask_siamjax(paths):
    """Conditions of the timeline of each capture, in order."""
    command = [sys.executable, "-m", "siamjax", "identify", "--json"]
    lines = call([*command, "--workdir", _WORKDIR.value, *map(str, paths)])
    verdicts = collections.defaultdict(list)
    for line in lines.splitlines():
        span = json.loads(line)
        verdicts[span["capture"]].append(span["condition"])
    return [tuple(verdicts[str(path)]) for path in paths]


def ask_doctor(path, onset_s):
    """Shares of calls with a finding before and after the onset, and its words."""
    about = json.loads(call([_DOCTOR.value, "read", "--json", "--no-rtp", str(path)]))
    parts, titles = {False: [], True: []}, collections.Counter()
    for dialog in about["dialogs"]:
        late = dialog["start"] - about["start"] >= onset_s
        found = [
            finding["title"]
            for finding in dialog["findings"]
            if finding["severity"] != "info"
        ]
        parts[late].append(bool(found))
        if late:
            titles.update(re.sub(r" after .*", "", title) for title in found)
    shares = [sum(part) / max(len(part), 1) for part in parts.values()]
    warnings = [re.split(r" from | of ", w["title"])[0] for w in about["security"]]
    return *shares, tuple(t for t, _ in titles.most_common(1)), tuple(warnings)


def ask_tshark(path):
    """Messages in its statistics of SIP."""
    text = call(["tshark", "-r", str(path), "-q", "-z", "sip,stat"])
    return int(re.search(r"SIP messages: (\d+)", text)[1])


def ask_sngrep(path, folder):
    """Dialogs that it lists."""
    text = call(["sngrep", "-N", "-I", str(path), "-O", f"{folder}/out.pcap"])
    return max(map(int, re.findall(r"Dialog count: (\d+)", text)))


def call(command):
    """What a command prints."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    return done.stdout


def print_table(by_condition):
    """A row for each condition."""
    normal = by_condition.pop(NORMAL)
    limit = max(max(seen.early, seen.late) for seen in normal)
    heads = (
        "condition",
        "captures",
        "siamjax: first verdict that is not normal",
        "sip-doctor: calls with a finding, before, after",
        f"captures with more than any normal one ({limit:.1%})",
        "its most frequent finding",
        "tshark `sip,stat`: messages",
        "sngrep: dialogs",
    )
    print(f"| {' | '.join(heads)} |")
    print("|---|--:|--:|--:|--:|---|--:|--:|")
    for condition, captures in [(NORMAL, normal), *sorted(by_condition.items())]:
        n = len(captures)
        faults = collections.Counter(
            next((v for v in seen.verdicts if v != NORMAL), NORMAL) for seen in captures
        )
        early, late = (
            sum(getattr(seen, part) for seen in captures) / n
            for part in ("early", "late")
        )
        titles = collections.Counter(t for seen in captures for t in seen.findings)
        print(
            f"| {condition} | {n} | "
            f"{', '.join(f'{name} {count}' for name, count in faults.most_common())} | "
            f"{early:.1%}, {late:.1%} | {sum(s.late > limit for s in captures)} | "
            f"{next(iter(dict(titles.most_common(1))), '')} | "
            f"{sum(s.counted for s in captures)} | {sum(s.dialogs for s in captures)} |"
        )
    alarms = collections.Counter(w for seen in normal for w in set(seen.warnings))
    print(f"\nsip-doctor's warnings in {len(normal)} normal captures: {dict(alarms)}")


if __name__ == "__main__":
    app.run(main)
