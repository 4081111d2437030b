"""The whole audit of a subject: every probe, and the verdict."""

from typing import NamedTuple

from siamjax.auditing import gap, probes, statistics, verdict
from siamjax.auditing import subject as subjects


class Report(NamedTuple):
    """An audit, as plain numbers and texts."""

    norm: str
    columns: tuple  # F names
    gaps: dict  # name of statistics -> gap.Gap; `moving` is the run's own
    probes: dict  # name -> number or dict
    verdict: verdict.Verdict

    def plain(self):
        """As JSON takes it."""
        return dict(
            norm=self.norm,
            columns=self.columns,
            verdict=self.verdict._asdict(),
            gaps={name: g._asdict() for name, g in self.gaps.items()},
            probes=self.probes,
        )


def examine(subject, batches, *, steps=None, reloaded=None, inputs=None):
    """`Report` of an encoder on batches of its training.

    Args:
      subject: `subject.Subject`.
      batches: `subject.Batches`.
      steps: of the training; the statistics' own count by default.
      reloaded: `TrainStats` read again from disk, to be compared.
      inputs: of `inputs.compare`.
    """
    found_gaps = gaps(subject, batches)
    stateless = subject.norm in verdict.STATELESS
    steps = int(subject.stats.updates) if steps is None else steps
    found = dict(
        population=probes.population(batches),
        leak=0.0 if stateless else probes.leak(subject, batches),
        padding=probes.padding(batches),
        numerics=probes.numerics(batches, subject.columns),
        hygiene=probes.hygiene(subject, batches, steps, reloaded),
    )
    if not stateless:
        found["lag"] = probes.lag(subject, batches)
        found["devices"] = probes.devices(subject, batches)
    if inputs is not None:
        found["inputs"] = inputs
    decided = verdict.decide(subject.norm, found_gaps, inputs)
    return Report(subject.norm, subject.columns, found_gaps, found, decided)


def gaps(subject, batches):
    """name of statistics -> `gap.Gap`: training mode against each of the candidates."""
    train = subjects.look(subject, batches)
    return {
        name: gap.gap(train, subjects.look(subject, batches, *candidate))
        for name, candidate in statistics.candidates(subject, batches).items()
    }
