"""Runs the tests of pytorch-metric-learning against siamjax; fetches nothing.

  python -m scripts.peer_suite PATH --out docs/losses/peer.md

PATH is a source tree of pytorch-metric-learning, with its folders src and tests. Needs
torch, faiss-cpu and what it needs. The tests run with siamjax behind the library's
interface (`scripts.peer`), and those that fail by their own checks once more as they
are: what fails there, too, is left out. Each test function is said to

- agree: it passes, and siamjax was called;
- differ: it fails with siamjax alone, with the reason;
- have no counterpart: it asks for what siamjax does not have, with the reason;
- be left out: it never computes a loss, a miner or a metric.

The limit of a test is processor time, so a busy machine gives the same page.
"""

import argparse
import io
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = {
    "losses": "test_*.py",
    "miners": "test_*.py",
    "regularizers": "test_*.py",
    "utils": "test_calculate*.py",
}
AGREES, DIFFERS, MISSING = "agree", "differ", "no counterpart"
UNRELATED = "left out"
# Of processor time for one test, far above what any takes: it ends a test that hangs.
LIMIT_S = 900


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
    adapted = start(path, "adapted", flags.only)
    failed = ",".join(test for test, said in adapted.items() if fails(said))
    plain = start(path, "plain", failed) if failed else {}
    page = format_page(judge(plain, adapted), read_version(path))
    if flags.out:
        pathlib.Path(flags.out).write_text(page, encoding="utf-8")
    else:
        print(page)


def start(path, kind, only):
    """Runs the tests in a process of their own: {test: {error, calls, reason}}."""
    with tempfile.TemporaryDirectory() as folder:
        results = pathlib.Path(folder) / "results.json"
        search = [path / "src", path, ROOT]
        environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(map(str, search)),
            TEST_DEVICE="cpu",
            TEST_DTYPES="float32,float64",
            # Most programs run once: they are compiled in a third of the time.
            XLA_FLAGS="--xla_backend_optimization_level=0 "
            "--xla_cpu_use_fusion_emitters=false",
        )
        command = [sys.executable, "-m", "scripts.peer_suite", path, "--run", kind]
        command += ["--results", results, "--only", only]
        done = subprocess.run(
            command, cwd=path, env=environment, capture_output=True, text=True
        )
        if not results.exists():
            raise SystemExit(f"the tests of {path} did not run: {done.stderr[-2000:]}")
        return json.loads(results.read_text(encoding="utf-8"))


def read_version(path):
    text = (path / "src/pytorch_metric_learning/__init__.py").read_text("utf-8")
    return re.search(r'__version__ = "([^"]+)"', text).group(1)


class TooLong(BaseException):
    """A test took longer than `LIMIT_S`."""


def give_up(number, frame):
    raise TooLong(f"it took more than {LIMIT_S} s of processor time")


def run_tests(path, kind, results, only):
    signal.signal(signal.SIGPROF, give_up)
    bridge = None
    if kind == "adapted":
        # They import PyTorch, which the environment of siamjax does not have.
        from scripts.peer import adapter, bridge

        adapter.install()
    import torch

    said = {}
    for folder, pattern in FOLDERS.items():
        for file in sorted((path / "tests" / folder).glob(pattern)):
            name = f"tests.{folder}.{file.stem}"
            suite = unittest.defaultTestLoader.loadTestsFromName(name)
            for test in flatten(suite):
                if not any(text in test.id() for text in only.split(",")):
                    continue
                for set_seed in (torch.manual_seed, np.random.seed, random.seed):
                    set_seed(0)  # the same draws each time
                said[test.id().removeprefix("tests.")] = run_test(test, bridge)
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


def run_test(test, bridge):
    result = Result()
    if bridge:
        bridge.COUNT["calls"] = 0
    # The class is set up and torn down with the test.
    suite = unittest.TestSuite([test])
    start_s = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        suite.run(result)
    except TooLong:
        result.exceptions.append(sys.exc_info())
    signal.setitimer(signal.ITIMER_PROF, 0)
    said = dict(error="", reason="", calls=bridge.COUNT["calls"] if bridge else 0)
    said["seconds"] = round(time.process_time() - start_s, 1)
    said["skipped"] = bool(result.skipped)
    for kind, error, trace in result.exceptions[:1]:
        place = traceback.extract_tb(trace)[-1]
        said["error"] = f"{kind.__name__} {error} ({place.name}:{place.lineno})"
        while error is not None:
            if bridge and isinstance(error, bridge.NoCounterpart):
                said["reason"] = str(error)
            error = error.__cause__ or error.__context__
    return said


def fails(said):
    """Whether a test failed, but not since siamjax lacks what it asks for."""
    return bool(said["error"]) and not said["reason"]


def judge(plain, adapted):
    """{test: (verdict, why)} of the tests that do not fail as they are.

    Args:
      plain: what those that fail adapted say as they are.
      adapted: what they say with siamjax.
    """
    verdicts = {}
    for test, said in adapted.items():
        if said["skipped"] or (fails(said) and plain[test]["error"]):
            continue
        if said["reason"]:
            verdicts[test] = MISSING, said["reason"]
        elif said["error"].startswith("TooLong"):
            verdicts[test] = UNRELATED, sentence(said["error"])
        elif said["error"].startswith("UsageError"):
            verdicts[test] = DIFFERS, f"{REFUSED}{sentence(said['error'])}"
        elif said["error"]:
            known = KNOWN.get(test.split(".", 2)[2], said["error"])
            verdicts[test] = DIFFERS, known
        elif not said["calls"]:
            verdicts[test] = UNRELATED, ""
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
    "TestDynamicSoftMarginLoss.test_dynamic_soft_margin_loss_with_labels": (
        "there a positive meets every negative, here the nearest one, as in the paper"
    ),
    "TestInstanceLoss.test_instance_loss": (
        "there the target of row i is the column whose number is its label, here row i"
    ),
    "TestNTXentLoss.test_with_no_valid_pairs": (
        "SupCon of P positives without a negative is log P here, as in the paper, 0 "
        "there"
    ),
    "TestP2SGradLoss.test_p2s_grad_loss_with_paper_formula": (
        "the gradient of a weight is that of the cosine here, as in the paper; there "
        "its part along the weight stays in"
    ),
    "TestTripletMarginMiner.test_triplet_margin_miner": (
        "a gap of 6e-8, the rounding of float32 cosines, has the other sign"
    ),
    **dict.fromkeys(
        (
            "TestRankedListLoss.test_ranked_list_loss",
            "TestRankedListLoss.test_ranked_list_loss_simpler",
        ),
        "there 1e-5 for each row is added to the sums of weights",
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


HEAD = """\
# The tests of pytorch-metric-learning

[All losses](index.md)

*Written by `python -m scripts.peer_suite PATH --out docs/losses/peer.md`. PATH is a
source tree of pytorch-metric-learning {version}. Do not edit.*

Its tests of losses, miners, regularisers and metrics run as they are, with siamjax
behind the library's interface: what computes is siamjax's, in float32 and float64 on a
CPU, with gradients. None of its code is here. Of {number} test functions that pass
there and reach siamjax, **{agree} agree**, **{differ} differ** and **{missing} have no
counterpart**.

"""


def format_page(verdicts, version):
    counts = {
        verdict: sum(v == verdict for v, _ in verdicts.values())
        for verdict in (AGREES, DIFFERS, MISSING, UNRELATED)
    }
    page = HEAD.format(
        version=version,
        number=len(verdicts) - counts[UNRELATED],
        agree=counts[AGREES],
        differ=counts[DIFFERS],
        missing=counts[MISSING],
    )
    lines = ["| test | says | why |", "|---|---|---|"]
    in_order = sorted(verdicts.items(), key=lambda item: item[1][0])
    for test, (verdict, why) in in_order:
        if verdict != UNRELATED:
            lines.append(f"| {short_name(test)} | {verdict} | {why} |")
    page += "\n".join(lines) + "\n"
    if counts[UNRELATED]:
        page += LEFT_OUT.format(number=counts[UNRELATED])
        for test, (verdict, why) in in_order:
            if verdict == UNRELATED:
                page += f"- {short_name(test)}{why and ': '}{why}\n"
    return page


LEFT_OUT = """
## Left out

{number} test functions look at the library's own checks and helpers, and never compute
a loss, a miner or a metric:

"""


def short_name(test):
    return test.split(".", 2)[2].replace(".test_", ": ").removesuffix(".test")


if __name__ == "__main__":
    main()
