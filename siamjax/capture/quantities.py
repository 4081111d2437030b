"""A column of a table -> numbers, exact beyond 2^53, also with units or thousands.

A float64 has 53 bits. What it loses of a larger integer is kept beside it, the `rest`:
value and rest together are exact, and so are differences of such sums.
"""

import re
from typing import Any, NamedTuple

import numpy as np

from siamjax.capture import times
from siamjax.capture.tables import require_pandas

# Integers up to this are exact as float64.
EXACT = 2.0**53
# The largest number: a larger float32 is infinite.
LARGEST = float(np.finfo(np.float32).max)

_PREFIXES = {
    "": 1.0,
    "n": 1e-9,
    "u": 1e-6,
    "µ": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
_SMALL = ("n", "u", "µ", "m")
# Units with these prefixes: numbers of several prefixes are in one column.
_BASES = ("B", "b", "bit", "bps", "B/s", "Bps", "b/s", "bit/s", "Hz", "s", "pps", "")
# A number with a unit: groups of thousands or digits, a part behind the decimal mark.
_QUANTITY = (
    r"^([+-]?(?:\d{1,3}(?:[%s' \u00a0\u202f]\d{3})+|\d+)(?:[%s]\d*)?(?:[eE][+-]?\d+)?)"
    r"\s*([^\d\s.,;:-][^\d,;:]{0,11})?$"
)
# Between groups of thousands.
_BETWEEN = re.compile(r"[,.' \u00a0\u202f]")


class Numbers(NamedTuple):
    """The numbers of a column of N cells."""

    values: np.ndarray  # [N] float64; NaN where there is no number
    rest: np.ndarray | None  # [N] float64, what float64 lost of integers; None: nothing
    note: str = ""  # how they were read, where that is unusual


def read_numbers(column: Any, decimal: str) -> Numbers:
    """Reads the `Numbers` of a pandas column.

    Args:
      column: of numbers, or of texts with numbers.
      decimal: the decimal mark of texts, a dot or a comma.
    """
    pandas = require_pandas()
    if not _is_text(column):
        return _exact(column)
    column = times.drop_long(column)
    plain = pandas.to_numeric(column, errors="coerce")
    filled = int(column.notna().sum())
    if 2 * plain.notna().sum() < filled:
        written = _read_quantities(column.astype("string").str.strip(), decimal)
        if written and 2 * np.isfinite(written.values).sum() >= filled:
            return written
    values, rest = _exact(plain)[:2]
    if (
        np.abs(values) >= EXACT
    ).any():  # a cell without a number made all of them float
        return _of_integers(column, values)
    return Numbers(values, rest)


def _is_text(column):
    types = require_pandas().api.types
    return types.is_object_dtype(column) or types.is_string_dtype(column)


def _exact(column):
    """`Numbers` of a column of numbers."""
    values = column.to_numpy(float, na_value=np.nan)
    if not _is_whole(column) or not (np.abs(values) >= EXACT).any():
        return Numbers(values, None)
    whole = column.to_numpy()
    # The halves of 64 bits are exact; the larger first, their sum loses what is left.
    high = (whole >> 32).astype(float) * 2.0**32
    low = (whole & 0xFFFFFFFF).astype(float)
    values = high + low
    return Numbers(values, (high - values) + low)


def _is_whole(column):
    return getattr(column.dtype, "kind", "") in "iu" and not hasattr(
        column.dtype, "na_value"
    )


def _of_integers(column, values):
    """`Numbers` of a column with integers as text, whose `values` lost digits."""
    rest = np.zeros(len(values))
    for i in np.flatnonzero(np.isfinite(values) & (np.abs(values) >= EXACT)):
        try:
            rest[i] = int(column.iloc[i]) - int(values[i])
        except ValueError:  # it is written as a float
            continue
    return Numbers(values, rest if rest.any() else None)


def _read_quantities(column, decimal):
    """`Numbers` of texts with units or thousands; None where units do not agree."""
    thousands = "," if decimal == "." else "."
    parts = column.str.extract(_QUANTITY % (thousands, re.escape(decimal)))
    units = parts[1].fillna("").str.strip()
    read = parts[0].notna()
    names = sorted(units[read].unique())
    zero = parts[0].str.fullmatch(r"0+(?:[.,]0*)?").fillna(False)
    names = sorted(units[read & ~zero].unique()) or names
    factors = _factors(names, parts[0][read])
    if factors is None:
        return None
    mantissa = parts[0].str.replace(_BETWEEN, _keep(decimal), regex=True)
    numbers = require_pandas().to_numeric(mantissa, errors="coerce")
    plain = numbers.to_numpy(float, na_value=np.nan)
    values = plain * units.map(factors).fillna(1.0).to_numpy(float)
    note = ", ".join(name for name in names if name) or "thousands"
    if (
        set(factors.values()) == {1.0}
        and not mantissa.str.contains(".", regex=False).any()
    ):
        return _of_integers(mantissa, values)._replace(note=note)
    return Numbers(values, None, note)


def _keep(decimal):
    """Replaces a decimal mark by a dot, and removes what is between thousands."""
    return lambda mark: "." if mark.group() == decimal else ""


def _factors(names, numbers):
    """{unit: factor to the unit without prefix}; None where units do not agree."""
    split = {name: _split_unit(name) for name in names}
    if all(split.values()):
        bases = {base for _, base in split.values()}
        if bases == {""}:  # 4G and 5G are names, 1.2k and 3M are numbers
            several = len(names) > 1 or numbers.str.contains(r"[.,]").any()
            if not several:
                return None if names != [""] else {"": 1.0}
        if len(bases) == 1:
            return {name: _PREFIXES[prefix] for name, (prefix, _) in split.items()}
    return {names[0]: 1.0} if len(names) == 1 else None


def _split_unit(name):
    """(prefix, base) of a unit such as kB; None where it is no such unit."""
    for base in _BASES:
        prefix = name.removesuffix(base) if name.endswith(base) else None
        if prefix in _PREFIXES and (base in ("s", "B/s") or prefix not in _SMALL):
            return prefix, base
    return None
