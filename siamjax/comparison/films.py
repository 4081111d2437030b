"""How each loss moves the same windows: its first training run again, with a trace."""

import pathlib
from collections.abc import Iterable

from siamjax.comparison import protocol, trainer
from siamjax.comparison.config import CompareConfig
from siamjax.comparison.test_readout import Cell
from siamjax.experiments import runner
from siamjax.reports import trace
from siamjax.training import tracer


def make_films(
    config: CompareConfig, workdir: pathlib.Path, cells: Iterable[Cell]
) -> dict[tuple[str, str], trace.Trace]:
    """{(data set, loss): the trace} of repeat 0 on fold 0 of each loss.

    The training is run again and gives the same bits. Its trace shows windows of the
    test, so it is made after the final readout.
    """
    return {
        (cell.data_set, cell.method): _film(config, workdir, cell)
        for cell in cells
        if cell.about and cell.repeat == 0 and cell.fold == 0
    }


def _film(config, workdir, cell):
    folder = workdir / "films" / runner.digest(cell.name)
    train = protocol.training_config(config, cell.data_set, cell.fold)
    stops = trace.choose_steps(train.steps, train.trace_frames)
    stored = trace.read_trace(folder)
    if stored is not None and stored.steps[-1] == train.steps:
        return stored
    member = protocol.Member(cell.fold, cell.about["seed"], cell.about["setting"])
    ready = trainer.prepare_training(
        train, protocol.cell_splits(train, blind=True), member
    )
    program = trainer.get_program(ready, many=False)
    state, step = ready.state, 0
    traced = tracer.open_tracer(
        folder,
        -1,
        splits=protocol.cell_splits(train, blind=False),
        parts=ready.parts,
        config=train,
        embed=program.embed,
    )
    with traced as (record_trace, _):
        for stop in stops:
            state, step = program.run(state, stop - step, ready.data), stop
            record_trace(state, step)
    return trace.read_trace(folder)
