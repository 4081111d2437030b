"""Cross-fitted one-shot recall of every condition, novel and known, of any setting.

    python -m scripts.experiments.quality --workdir=runs/quality \
        --setting default --setting wide:encoder.hidden=(128,)

Each capture is in a test fold once. Over six choices of three novel faults, each fault
is novel once or twice. A cell is one training: setting x choice of novel conditions x
seed x fold. A cell that is done is not run again. Settings are chosen with --valid. The
table that is reported comes from --novalid: those trainings also see the conditions
that were held out to choose settings.
"""

import functools
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from scripts.experiments import quality_cells
from siamjax import cli
from siamjax.evaluation import baselines, cross_fit, statistics
from siamjax.experiments import runner, settings

_WORKDIR = flags.DEFINE_string("workdir", "runs/quality", "Where cells are kept.")
_CONFIG = flags.DEFINE_string("base", "default", "Module of configs/ to start from.")
_SETTINGS = flags.DEFINE_multi_string(
    "setting", ["default"], "NAME or NAME:field=value,field=value, of the config."
)
_CHOICES = flags.DEFINE_multi_integer(
    "choice", list(range(6)), "Which choice of novel conditions, of 6."
)
_FOLDS = flags.DEFINE_integer("folds", 4, "How many of the 4 folds to use as test.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "How many seeds.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count(), "Processes of one thread.")
_STEPS = flags.DEFINE_list("at", [], "Also judge after so many steps.")
_VALID = flags.DEFINE_bool(
    "valid", True, "Judge on validation captures; else on test captures."
)
_CONDITIONS = flags.DEFINE_integer("conditions", 9, "Conditions to train on, of 9.")

CELL_S = 12.0  # of one core, for the first estimate of the cost
# Methods that are not a trained Siamese network.
SIMPLE = (
    *baselines.BASELINES,
    *(f"{name}, clipped" for name in quality_cells.DISTANCES),
    "untrained match",
    "untrained learnt alone",
    "untrained view",
)
TOLD = 0.98  # a condition with a lower recall is listed


def main(argv):
    cli.no_arguments(argv)
    settings.check_names(_SETTINGS.value)
    cells = [
        dict(
            setting=setting,
            base=_CONFIG.value,
            fold=fold,
            choice=choice,
            seed=seed,
            valid=_VALID.value,
            at=[int(step) for step in _STEPS.value],
            conditions=_CONDITIONS.value,
        )
        for setting, choice, seed, fold in itertools.product(
            _SETTINGS.value,
            _CHOICES.value,
            range(_SEEDS.value),
            range(_FOLDS.value),
        )
    ]
    results = runner.run_cells(
        functools.partial(quality_cells.run, workdir=_WORKDIR.value),
        cells,
        pathlib.Path(_WORKDIR.value) / quality_cells.CELLS,
        workers=_WORKERS.value,
        cell_s=CELL_S,
    )
    for setting in _SETTINGS.value:
        of_setting = [
            dict(cell, rows=rows)
            for cell, rows in zip(cells, results)
            if cell["setting"] == setting
        ]
        for line in summary(setting, of_setting):
            print(line)


def summary(setting: str, cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines: recall of each method as known and as novel, and beside each baseline."""
    yield f"{setting} ({len(cells)} cells)"
    rows = [cross_fit.Row(*row) for cell in cells for row in cell["rows"]]
    last = max(row.step for row in rows)
    for step, shots in sorted({(row.step, row.shots) for row in rows if row.step}):
        rows_of_step = [
            row for row in rows if row.shots == shots and row.step in (0, step)
        ]
        yield f" after {step} steps, examples of each condition: {shots}"
        for role, tables in cross_fit.tabulate(rows_of_step).items():
            names = sorted({row.condition for row in rows_of_step if row.role == role})
            for method, table in tables.items():
                recalls = zip(cross_fit.by_condition(table), names)
                told = " ".join(f"{n} {r:.2f}" for r, n in sorted(recalls) if r < TOLD)
                recall = _cell(statistics.recall_interval(table))
                yield f"  {role} {method:26s} {recall}  {told}"
            if step == last:
                yield from _differences(role, tables)


def _differences(role, tables):
    """Lines: each trained method less each simple one."""
    for method in (name for name in tables if name not in SIMPLE):
        for baseline in (name for name in tables if name in SIMPLE):
            apart = cross_fit.subtract(tables[method], tables[baseline])
            yield f"   {role} {method} less {baseline}: {_cell(apart, '+')}"


def _cell(interval, sign=""):
    value, low, high = (f"{x:{sign}.3f}" for x in interval[:3])
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    cli.run(main)
