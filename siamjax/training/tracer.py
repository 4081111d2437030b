"""Traces a run: embeds the same windows at chosen steps, for the film and the page."""

import contextlib

import numpy as np

from siamjax.data import windows
from siamjax.models import embedder
from siamjax.reports import trace
from siamjax.types import TEST, TRAIN, VALID, Baseline, Windows


@contextlib.contextmanager
def open_tracer(workdir, step, splits, parts, config, points):
    """Gives `add(state, step)` and `flush()`, which write the trace of a run.

    Args:
      workdir: of the run.
      step: where the run starts or goes on; the trace is cut back to it.
      splits: `data.splits.Splits`.
      parts: `training.step.Parts`.
      config: of the run; `trace_windows` of them are embedded at each step traced.
      points: `models.embedder.make_embedder`.
    """
    chosen, roles = choose_windows(splits, config.trace_windows)
    head = "view" if "view" in parts.losses else parts.decide_with
    counts = embedder.cut_windows(splits.counts, chosen, parts.length)
    baseline = Baseline(*(np.asarray(x)[chosen.session] for x in splits.baseline))
    with trace.open_writer(
        workdir,
        step,
        head=head,
        dim=parts.losses[head][1],
        conditions=[splits.conditions[c] for c in chosen.condition],
        captures=[splits.sessions[s] for s in chosen.session],
        times=chosen.start * config.data.bin_s,
        roles=roles,
        novel=splits.conditions[splits.known :],
    ) as write:

        def add(now, at):
            final = parts.encoder.finalise(now.batch_stats)
            embedded = points(
                now.params["encoder"], final, splits.scaler, counts, baseline
            )
            write.append(at, embedded[head])

        yield add, write.flush


def choose_windows(splits, limit):
    """About `limit` windows, the same number of each condition in each role, and roles.

    Known conditions come from training and validation captures, those that choose
    checkpoints from validation captures, and those for the test from test captures,
    which are only looked at here and choose nothing.
    """
    known = splits.conditions[: splits.known]
    groups = [(TRAIN, name) for name in known]
    groups += [(VALID, name) for name in (*known, *splits.novel_valid)]
    groups += [(TEST, name) for name in splits.novel]
    found = [(role, splits.of(role, [name])) for role, name in groups]
    found = [(role, some) for role, some in found if len(some.start)]
    each = max(1, limit // max(1, len(found)))
    parts, roles = [], []
    for role, some in found:
        many = min(each, len(some.start))
        rows = np.linspace(0, len(some.start) - 1, many).round().astype(int)
        parts.append(Windows(*(np.asarray(x)[rows] for x in some)))
        roles += [role] * many
    return windows.join(parts), roles
