"""Rows of a table in order, and moved onto a grid of equal steps."""

import numpy as np

from siamjax.capture import tables

# A row counts as moved where it was more than this part of a step off the grid.
OFF_GRID = 0.1
# A grid with more cells than this many times the rows has a wrong time in it.
SPARSE = 50


def sort_rows(
    time_ns: np.ndarray, key: np.ndarray | None, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int]]:
    """Sorts N rows by key, then by time, and keeps one row of each key and time.

    Args:
      time_ns: `[N]` int64.
      key: `[N]` int64, what each row is about; None: all rows are about the same.
      values: `[N, F]`.
    Returns:
      Times, keys (`[1]` where `key` is None) and values of the rows that stay, and
      counts by cause of `counters.CAUSES`.
    """
    if key is None:
        key = np.zeros(1, np.int64)  # broadcasts: one key for all rows
    if len(key) > 1:
        order = np.argsort(key, kind="stable")
        time_ns, key, values = time_ns[order], key[order], values[order]
    late = int(((np.diff(time_ns) < 0) & _same(key)).sum())
    if late:
        order = np.lexsort((time_ns, np.broadcast_to(key, time_ns.shape)))
        time_ns, values = time_ns[order], values[order]
        key = key[order] if len(key) > 1 else key
    again = (np.diff(time_ns) == 0) & _same(key)
    counted = dict(out_of_order=late, duplicated=0, contradicting=0)
    if again.any():
        twice = np.flatnonzero(again)
        before, after = values[twice], values[twice + 1]
        equal = (after == before) | (np.isnan(after) & np.isnan(before))
        counted["duplicated"] = int(equal.all(1).sum())
        counted["contradicting"] = len(twice) - counted["duplicated"]
        last = np.append(~again, True)
        time_ns, values = time_ns[last], values[last]
        key = key[last] if len(key) > 1 else key
    return time_ns, key, values, counted


def _same(key):
    """Which rows have the key of the row before; all where there is one key."""
    return np.diff(key) == 0 if len(key) > 1 else True


def measure_step(time_ns: np.ndarray, key: np.ndarray) -> int:
    """The step of sorted rows in ns; within 1 % of whole seconds it is rounded to them.

    Raises:
      Unusable: no key has rows of two times.
    """
    spacing = np.diff(time_ns)
    spacing = spacing[(spacing > 0) & _same(key)]
    if not len(spacing):
        raise tables.Unusable("no name has rows of two times: two times are needed")
    # The mean of all single steps: the error of one would add up along the grid.
    median = np.sort(spacing)[(len(spacing) - 1) // 2]
    usual = np.rint(spacing / median) == 1
    step_s = spacing[usual].mean() / 1e9
    rounded_s = round(step_s)
    if abs(step_s - rounded_s) < 0.01 * step_s:
        step_s = rounded_s
    return round(step_s * 1e9)


def place_on_grid(
    time_ns: np.ndarray, key: np.ndarray, step_ns: int, values: np.ndarray, keys: int
) -> tuple[np.ndarray, list[tuple[int, int]], dict[str, int]]:
    """Moves sorted rows to the nearest step of the grid that starts at the first time.

    Returns:
      Values `[slots, keys, F]`, gaps `[(first, length)]` in steps, and counts by cause
      of `counters.CAUSES`.
    Raises:
      Unusable: the grid would be mostly empty, see `SPARSE`.
    """
    first_ns, last_ns = int(time_ns.min()), int(time_ns.max())
    if (last_ns - first_ns) // step_ns * keys > SPARSE * len(time_ns):
        raise tables.Unusable(
            f"{len(time_ns)} rows of {step_ns / 1e9:g} s are spread over "
            f"{(last_ns - first_ns) / 1e9:.0f} s: is a time wrong?"
        )
    exact = (time_ns - first_ns) / step_ns
    slot = np.rint(exact).astype(int)
    size = int(slot.max()) + 1
    place = key * size + slot
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    if len(starts) < len(place):
        measured = ~np.isnan(values)
        counts = np.add.reduceat(measured, starts, dtype=int)
        sums = np.add.reduceat(np.where(measured, values, 0.0), starts)
        values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    on_grid = np.full((keys * size, values.shape[1]), np.nan)
    on_grid[place[starts]] = values
    slots = np.unique(slot) if keys > 1 else slot[starts]
    jump = np.diff(slots)
    gaps = [(slots[i] + 1, jump[i] - 1) for i in np.flatnonzero(jump > 1)]
    return (
        on_grid.reshape(keys, size, -1).swapaxes(0, 1),
        gaps,
        dict(
            moved=int((np.abs(exact - slot) > OFF_GRID).sum()),
            crowded=len(place) - len(starts),
            gap=int((jump - 1).sum()),
        ),
    )
