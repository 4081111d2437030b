"""How each loss moves the same windows: the film of its first training, made anew."""

from siamjax.comparison import protocol, trainer
from siamjax.experiments import runner
from siamjax.reports import trace
from siamjax.training import tracer


def make(config, workdir, some):
    """{(data set, loss): `reports.trace.Trace`} of repeat 0 on fold 0 of each loss.

    The training is run once more, to the same bits, and looked at on its way; the
    test's windows are shown only because the final readout is over.
    """
    return {
        (one.data_set, one.method): _film(config, workdir, one)
        for one in some
        if one.about and one.repeat == 0 and one.fold == 0
    }


def _film(config, workdir, one):
    folder = workdir / "films" / runner.digest(one.name)
    train = protocol.training(config, one.data_set, one.fold)
    stops = trace.choose_steps(train.steps, train.trace_frames)
    found = trace.read_trace(folder)
    if found is not None and found.steps[-1] == train.steps:
        return found
    member = protocol.Member(one.fold, one.about["seed"], one.about["setting"])
    ready = trainer.prepared(train, protocol.splits(train, blind=True), member)
    program, now, at = trainer.program_of(ready, many=False), ready.state, 0
    shown = protocol.splits(train, blind=False)
    traced = tracer.open_tracer(
        folder,
        -1,
        splits=shown,
        parts=ready.parts,
        config=train,
        embed=program.embed,
    )
    with traced as (see, _):
        for stop in stops:
            now, at = program.run(now, stop - at, ready.data), stop
            see(now, at)
    return trace.read_trace(folder)
