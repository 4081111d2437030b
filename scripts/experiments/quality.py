"""Cross-fitted one-shot recall of every condition, novel and known, of any setting.

    python scripts/experiments/quality.py --workdir=runs/quality \
        --setting default --setting wide:encoder.hidden=(128,)

Each capture is in a test fold once; each fault is novel once or twice in six choices of
three. A cell is one training: setting x choice of novel conditions x seed x fold. A
cell that is done is not done again. Settings are chosen with --valid; the table that is
reported comes from --novalid, whose trainings see the conditions that chose, too.
"""

import itertools
import json
import os
import pathlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import cross_fit
import quality_cells
from absl import flags

from siamjax import cli
from siamjax.evaluation import baselines, statistics

_WORKDIR = flags.DEFINE_string("workdir", "runs/quality", "Where cells are kept.")
_CONFIG = flags.DEFINE_string("base", "default", "Module of configs/ to start from.")
_SETTINGS = flags.DEFINE_multi_string(
    "setting", ["default"], "NAME or NAME:field=value;field=value, of the config."
)
_CHOICES = flags.DEFINE_multi_integer(
    "choice", list(range(6)), "Of novel conditions, one of 6."
)
_FOLDS = flags.DEFINE_integer("folds", 4, "Folds to take as test, of 4.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count(), "Processes of one thread.")
_STEPS = flags.DEFINE_list("at", [], "Also judge after so many steps.")
_VALID = flags.DEFINE_bool("valid", True, "Judge on validation; else on test captures.")
_CONDITIONS = flags.DEFINE_integer("conditions", 9, "Conditions to train on, of 9.")

CELL_S = 12  # of one core, about: what the first estimate of the cost goes by
# What is no trained Siamese network.
SIMPLE = (
    *baselines.BASELINES, *(f"{name}, clipped" for name in quality_cells.DISTANCES),
    "untrained match", "untrained learnt alone", "untrained view",
)  # fmt: skip
TOLD = 0.98  # a condition below it is named


def main(argv):
    cli.no_arguments(argv)
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    cells = [
        dict(
            setting=setting, base=_CONFIG.value, fold=fold, choice=choice, seed=seed,
            valid=_VALID.value, at=[int(a) for a in _STEPS.value],
            conditions=_CONDITIONS.value,
        )
        for setting, choice, seed, fold in itertools.product(
            _SETTINGS.value,
            _CHOICES.value,
            range(_SEEDS.value),
            range(_FOLDS.value),
        )
    ]  # fmt: skip
    done = quality_cells.read(workdir)
    todo = [cell for cell in cells if quality_cells.key_of(cell) not in done]
    minutes = len(todo) * CELL_S / 60 / _WORKERS.value
    print(
        f"{len(cells)} cells, {len(todo)} to do, about {minutes:.0f} min with "
        f"{_WORKERS.value} workers",
        flush=True,
    )
    _run(todo, workdir)
    done = quality_cells.read(workdir)
    for setting in _SETTINGS.value:
        own = [cell for cell in cells if cell["setting"] == setting]
        of = [done[quality_cells.key_of(cell)] for cell in own]
        for line in summary(setting, of):
            print(line)


def summary(setting, cells):
    """Lines: recall of each method as known and as novel, and beside each baseline."""
    yield f"{setting} ({len(cells)} cells)"
    rows = [cross_fit.Row(*row) for cell in cells for row in cell["rows"]]
    last = max(row.step for row in rows)
    for step, shots in sorted({(row.step, row.shots) for row in rows if row.step}):
        here = [row for row in rows if row.shots == shots and row.step in (0, step)]
        yield f" after {step} steps, examples of each condition: {shots}"
        for role, of in cross_fit.tables(here).items():
            names = sorted({row.condition for row in here if row.role == role})
            for method, table in of.items():
                each = zip(cross_fit.by_condition(table), names)
                told = " ".join(f"{n} {r:.2f}" for r, n in sorted(each) if r < TOLD)
                recall = _cell(statistics.recall_interval(table))
                yield f"  {role} {method:26s} {recall}  {told}"
            if step == last:
                yield from _differences(role, of)


def _differences(role, of):
    """Lines: each trained method less each simple one."""
    for method in (name for name in of if name not in SIMPLE):
        for baseline in (name for name in of if name in SIMPLE):
            apart = cross_fit.less(of[method], of[baseline])
            yield f"   {role} {method} less {baseline}: {_cell(apart, '+')}"


def _cell(interval, sign=""):
    value, low, high = (f"{x:{sign}.3f}" for x in interval[:3])
    return f"{value} [{low}, {high}]"


def _run(todo, workdir):
    """Does the cells, `_WORKERS` at a time, and appends each result to the file."""
    flags_now = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags_now} --xla_cpu_multi_thread_eigen=false"
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.time()
    with (
        # Spawned, for a process that has loaded JAX cannot be forked.
        ProcessPoolExecutor(_WORKERS.value, get_context("spawn")) as pool,
        (workdir / quality_cells.CELLS).open("a") as file,
    ):
        jobs = [pool.submit(quality_cells.run, cell, workdir) for cell in todo]
        for i, job in enumerate(as_completed(jobs), 1):
            file.write(json.dumps(job.result()) + "\n")
            file.flush()
            left = (time.time() - start) / i * (len(todo) - i)
            print(
                f"\r{i}/{len(todo)}, {left / 60:.0f} min left ", end="", file=sys.stderr
            )


if __name__ == "__main__":
    cli.run(main)
