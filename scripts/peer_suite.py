"""Runs the tests of pytorch-metric-learning against siamjax; fetches nothing.

  python -m scripts.peer_suite PATH --out docs/losses/peer.md

PATH is a source tree of pytorch-metric-learning, with its folders src and tests. Needs
torch, faiss-cpu and what it needs. The tests run with siamjax behind the library's
interface (`peer_adapter`), and those that fail once more as they are: what fails there,
too, is left out. Each test function is said to

- agree: it passes, and siamjax was called;
- differ: it fails with siamjax alone, with the reason;
- have no counterpart: it asks for what siamjax does not have, with the reason, or never
  computes a loss, a miner or a metric.
"""

import argparse
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = {"losses": "test_*.py", "miners": "test_*.py", "utils": "test_calculate*.py"}
AGREES, DIFFERS, MISSING = "agree", "differ", "no counterpart"
# A test that takes longer is left out.
LIMIT_S = 40
NOT_CALLED = "tests other parts of the library"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="source tree of pytorch-metric-learning")
    parser.add_argument("--out", help="the page that is written; else it is printed")
    parser.add_argument(
        "--only", default="", help="tests with one of these texts in their name"
    )
    # Of the two processes that this command starts.
    parser.add_argument("--run", choices=("plain", "adapted"), help=argparse.SUPPRESS)
    parser.add_argument("--results", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.run:
        run_tests(pathlib.Path(flags.path), flags.run, flags.results, flags.only)
        return
    path = pathlib.Path(flags.path).resolve()
    for folder in ("src/pytorch_metric_learning", "tests/losses"):
        if not (path / folder).is_dir():
            parser.error(f"{path} has no folder {folder}: give a source tree")
    page = format_page(
        judge(*(start(path, kind, flags.only) for kind in ("plain", "adapted")))
    )
    if flags.out:
        pathlib.Path(flags.out).write_text(page, encoding="utf-8")
    else:
        print(page)


def start(path, kind, only):
    """Runs the tests in a process of their own: {test: {error, calls, reason}}."""
    with tempfile.TemporaryDirectory() as folder:
        results = pathlib.Path(folder) / "results.json"
        search = [path / "src", path, ROOT, ROOT / "scripts"]
        environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(map(str, search)),
            TEST_DEVICE="cpu",
            TEST_DTYPES="float32,float64",
            # Most programs run once: they are compiled in a third of the time.
            XLA_FLAGS="--xla_backend_optimization_level=0 "
            "--xla_cpu_use_fusion_emitters=false",
        )
        command = [sys.executable, __file__, path, "--run", kind, "--results", results]
        command += ["--only", only]
        done = subprocess.run(
            command, cwd=path, env=environment, capture_output=True, text=True
        )
        if not results.exists():
            raise SystemExit(f"the tests of {path} did not run: {done.stderr[-2000:]}")
        return json.loads(results.read_text(encoding="utf-8"))


class TooLong(BaseException):
    """A test took longer than `LIMIT_S`."""


def give_up(number, frame):
    raise TooLong(f"it took more than {LIMIT_S} s")


def run_tests(path, kind, results, only):
    signal.signal(signal.SIGALRM, give_up)
    adapter = None
    if kind == "adapted":
        import peer_adapter as adapter  # its folder is on the search path here

        adapter.install()
    said = {}
    for folder, pattern in FOLDERS.items():
        for file in sorted((path / "tests" / folder).glob(pattern)):
            name = f"tests.{folder}.{file.stem}"
            suite = unittest.defaultTestLoader.loadTestsFromName(name)
            for test in flatten(suite):
                if not any(text in test.id() for text in only.split(",")):
                    continue
                said[test.id().removeprefix("tests.")] = run_test(test, adapter)
                pathlib.Path(results).write_text(json.dumps(said), encoding="utf-8")


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


class Result(unittest.TestResult):
    """Keeps the exceptions."""

    def __init__(self):
        super().__init__(io.StringIO())
        self.exceptions = []

    def addError(self, test, err):
        self.exceptions.append(err)
        super().addError(test, err)

    def addFailure(self, test, err):
        self.exceptions.append(err)
        super().addFailure(test, err)


def run_test(test, adapter):
    result = Result()
    if adapter:
        adapter.COUNT["calls"] = 0
    # The class is set up and torn down with the test.
    suite = unittest.TestSuite([test])
    start_s = time.monotonic()
    signal.alarm(LIMIT_S)
    try:
        suite.run(result)
    except TooLong:
        result.exceptions.append(sys.exc_info())
    signal.alarm(0)
    said = dict(error="", reason="", calls=adapter.COUNT["calls"] if adapter else 0)
    said["seconds"] = round(time.monotonic() - start_s, 1)
    said["skipped"] = bool(result.skipped)
    for kind, error, trace in result.exceptions[:1]:
        place = traceback.extract_tb(trace)[-1]
        said["error"] = f"{kind.__name__} {error} ({place.name}:{place.lineno})"
        while error is not None:
            if adapter and isinstance(error, adapter.NoCounterpart):
                said["reason"] = str(error)
            error = error.__cause__ or error.__context__
    return said


def judge(plain, adapted):
    """{test: (verdict, why)} of the tests that do not fail as they are.

    Args:
      plain: what the tests say as they are, at least of those that fail adapted.
      adapted: what they say with siamjax.
    """
    verdicts = {}
    for test, said in adapted.items():
        if said["skipped"] or (said["error"] and plain[test]["error"]):
            continue
        if said["reason"]:
            verdicts[test] = MISSING, said["reason"]
        elif said["error"].startswith("TooLong"):
            verdicts[test] = MISSING, f"{TOO_LONG}{sentence(said['error'])}"
        elif said["error"].startswith("UsageError"):
            verdicts[test] = DIFFERS, f"{REFUSED}{sentence(said['error'])}"
        elif said["error"]:
            known = KNOWN.get(test.split(".", 2)[2], said["error"])
            verdicts[test] = DIFFERS, known
        elif not said["calls"]:
            verdicts[test] = MISSING, NOT_CALLED
        else:
            verdicts[test] = AGREES, ""
    return verdicts


def sentence(error):
    """The message of an error, without its kind and place."""
    return error.partition(" ")[2].rpartition(" (")[0]


# Why a test fails, where the reason is known.
KNOWN = {
    "TestGeneralizedLiftedStructureLoss.test_generalized_lifted_structure_loss": (
        "an anchor without a positive counts there; here it gives nothing"
    ),
    **dict.fromkeys(
        (
            "TestDistanceWeightedMiner.test_distance_weighted_miner",
            "TestDistanceWeightedMiner.test_distance_weighted_miner_with_ref_labels",
        ),
        "where all negatives are beyond the reach, one is drawn here, none there",
    ),
    **dict.fromkeys(
        (
            "TestHDCMiner.test_dist_mining",
            "TestHDCMiner.test_normalized_dist_mining",
            "TestHDCMiner.test_normalized_dist_squared_mining",
            "TestHDCMiner.test_sim_mining",
        ),
        "pairs that tie with the last chosen one are chosen, too",
    ),
}
REFUSED = "refused here: "
TOO_LONG = "left out: "


HEAD = """\
# The tests of pytorch-metric-learning

[All losses](index.md)

*Written by `python -m scripts.peer_suite PATH --out docs/losses/peer.md`. PATH is a
source tree of pytorch-metric-learning{version}. Do not edit.*

Its tests of losses, miners and metrics run as they are, with siamjax behind the
library's interface: what computes is siamjax's, in float32 and float64 on a CPU, with
gradients. None of its code is here. Of {number} test functions that pass there,
**{agree} agree**, **{differ} differ** and **{missing} have no counterpart**.
Among the last are tests that took more than {limit} s where this page was written, and
were left out. Where a test only says `AssertionError`, the reason is not known yet.

"""


def format_page(verdicts, version=""):
    counts = {
        verdict: sum(v == verdict for v, _ in verdicts.values())
        for verdict in (AGREES, DIFFERS, MISSING)
    }
    page = HEAD.format(
        version=version,
        number=len(verdicts),
        agree=counts[AGREES],
        differ=counts[DIFFERS],
        missing=counts[MISSING],
        limit=LIMIT_S,
    )
    lines = ["| test | says | why |", "|---|---|---|"]
    for test, (verdict, why) in sorted(verdicts.items(), key=lambda item: item[1][0]):
        name = test.split(".", 2)[2].replace(".test_", ": ")
        lines.append(f"| {name} | {verdict} | {why} |")
    return page + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
