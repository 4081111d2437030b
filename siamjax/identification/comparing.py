"""Windows of sessions, compared with examples: the evidence on which a rule decides."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.data import features
from siamjax.evaluation import normal_bins, novelty, wccn
from siamjax.identification import examples, normality, sessions, weighing
from siamjax.inference import runs
from siamjax.models import embedder
from siamjax.types import Baseline


class Piece(NamedTuple):
    """Some windows of a session, n of them."""

    traffic: sessions.Traffic
    start_s: np.ndarray  # [n] seconds after the first packet
    counts: np.ndarray  # [n, T, F]
    baseline: Baseline  # [n, F]


def compare_traffic(
    run: runs.Run, traffic: sessions.Traffic, library: examples.Examples
) -> weighing.Evidence:
    """The `Evidence` of a session.

    Args:
      run: embeds the windows.
      traffic: the session.
      library: the examples to compare with.
    """
    return Comparisons(run, library).compare_sessions([traffic])[0]


class Comparisons:
    """Compares windows of sessions with examples.

    The windows of all sessions go through the encoder together. Then those of each
    network are compared in the space that is adapted to it.

    Attributes:
      most: how many windows are embedded at once; None: all of a session, because the
        encoder needs their statistics.
    """

    def __init__(self, run: runs.Run, library: examples.Examples) -> None:
        """Embeds the examples; see `compare_traffic`."""
        self._run, self._library = run, library
        self.most = None if run.config.encoder.norm == "session" else embedder.CHUNK
        counts, baseline, _ = library.inputs
        self._examples = (
            run.embed(*library.inputs),
            np.asarray(features.to_features(counts, baseline, run.scaler)),
        )
        self._spaces: dict[tuple[str, bool], _Space] = {}

    def compare_sessions(
        self, traffics: Sequence[sessions.Traffic]
    ) -> list[weighing.Evidence]:
        """The `Evidence` of each session.

        No more than `embedder.CHUNK` windows are cut at once, besides the counts that
        the sessions hold.
        """
        data, hop = self._run.config.data, sessions.hop_bins(self._run)
        sizes = [
            sessions.count_windows(traffic, data.bins, hop) for traffic in traffics
        ]
        evidence: list[Any] = [None] * len(traffics)
        for block in _cut_blocks(sizes, self.most):
            pieces = [_cut_piece(traffics[i], rows, data, hop) for i, rows in block]
            for members, joined in self.compare(pieces):
                sizes_of = [len(pieces[k].start_s) for k in members]
                for k, part in zip(members, split_windows(joined, sizes_of)):
                    i, rows = block[k]
                    evidence[i] = _fill_rows(evidence[i], part, rows, sizes[i])
        return [
            filled._replace(end_s=len(traffic.counts) * data.bin_s)
            for traffic, filled in zip(traffics, evidence)
        ]

    def compare(
        self, pieces: Sequence[Piece]
    ) -> Iterator[tuple[list[int], weighing.Evidence]]:
        """Yields, for the pieces of each space, which they are and their `Evidence`.

        A space is that of a network, with its baseline or that of the session. The
        evidence has the windows of its pieces in order; each depends on its own counts
        alone. It has no end: `end_s` is 0.
        """
        counts = np.concatenate([piece.counts for piece in pieces])
        baseline = Baseline(
            *map(np.concatenate, zip(*(piece.baseline for piece in pieces)))
        )
        start_s = np.concatenate([piece.start_s for piece in pieces])
        heads, z = self._embed(counts, baseline)
        ends = np.cumsum([len(piece.start_s) for piece in pieces])
        for (_, across), members in _group_pieces(pieces).items():
            space = self._choose_space(pieces[members[0]].traffic.network, across)
            rows = np.concatenate(
                [np.arange(ends[k] - len(pieces[k].start_s), ends[k]) for k in members]
            )
            yield (
                members,
                space.compare(
                    {head: x[rows] for head, x in heads.items()},
                    z[rows],
                    counts[rows],
                    Baseline(*(x[rows] for x in baseline)),
                    start_s[rows],
                ),
            )

    def _choose_space(self, network, across):
        key = (network.name if network else "", across)
        if key not in self._spaces:
            self._spaces[key] = _Space(
                self._run, self._library, self._examples, network, across
            )
        return self._spaces[key]

    def _embed(self, counts, baseline):
        """Points {head: `[N, E]`} and features `[N, T, F]` of windows.

        The programs are of two sizes, so that no number of windows is compiled for.
        """
        run, most = self._run, self.most or max(len(counts), 1)
        points, windows = [], []
        for first in range(0, max(len(counts), 1), most):
            part = [x[first : first + most] for x in (counts, *baseline)]
            size = len(part[0])
            if self.most:
                fixed = embedder.FEW if size <= embedder.FEW else most
                part = [_pad_rows(x, fixed) for x in part]
            inputs = part[0], Baseline(*part[1:])
            heads = run.embed(*inputs)
            points.append({head: x[:size] for head, x in heads.items()})
            windows.append(np.asarray(features.to_features(*inputs, run.scaler))[:size])
        joined = {
            head: np.concatenate([part[head] for part in points]) for head in points[0]
        }
        return joined, np.concatenate(windows)


def _cut_piece(traffic, rows, data, hop):
    """The `Piece` of some windows of a session in a row."""
    first = rows.start * hop
    end = max((rows.stop - 1) * hop + data.bins, first)
    part = traffic._replace(counts=traffic.counts[first:end])
    start, counts, baseline = sessions.slide_windows(part, data.bins, hop)
    return Piece(traffic, (start + first) * data.bin_s, counts, baseline)


def _fill_rows(evidence, part, rows, size):
    """The evidence of so many windows, with that of some of them written into it.

    Args:
      evidence: None before the first part.
      part: of the windows `rows`.
      rows: a slice.
      size: how many windows there are in all.
    """
    columns = weighing.columns_of(part)
    if evidence is None:
        empty = {n: np.empty((size, *x.shape[1:]), x.dtype) for n, x in columns.items()}
        evidence = part._replace(**empty)
    for name, x in columns.items():
        getattr(evidence, name)[rows] = x
    return evidence


def _group_pieces(pieces):
    """{(network or empty, across): which pieces}, sorted."""
    groups: dict[tuple[str, bool], list[int]] = {}
    for k, piece in enumerate(pieces):
        network = piece.traffic.network
        key = network.name if network else "", piece.traffic.across
        groups.setdefault(key, []).append(k)
    return dict(sorted(groups.items()))


def split_windows(
    evidence: weighing.Evidence, sizes: Sequence[int]
) -> list[weighing.Evidence]:
    """Evidence of windows in a row, cut into parts of these sizes."""
    ends = np.cumsum(sizes)
    return [
        weighing.take_windows(evidence, slice(end - size, end))
        for end, size in zip(ends, sizes)
    ]


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
    if block:
        yield block


class _Space:
    """Compares windows with examples in the space of one network."""

    def __init__(self, run, library, embedded, network, across):
        """Takes the examples there.

        Args:
          run: embeds the windows.
          library: the examples to compare with.
          embedded: their points {head: `[X, E]`} and features `[X, T, F]`.
          network: to which the run is adapted; None: to none.
          across: windows are compared with the baseline of the network.
        """
        self._normal = None
        if network is not None:
            self._normal = network.across if across else network.own
            run = network.adapt(run, across=across)
        self._run, self._names = run, library.names
        self._points = run.to_points(*embedded)
        self._to_names = relative_to_names(run, library)

    def compare(self, heads, z, counts, baseline, start_s):
        """The `Evidence` of windows.

        Args:
          heads: {head: `[N, E]`}, their points.
          z: `[N, T, F]`, features.
          counts, baseline: `[N, T, F]` and `[N, F]`, from which the features are.
          start_s: `[N]`, see `weighing.Evidence`.
        """
        run, bin_s = self._run, self._run.config.data.bin_s
        points = run.to_points(heads, z)
        # A window in which nothing was measured has no distance to any example.
        unmeasured = ~np.isfinite(counts).any((1, 2))
        points[unmeasured] = np.nan
        evidence = weighing.compare_windows(
            points,
            self._points,
            self._names,
            start_s=start_s,
            end_s=0.0,
            window_s=counts.shape[1] * bin_s,
            deviation=np.abs(z[:, -(counts.shape[1] // 4) :]).mean((1, 2)),
        )
        moments = wccn.signed_log_moments(z)
        if self._to_names is not None:
            relative = self._to_names(moments, evidence.names)
            evidence = evidence._replace(relative=relative)
        evidence = evidence._replace(hop_s=sessions.hop_bins(run) * bin_s)
        if run.deciding.normal_bins is not None:
            odd = normal_bins.newest_oddness(z, counts, run.deciding.normal_bins)
            lead_s = (counts.shape[1] - 1) * bin_s
            odd = np.where(unmeasured, np.nan, odd)
            return evidence._replace(oddness=odd, lead_s=lead_s)
        if self._normal is None:
            return evidence
        loads = normality.load_ratios(counts, baseline, run.columns)
        odd = normality.oddness(moments, loads, self._normal)
        return evidence._replace(oddness=np.where(unmeasured, np.nan, odd))


def _pad_rows(x, size):
    """An array with rows of zeros up to a size."""
    return np.pad(x, [(0, size - len(x))] + [(0, 0)] * (x.ndim - 1))


def relative_to_names(
    run: runs.Run, library: examples.Examples
) -> Callable[[np.ndarray, Sequence[str]], np.ndarray] | None:
    """A function of moments `[N, 2 * F]` and K names that gives `Evidence.relative`.

    The moments are `wccn.signed_log_moments` of the windows.

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
    known = np.concatenate([training.moments, wccn.signed_log_moments(shown)])
    others = novelty.whiten_others(known, training, whitening)
    spreads = novelty.measure_spreads(training, whitening)
    columns = (*training.names, *library.names)

    def to_names(moments, names):
        distances = novelty.distances_to(moments, others)
        return novelty.nearest_of_names(distances, columns, names, spreads)

    return to_names
