"""Which columns of a table hold the time, and which tell rows of one time apart."""

import re
from typing import Any, NamedTuple

import numpy as np

from siamjax.capture import quantities, tables, times

TIME_NAMES = ("time", "timestamp", "datetime", "date", "ts", "epoch", "@timestamp")
# Words in the name of a column that can be the time.
_TIME_WORDS = frozenset(("time", "timestamp", "datetime", "date", "ts", "epoch"))
# Cells of a column that are read to decide what it holds.
_SAMPLE = 200
# Numbers can be times where at least this share of them does not fall. Columns tell
# rows of one time apart where this share of all pairs of time and cell differs.
_NEARLY_ALL = 0.95
# A column of numbers without a name of a time holds times if this share of its steps
# is as long as the usual one, within a tenth.
_EVEN, _ALIKE = 0.8, 0.1
# Words in the name of a column of whole numbers that can tell rows of one time apart.
_KEY_WORDS = frozenset(
    ("id", "cell", "node", "port", "host", "instance", "sector", "interface", "index")
)
# Names of columns with names of metrics, whose rows need not have the same times.
_METRIC_NAMES = frozenset(("metric", "metric_name", "metricname", "kpi", "counter"))
# The most columns that come from the rows of one time.
_MOST_KEYS = 10_000


class Keys(NamedTuple):
    """What tells the rows of one time apart, in a long table."""

    columns: list[str]  # of the file
    names: list[str]  # K, their cells joined
    of_row: np.ndarray | None  # [N] int64, index into names; None: the table is wide


def find_time_columns(frame: Any) -> list[str]:
    """The name of the column of times; with a date and a clock apart, both names.

    Args:
      frame: a pandas DataFrame.
    Raises:
      Unusable: no column has times.
    """
    head = frame.iloc[:_SAMPLE]
    named = [name for name in frame if name.lower() in TIME_NAMES]
    kinds = {name: _kind_of_times(head[name]) for name in named}
    usable = [name for name in named if kinds[name]]
    if usable:
        first = usable[0]
        pair = {times.DATE: times.CLOCK, times.CLOCK: times.DATE}.get(kinds[first])
        return [first, *[name for name in usable if kinds[name] == pair][:1]]
    if named:
        return named[:1]
    kinds = {name: _kind_of_times(head[name]) for name in frame}
    rising = [name for name in frame if kinds[name] == times.NUMBER]
    choices = [
        *[name for name in frame if kinds[name] == times.DATE],
        *[name for name in frame if kinds[name] and _TIME_WORDS & _words(name)],
        *[name for name in frame.columns[:1] if kinds[name]],
        *[name for name in rising if _is_even(head[name])],
        *[name for name in frame if kinds[name] == times.CLOCK],
    ]
    if not choices:
        raise tables.Unusable(
            "no column has times that rise: name the column of times time"
        )
    return choices[:1]


def _words(name):
    return set(re.split(r"[^a-z]+", name.lower()))


def _kind_of_times(column):
    """How a column can be one of times, as `times.Clock.kind`; empty: it cannot."""
    rows = times.read_times(column)
    ns = rows.ns[rows.read]
    if 2 * len(ns) <= column.notna().sum():
        return ""
    if rows.clock.kind == times.NUMBER:
        spacing = np.diff(ns)
        if not (spacing > 0).any() or (spacing >= 0).mean() < _NEARLY_ALL:
            return times.NUMBER * (len(ns) < 3)  # too few to tell
    return rows.clock.kind


def _is_even(column):
    spacing = np.diff(times.read_times(column).ns)
    usual = np.median(spacing)
    return (np.abs(spacing - usual) < _ALIKE * usual).mean() > _EVEN


def read_time_columns(frame: Any, names: list[str]) -> times.Times:
    """`times.Times` of a column; or of the texts of two, the date first."""
    if len(names) == 1:
        return times.read_times(frame[names[0]])
    texts = [frame[name].astype("string").str.strip() for name in names]
    rows = times.read_times(texts[0] + " " + texts[1])
    if rows.clock.kind == times.DATE and 2 * rows.read.sum() > len(frame):
        return rows
    return times.read_times(texts[1] + " " + texts[0])


def find_keys(frame: Any, time_ns: np.ndarray) -> Keys:
    """The `Keys` of rows: columns that tell several rows of one time apart.

    Args:
      frame: a pandas DataFrame of N rows, without the columns of times.
      time_ns: `[N]` int64.
    """
    wide = Keys([], [""], None)
    if (np.diff(time_ns) > 0).all() and not _METRIC_NAMES & set(map(str.lower, frame)):
        return wide
    distinct = len(np.unique(time_ns))
    codes = {}
    for name in frame:
        if _can_be_key(name, frame[name]):
            code, cells = tables.require_pandas().factorize(
                frame[name].astype("string")
            )
            if 1 <= len(cells) <= min(_MOST_KEYS, len(frame) / 2):
                codes[name] = code + 1, ["", *map(str, cells)]
    if 2 * distinct <= 1.2 * len(frame):
        chosen = _telling_apart(
            time_ns, {name: code for name, (code, _) in codes.items()}
        )
    else:
        chosen = list(codes) if _METRIC_NAMES & set(map(str.lower, codes)) else []
    if not chosen:
        return wide
    combined, *_ = _combine(chosen, codes)
    # Also what a name alone does not tell, as the only node: other files have others.
    chosen = [
        name
        for name in codes
        if name in chosen or len(_combine([*chosen, name], codes)[0]) == len(combined)
    ]
    combined, first, of_row = _combine(chosen, codes)
    if not 2 <= len(combined) <= _MOST_KEYS:
        return wide
    names = [
        " ".join(codes[name][1][codes[name][0][row]] for name in chosen).strip()
        for row in first
    ]
    return Keys(chosen, names, of_row)


def read_keys(frame: Any, columns: list[str]) -> Keys:
    """The `Keys` of rows, by columns that were chosen before."""
    if not columns:
        return Keys([], [""], None)
    cells = [frame[name].astype("string").fillna("").tolist() for name in columns]
    joined = [" ".join(parts).strip() for parts in zip(*cells)]
    of_row, names = tables.require_pandas().factorize(np.array(joined, object))
    return Keys(list(columns), list(map(str, names)), of_row)


def _combine(names, codes):
    """Combinations of cells in the columns `names`, the first row of each, and which
    of them each row has."""
    of_row: Any = 0
    for name in names:
        code, cells = codes[name]
        of_row = of_row * len(cells) + code
    return np.unique(of_row, return_index=True, return_inverse=True)


def _can_be_key(name, column):
    """Whether a column names what a row is about: text, or whole numbers by name."""
    types = tables.require_pandas().api.types
    if types.is_object_dtype(column) or types.is_string_dtype(column):
        head = column.dropna().iloc[:_SAMPLE]
        read = quantities.read_numbers(head, ".").values
        return 2 * np.isfinite(read).sum() < len(head)
    return types.is_integer_dtype(column) and bool(_KEY_WORDS & _words(name))


def _telling_apart(time_ns, codes):
    """The fewest columns of `codes` that tell nearly all rows of one time apart."""

    def enough(names):
        rows = np.stack([time_ns, *(codes[name] for name in names)])
        rows = rows[:, np.lexsort(rows)]
        different = 1 + (np.diff(rows, axis=1) != 0).any(0).sum()
        return different >= _NEARLY_ALL * len(time_ns)

    alone = [name for name in codes if enough([name])]
    if alone:
        return [min(alone, key=lambda name: codes[name].max())]
    chosen = list(codes)
    if not enough(chosen):
        return []
    for name in reversed(list(codes)):
        rest = [other for other in chosen if other != name]
        if rest and enough(rest):
            chosen = rest
    return chosen
