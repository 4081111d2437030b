"""Windows of sessions, compared with examples: the evidence on which a rule decides."""

from collections.abc import Callable, Sequence

import numpy as np

from siamjax.data import features
from siamjax.evaluation import novelty, wccn
from siamjax.identification import examples, sessions, weighing
from siamjax.inference import runs
from siamjax.models import embedder
from siamjax.types import Baseline


def compare_traffic(
    run: runs.Run,
    traffic: sessions.Traffic,
    library: examples.Examples,
    network: sessions.Adapted | None = None,
) -> weighing.Evidence:
    """The `Evidence` of a session.

    Args:
      run: embeds the windows.
      traffic: the session.
      library: the examples to compare with.
      network: to which the run is adapted, if it is.
    """
    return Comparisons(run, library, network).compare_sessions([traffic])[0]


class Comparisons:
    """Compares sessions with examples: windows of several sessions share a program."""

    def __init__(
        self,
        run: runs.Run,
        library: examples.Examples,
        network: sessions.Adapted | None = None,
    ) -> None:
        """See `compare_traffic`."""
        self._run, self._library, self._network = run, library, network
        self._comparisons: dict[bool, Comparison] = {}

    def choose(self, across: bool) -> "Comparison":
        """The comparison of windows with the baseline of the network, or with that of
        their session."""
        if across not in self._comparisons:
            self._comparisons[across] = Comparison(
                self._run, self._library, self._network, across=across
            )
        return self._comparisons[across]

    def compare_sessions(
        self, traffics: Sequence[sessions.Traffic]
    ) -> list[weighing.Evidence]:
        """The `Evidence` of each session.

        No more than `embedder.CHUNK` windows are copied at once.
        """
        evidence: dict[int, weighing.Evidence] = {}
        for across in {traffic.across for traffic in traffics}:
            chosen = [i for i, x in enumerate(traffics) if x.across == across]
            together = [traffics[i] for i in chosen]
            evidence |= zip(chosen, self._compare(together, self.choose(across)))
        return [evidence[i] for i in range(len(traffics))]

    def _compare(self, traffics, comparison):
        data, hop = self._run.config.data, sessions.hop_bins(self._run)
        windows = [
            sessions.slide_windows(traffic, data.bins, hop) for traffic in traffics
        ]
        sizes = [len(start) for start, _, _ in windows]
        parts: list[list[weighing.Evidence]] = [[] for _ in traffics]
        for block in _cut_blocks(sizes, comparison.most):
            pieces = [_take(windows[i], rows) for i, rows in block]
            start, counts, mean, deviation = map(np.concatenate, zip(*pieces))
            joined = comparison.compare(
                counts,
                Baseline(mean, deviation),
                start_s=start * data.bin_s,
                end_s=0.0,
            )
            first = 0
            for i, rows in block:
                end = first + rows.stop - rows.start
                parts[i].append(weighing.take_windows(joined, slice(first, end)))
                first = end
        return [
            weighing.join_windows(part)._replace(end_s=len(traffic.counts) * data.bin_s)
            for traffic, part in zip(traffics, parts)
        ]


def _take(windows, rows):
    start, counts, baseline = windows
    return start[rows], counts[rows], *(x[rows] for x in baseline)


def _cut_blocks(sizes, most):
    """Yields blocks `[(session, slice of its windows), ...]` of all windows in order.

    Args:
      sizes: how many windows each session has.
      most: windows of a block, the last one has fewer; None: a block is a session.
    """
    if most is None:
        yield from ([(i, slice(0, size))] for i, size in enumerate(sizes))
        return
    block, left = [], most
    for i, size in enumerate(sizes):
        first = 0
        while left < size - first:
            block.append((i, slice(first, first + left)))
            yield block
            block, first, left = [], first + left, most
        block.append((i, slice(first, size)))
        left -= size - first
    yield block


class Comparison:
    """Compares windows with examples, whose points are computed once.

    Attributes:
      most: how many windows are compared at once; None: all of a session, because the
        encoder needs their statistics.
    """

    def __init__(
        self,
        run: runs.Run,
        library: examples.Examples,
        network: sessions.Adapted | None = None,
        *,
        across: bool = False,
    ) -> None:
        """Embeds the examples.

        Args:
          run: embeds the windows.
          library: the examples to compare with.
          network: to which the run is adapted, if it is.
          across: windows are compared with the baseline of the network.
        """
        self._normal = None
        if network is not None:
            self._normal = network.across if across else network.own
            run = network.adapt(run, across=across)
        self._run, self.names = run, library.names
        self.most = None if run.config.encoder.norm == "session" else embedder.CHUNK
        self._points = run.compared(*library.inputs)
        self._to_names = relative_to_names(run, library)

    def compare(
        self, counts: np.ndarray, baseline: Baseline, start_s: np.ndarray, end_s: float
    ) -> weighing.Evidence:
        """The `Evidence` of windows; each depends on its own counts alone.

        The programs are of two sizes, so that no number of windows is compiled for.

        Args:
          counts: `[N, T, F]`.
          baseline: `[N, F]`.
          start_s, end_s: see `weighing.Evidence`.
        """
        most = self.most or max(len(counts), 1)
        parts = []
        for first in range(0, max(len(counts), 1), most):
            rows = slice(first, first + most)
            part = counts[rows], *(x[rows] for x in baseline), start_s[rows]
            size = len(part[0])
            if self.most:
                fixed = embedder.FEW if size <= embedder.FEW else most
                part = tuple(_pad_rows(x, fixed) for x in part)
            joined = self._compare(part[0], Baseline(*part[1:3]), part[3], end_s)
            parts.append(weighing.take_windows(joined, slice(size)))
        return weighing.join_windows(parts)

    def _compare(self, counts, baseline, start_s, end_s):
        run = self._run
        points = run.compared(counts, baseline)
        # A window in which nothing was measured has no distance to any example.
        unmeasured = ~np.isfinite(counts).any((1, 2))
        points[unmeasured] = np.nan
        z = np.asarray(features.to_features(counts, baseline, run.scaler))
        evidence = weighing.compare_windows(
            points,
            self._points,
            self.names,
            start_s=start_s,
            end_s=end_s,
            window_s=counts.shape[1] * run.config.data.bin_s,
            deviation=np.abs(z[:, -(counts.shape[1] // 4) :]).mean((1, 2)),
        )
        if self._to_names is not None:
            relative = self._to_names(z, evidence.names)
            evidence = evidence._replace(relative=relative)
        if self._normal is None:
            return evidence
        odd = sessions.oddness_of_features(run, self._normal, counts, baseline, z)
        return evidence._replace(oddness=np.where(unmeasured, np.nan, odd))


def _pad_rows(x, size):
    """An array with rows of zeros up to a size."""
    return np.pad(x, [(0, size - len(x))] + [(0, 0)] * (x.ndim - 1))


def relative_to_names(
    run: runs.Run, library: examples.Examples
) -> Callable[[np.ndarray, Sequence[str]], np.ndarray] | None:
    """A function of features `[N, T, F]` and K names that gives `Evidence.relative`.

    Args:
      run: that was evaluated.
      library: the examples to compare with.
    Returns:
      None: the run keeps no training windows.
    """
    training, whitening = run.deciding.training, run.deciding.whitening
    if training is None or whitening is None:
        return None
    shown = np.asarray(features.to_features(*library.inputs[:2], run.scaler))
    others = np.concatenate([training.moments, wccn.signed_log_moments(shown)])
    columns = (*training.names, *library.names)

    def to_names(z, names):
        moments = wccn.signed_log_moments(z)
        distances = novelty.relative_distances(moments, others, training, whitening)
        return novelty.nearest_of_names(distances, columns, names)

    return to_names
