"""A board from its config to its table."""

import functools
import itertools
import os
import pathlib
from typing import Any

from siamjax import files
from siamjax.data import prepared
from siamjax.experiments import runner, sources
from siamjax.networks import cells, table
from siamjax.networks.config import BoardConfig
from siamjax.types import UsageError

CELLS, VALID_CELLS = "cells.jsonl", "valid_cells.jsonl"
# Seconds of one core for a cell, for the first estimate of the cost.
CELL_S = 20.0


def run_board(
    config: BoardConfig, workdir: str | pathlib.Path, *, valid: bool = False
) -> dict[str, Any]:
    """Trains and judges every cell that is not done yet, and writes the table.

    Writes board.json, board.csv and board.md (with `valid`, valid_board.*).

    Args:
      config: see configs/board.py.
      workdir: keeps what is done; the same call goes on from there.
      valid: judge on validation captures, to choose settings; else on the test.
    Returns:
      The dict of `networks.table`.
    Raises:
      UsageError: a network has no data set; then nothing is trained.
      SiamjaxError, Interrupted: see `experiments.runner.run_cells`.
    """
    for name, network in config.networks.items():
        folder = config.train_on(name, config.settings[0]).data.dir
        where = f"config.networks.{name}.source"
        sources.make_if_missing(network.source, folder, where)
    check_data_sets(config)
    workdir = pathlib.Path(workdir)
    listed = cells.list_cells(config, valid=valid)
    path = workdir / (VALID_CELLS if valid else CELLS)
    results = runner.run_cells(
        functools.partial(cells.run_cell, config),
        listed,
        path,
        workers=config.workers or os.cpu_count() or 1,
        cell_s=CELL_S,
    )
    with files.parsing(path, runner.REMEDY):
        built = table.build_table(listed, results)
    name = "valid_board" if valid else "board"
    files.write_json(workdir / f"{name}.json", built)
    files.write_csv(workdir / f"{name}.csv", table.csv_rows(built))
    files.write_text(workdir / f"{name}.md", table.format_markdown(built))
    return built


def check_data_sets(config: BoardConfig) -> None:
    """Raises `UsageError` if the data set of a network cannot be used.

    The line names the network, and the command that prepares its data set.
    """
    for network, setting in itertools.product(config.networks, config.settings):
        try:
            prepared.read_current_meta(config.train_on(network, setting).data.dir)
        except UsageError as error:
            raise UsageError(
                f"network {network}: {error}; or leave {network} out of the board"
            ) from None
