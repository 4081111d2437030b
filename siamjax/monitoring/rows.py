"""Rows that come at the end and go at the beginning, without a copy of all of them."""

import numpy as np

_LEAST = 16  # rows of room


class Rows:
    """An array whose rows grow in number at its end; old ones are dropped.

    Each row is copied a few times at most, however many come one by one.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._room, self._first, self._end = np.array(rows), 0, len(rows)

    def __len__(self) -> int:
        return self._end - self._first

    @property
    def values(self) -> np.ndarray:
        """The rows that are kept; a view, until the next call."""
        return self._room[self._first : self._end]

    def append(self, rows: np.ndarray) -> None:
        """Adds rows at the end."""
        end = self._end + len(rows)
        if end > len(self._room):
            kept = len(self)
            size = max(kept + len(rows), _LEAST)
            room = np.empty((size + size // 4, *self._room.shape[1:]), self._room.dtype)
            room[:kept] = self.values
            self._room, self._first, end = room, 0, kept + len(rows)
        self._room[end - len(rows) : end] = rows
        self._end = end

    def drop(self, count: int) -> None:
        """Forgets the first rows."""
        self._first += count
