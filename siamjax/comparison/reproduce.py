"""Trains a row of results.csv once more and compares the result.

If the row was trained in a group, it is trained in three ways:

* with its group;
* alone in the program of the group, with copies of the row in all other places;
* in a program for one training. This one adds in another order: its first gradients
  agree to rounding, but later steps need not. Even a gradient that is only rounding
  error, as of a column that hardly changes, makes Adam take a whole step.
"""

import pathlib
from collections.abc import Iterator

import jax
import numpy as np

from siamjax.checks import require
from siamjax.comparison import protocol, tables, trainer, workers
from siamjax.comparison.config import CompareConfig
from siamjax.experiments import runner
from siamjax.losses import registry, search
from siamjax.types import SiamjaxError, UsageError

# The largest difference to the group's weights, trained alone, and to its state after
# one step, in a program of its own.
ALONE = 1e-5


def retrain_row(
    config: CompareConfig, workdir: str | pathlib.Path, which: str
) -> Iterator[str]:
    """Trains the cell of a row again; yields lines that compare it with the stored one.

    Args:
      config: of the comparison.
      workdir: of the comparison; holds the weights to compare with.
      which: `results.csv:ROW`.
    Raises:
      UsageError: there is no such row of a loss.
      SiamjaxError: the cell came out differently.
    """
    runner.use_one_thread()
    row, group = _rows(config, which)
    members = [_member(config, r) for r in group]
    place = group.index(row)
    study = protocol.Study(row["data_set"], protocol.REPEAT, row["method"])
    vmapped = workers.is_vmapped(config)
    outcome = trainer.train_cells(config, row["data_set"], members, vmapped=vmapped)[
        place
    ]
    path = workers.weights_path(workdir, study, members[place])
    new = {head: best.weights for head, best in outcome.best.items()}
    stored = workers.load_weights(path, new)
    apart = _apart(new, stored)
    if apart:
        raise SiamjaxError(
            f"row {row['row']} came out differently, weights by {apart:.3g}: compare "
            "machine and versions with settings.json"
        )
    yield f"row {row['row']}, {row['data_set']}, {row['method']}: weights to the bit"
    for head, best in outcome.best.items():
        yield f"{head}: validation MAP@R {best.score!r} at step {best.step}"
        if repr(best.score) != row[f"{head}.valid_map_at_r"]:
            raise SiamjaxError(
                f"{head}: results.csv has {row[f'{head}.valid_map_at_r']}"
            )
    if vmapped:
        yield from _alone(config, row, members, place, outcome)


def _alone(config, row, members, place, outcome):
    """Lines that compare the cell with itself trained without its group."""
    data_set, member, name = row["data_set"], members[place], f"row {row['row']}"
    copies = [member] * len(members)
    alone = trainer.train_cells(config, data_set, copies, vmapped=True)[place]
    yield from _compare(outcome, alone, f"{name} alone", ALONE)
    group = trainer.train_one_step(config, data_set, members, vmapped=True)[place]
    (single,) = trainer.train_one_step(config, data_set, [member], vmapped=False)
    apart = _apart(group, single)
    yield f"program of its own: first gradients and moments differ by {apart:.3g}"
    if not apart <= ALONE:
        raise SiamjaxError(
            f"{name} in a program of its own differs by more than {ALONE:g}"
        )
    (single,) = trainer.train_cells(config, data_set, [member], vmapped=False)
    yield from _compare(outcome, single, "program of its own, to the end", np.inf)


def _compare(outcome, other, name, most):
    """Lines on the differences of two outcomes; SiamjaxError if weights differ more."""
    for head, best in other.best.items():
        score = abs(best.score - outcome.best[head].score)
        apart = _apart(best.weights, outcome.best[head].weights)
        yield (
            f"{head}: {name}: validation MAP@R differs by {score:.3g}, "
            f"weights by {apart:.3g}"
        )
        if not apart <= most:
            raise SiamjaxError(f"{name} differs by more than {most:g}")


def _rows(config, which):
    """The row, and all rows that were trained in one program with it."""
    path, _, number = which.rpartition(":")
    require(
        path and number.isdigit(),
        f"--reproduce={which} is not FILE:ROW, such as results.csv:3",
    )
    if not pathlib.Path(path).exists():
        raise UsageError(f"--reproduce: there is no {path}")
    rows = tables.read_csv(path)
    require(int(number) < len(rows), f"{path} has rows 0 to {len(rows) - 1}")
    row = rows[int(number)]
    require(
        row["loss"] == "True",
        f"row {number} is {row['method']}, a baseline: give a row of a loss",
    )
    if not workers.is_vmapped(config):
        return row, [row]
    same = ("data_set", "method")
    return row, [r for r in rows if all(r[k] == row[k] for k in same)]


def _member(config, row):
    """The cell of a row; the texts of its numbers are exact."""
    setting = {
        head: (row["method"], _values(row["method"], row[f"{head}.setting"]))
        for head in config.train.active_heads
    }
    return protocol.Member(int(row["fold"]), int(row["seed"]), setting)


def _values(method, text):
    parts = registry.parse(text)
    given = {
        f"{i}.{key}" if len(parts) > 1 else key: value
        for i, part in enumerate(parts)
        for key, value in part.given.items()
    }
    return {name: given[name] for name in search.space(method)}


def _apart(first, second):
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second))
    return max(float(np.abs(a - b).max(initial=0.0)) for a, b in pairs)
