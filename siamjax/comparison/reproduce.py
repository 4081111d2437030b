"""A row of results.csv once more: with its group, alone, and in a program of its own.

With its group and alone are one program, whose other places the row itself fills when
it is alone, so it comes out the same. A program for a single training adds in another
order: its first gradients agree to rounding, later steps need not. Where a weight's
gradient is nothing but rounding, as of a column that hardly ever moves, Adam makes a
whole step of it.
"""

import pathlib

import jax
import numpy as np

from siamjax.checks import require
from siamjax.comparison import protocol, tables, trainer, workers
from siamjax.experiments import runner
from siamjax.losses import registry, search
from siamjax.types import SiamjaxError, UsageError

# What may differ: the weights of the row alone from those with its group, and the state
# after one step in a program of its own.
ALONE = 1e-5


def reproduce(config, workdir, which):
    """Lines that say how the row's cell came out again.

    Args:
      config: of the comparison.
      workdir: of the comparison, with the weights that the row is compared with.
      which: `results.csv:ROW`.
    Raises:
      UsageError: there is no such row of a loss.
      SiamjaxError: the cell came out differently.
    """
    runner.one_thread()
    row, group = _rows(config, which)
    members = [_member(config, r) for r in group]
    at = group.index(row)
    study = protocol.Study(row["data_set"], protocol.REPEAT, row["method"])
    many = workers.vmapped(config)
    got = trainer.train(config, row["data_set"], members, vmapped=many)[at]
    path = workers.weights_path(workdir, study, members[at])
    new = {head: best.weights for head, best in got.best.items()}
    stored = workers.load(path, new)
    apart = _apart(new, stored)
    if apart:
        raise SiamjaxError(
            f"row {row['row']} came out differently, weights by {apart:.3g}: another "
            "machine, version or program?"
        )
    yield f"row {row['row']}, {row['data_set']}, {row['method']}: weights to the bit"
    for head, best in got.best.items():
        yield f"{head}: validation MAP@R {best.score!r} at step {best.step}"
        if repr(best.score) != row[f"{head}.valid_map_at_r"]:
            raise SiamjaxError(
                f"{head}: results.csv has {row[f'{head}.valid_map_at_r']}"
            )
    if many:
        yield from _alone(config, row, members, at, got)


def _alone(config, row, members, at, got):
    """Lines that say how the cell comes out without its group."""
    how, one = (config, row["data_set"]), members[at]
    alone = trainer.train(*how, [one] * len(members), vmapped=True)[at]
    yield from _against(got, alone, f"row {row['row']} alone", ALONE)
    group = trainer.begun(*how, members, vmapped=True)[at]
    (single,) = trainer.begun(*how, [one], vmapped=False)
    apart = _apart(group, single)
    yield f"program of its own: first gradients and moments differ by {apart:.3g}"
    if not apart <= ALONE:
        raise SiamjaxError(
            f"row {row['row']} in a program of its own differs by more than {ALONE:g}"
        )
    (single,) = trainer.train(*how, [one], vmapped=False)
    yield from _against(got, single, "program of its own, to the end", np.inf)


def _against(got, other, name, most):
    """Lines that say how far two outcomes are apart; refuses weights further apart."""
    for head, best in other.best.items():
        score = abs(best.score - got.best[head].score)
        apart = _apart(best.weights, got.best[head].weights)
        yield (
            f"{head}: {name}: validation MAP@R differs by {score:.3g}, "
            f"weights by {apart:.3g}"
        )
        if not apart <= most:
            raise SiamjaxError(f"{name} differs by more than {most:g}")


def _rows(config, which):
    """The row, and all rows of the program that it was trained in."""
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
        row["loss"] == "True", f"row {number} is {row['method']}, which is not trained"
    )
    if not workers.vmapped(config):
        return row, [row]
    same = ("data_set", "method")
    return row, [r for r in rows if all(r[k] == row[k] for k in same)]


def _member(config, row):
    """The cell of a row; its texts hold every number to the last bit."""
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
