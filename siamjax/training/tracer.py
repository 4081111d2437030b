"""Traces a run: embeds the same windows at chosen steps, for the film and the page."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from siamjax.config import Config
from siamjax.data import windows
from siamjax.data.splits import Splits
from siamjax.reports import trace
from siamjax.training import hosts
from siamjax.training.state import TrainState
from siamjax.training.step import Parts
from siamjax.types import TEST, TRAIN, VALID, Windows


@contextlib.contextmanager
def open_tracer(
    workdir: str | pathlib.Path,
    step: int,
    *,
    splits: Splits,
    parts: Parts,
    config: Config,
    embed: Callable[..., dict[str, np.ndarray]],
) -> Iterator[tuple[Callable[[TrainState, int], None], Callable[[], None]]]:
    """Gives `record_trace(state, step)` and `flush()`, to write the trace of a run.

    All processes embed, and the first one writes.

    Args:
      workdir: of the run.
      step: the step that the run starts from; later steps of an old trace are dropped.
      splits: of the data.
      parts: of the training.
      config: of the run; about `trace_windows` windows are embedded at each step.
      embed: what `models.embedder.make_embedder` gives.
    """
    chosen, roles = choose_windows(splits, config.trace_windows)
    head = "view" if "view" in parts.heads else config.deciding_head
    inputs = splits.inputs(chosen)
    writer = partial(
        trace.open_writer,
        workdir,
        step,
        head=head,
        dim=parts.heads[head].dim,
        conditions=[splits.conditions.names[c] for c in chosen.condition],
        captures=[splits.sessions.names[s] for s in chosen.session],
        times=chosen.start * config.data.bin_s,
        roles=roles,
        novel=splits.conditions.held_out,
    )
    with hosts.on_first(writer) as write:

        def record_trace(state, step):
            params = state.params["encoder"]
            final = parts.encoder.finalise(state.batch_stats)
            points = embed(params, final, splits.scaler, *inputs)
            if write is not None:
                write.append(step, points[head])

        yield record_trace, write.flush if write is not None else lambda: None


def choose_windows(splits: Splits, limit: int) -> tuple[Windows, list[str]]:
    """About `limit` windows, and the role of each.

    Each condition in each role gets the same number. Known conditions are taken from
    training and validation captures, `novel_valid` ones from validation captures, novel
    ones from test captures. These windows are shown only; they decide nothing.
    """
    known = splits.conditions.known
    groups = [(TRAIN, name) for name in known]
    groups += [(VALID, name) for name in (*known, *splits.conditions.novel_valid)]
    groups += [(TEST, name) for name in splits.conditions.novel]
    shown = [(role, splits.windows_of(role, [name])) for role, name in groups]
    shown = [(role, members) for role, members in shown if len(members.start)]
    share = max(1, limit // max(1, len(shown)))
    chosen, roles = [], []
    for role, members in shown:
        count = min(share, len(members.start))
        rows = np.linspace(0, len(members.start) - 1, count).round().astype(int)
        chosen.append(Windows(*(np.asarray(x)[rows] for x in members)))
        roles += [role] * count
    return windows.join(chosen), roles
