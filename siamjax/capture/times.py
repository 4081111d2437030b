"""A column of times -> nanoseconds: dates, clocks without a date, numbers.

A column is read in one way: one unit, one order of day and month, one time zone for
cells without one. The `Clock` keeps that way, so that labels are read alike.
"""

import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.capture.tables import Unusable, require_pandas

DATE, CLOCK, NUMBER = "date", "clock", "number"

# Times must be nearer to 1970 than this (years 1823 to 2116): differences fit 64 bits.
_LAST_NS = 1 << 62
# A cell with more characters is neither a number nor a time.
LONGEST_CELL = 64
# The most cells that decide how a column is read.
_SAMPLE = 2000
_HOUR_NS, _DAY_NS = 3600 * 10**9, 86400 * 10**9

# Units of numbers, in ns; a time since 1970 tells its unit by its size (1973 to 2116).
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_SINCE_1970 = (1e8, _LAST_NS / 1e9)
_UNIT_WORDS = {
    "s": "s sec secs second seconds",
    "ms": "ms msec millis millisec milliseconds",
    "us": "us usec micros microsec microseconds µs",
    "ns": "ns nsec nanos nanosec nanoseconds",
}
_UNIT_OF_WORD = {word: u for u, words in _UNIT_WORDS.items() for word in words.split()}
# Numbers at a distance of 1000 and more are seconds only at these usual steps.
_LONG_STEPS_S = np.array(
    [1200, 1800, 3600, 5400, 7200, 10800, 14400, 21600, 28800, 43200, 86400, 604800]
)

# Zones that exports write as names, in hours east of UTC.
_ZONE_HOURS = "UTC 0 GMT 0 WET 0 WEST 1 CET 1 MEZ 1 CEST 2 MESZ 2 EET 2 EEST 3 MSK 3 "
_ZONE_HOURS += "JST 9 KST 9 AEST 10 AEDT 11 EST -5 EDT -4 CDT -5 MST -7 MDT -6 PST -8"
_ZONES = dict(zip(_ZONE_HOURS.split()[::2], map(int, _ZONE_HOURS.split()[1::2])))
_NAMED_ZONE = re.compile(rf"(?<=\d)\s*\b({'|'.join(_ZONES)})$")
_OFFSET = re.compile(r":\d\d(?:[.,]\d+)?\s*(?:(Z)|([+-])(\d\d):?(\d\d)?)$")
_DAY_MONTH = r"^(\d{1,2})([/.\-])(\d{1,2})[/.\-](\d{4}|\d{2})(?!\d)[T ,]*(.*)$"
_APACHE = re.compile(r"^(\d{1,2})/([A-Za-z]{3})/(\d{4}):")
_CLOCK = r"^(\d{1,4}):(\d{2})(?::(\d{2}(?:[.,]\d+)?))?\s*([AaPp])?\.?[Mm]?\.?$"
# Times of a day that are written as one number.
_DIGITS = {12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
# Months in which a country changes to summer time, or back.
_CHANGE_MONTHS = (3, 4, 8, 9, 10, 11)


class Clock(NamedTuple):
    """How the times of a table are written."""

    kind: str  # DATE, CLOCK or NUMBER
    unit: str = "s"  # of numbers, of `_UNITS`
    since_1970: bool = True  # otherwise since a start that is not known
    day_first: bool | None = None  # order of day and month; None: as ISO 8601 has it
    offsets_ns: tuple[int, ...] = ()  # of its zones, east of UTC; none: not written
    # Changes of local time: (first local time after it, what is added from there).
    changes: tuple[tuple[int, int], ...] = ()


class Times(NamedTuple):
    """The times of N rows."""

    ns: np.ndarray  # [N] int64, since 1970 or since the clock's start
    read: np.ndarray  # [N] bool, which could be read
    clock: Clock
    note: str  # how they were read


def read_times(column: Any) -> Times:
    """Reads the `Times` of a pandas column.

    Dates without a zone are used as UTC; where such local times change to summer time
    or back, the hour is put right. Clocks without a date count their days. Numbers are
    since 1970 where their size says so; their unit is the size's, the one that the
    column's name ends with, or seconds.
    """
    pandas = require_pandas()
    types = pandas.api.types
    if types.is_datetime64_any_dtype(column):
        times = _of_datetimes(column)
    else:
        column = drop_long(column)
        numbers = pandas.to_numeric(column, errors="coerce")
        finite = np.isfinite(numbers.to_numpy(float, na_value=np.nan))
        if finite.any() and finite.sum() * 2 >= column.notna().sum():
            times = _of_numbers(numbers, finite, column.name)
        else:
            times = _of_texts(column.astype("string"))
    if times.clock.kind != DATE or times.clock.offsets_ns:
        return times
    return _without_changes(times)


def read_labels(written: Sequence[str], clock: Clock, first_ns: int) -> np.ndarray:
    """Times `[N]` in seconds after the first row of a table; NaN where none is given.

    A number is a time of the table where its times are numbers, otherwise seconds after
    its first row. A number of the size of a time since 1970 is one. A date without a
    zone has that of the table.

    Args:
      written: texts of dates, clocks or numbers.
      clock: of the table.
      first_ns: time of its first row.
    Raises:
      ValueError: a text is not a time, or not one of such a table. It says which.
    """
    seconds, texts = np.full(len(written), np.nan), []
    for i, cell in enumerate(written):
        try:
            number = float(cell)
        except ValueError:
            if cell:
                texts.append(i)
            continue
        if not np.isfinite(number):
            raise ValueError(f"{cell!r} is not a time")
        unit = _unit_of_size(number)
        if unit and clock.since_1970:
            seconds[i] = number * _UNITS[unit] / 1e9 - first_ns / 1e9
        elif clock.kind == NUMBER:
            seconds[i] = number * _UNITS[clock.unit] / 1e9 - first_ns / 1e9
        else:
            seconds[i] = number
    if texts:
        seconds[texts] = _label_texts([written[i] for i in texts], clock, first_ns)
    return seconds


def write_labels(seconds: Sequence[float], clock: Clock, first_ns: int) -> list[str]:
    """Texts that `read_labels` reads as these seconds after the first row."""
    if clock.kind != NUMBER:
        first_ns, unit_ns = 0, 10**9
    else:
        unit_ns = _UNITS[clock.unit]
    numbers = [(first_ns + round(second * 1e9)) / unit_ns for second in seconds]
    return [np.format_float_positional(n, trim="-") for n in numbers]


def refuse_unlikely_step(step_ns: int, clock: Clock, name: object) -> None:
    """Raises where numbers that nobody gave a unit are far apart as seconds.

    Raises:
      Unusable: they may be milliseconds. It says how to give the unit.
    """
    step_s = step_ns / 1e9
    if clock.kind != NUMBER or clock.since_1970 or _unit_of_name(name):
        return
    if step_s >= 1000 and (abs(step_s / _LONG_STEPS_S - 1) > 0.01).all():
        raise Unusable(
            f"the numbers of column {name!r} are {step_s:g} apart: are they seconds or "
            f"milliseconds? name it {name}_s, {name}_ms, {name}_us or {name}_ns"
        )


def drop_long(column: Any) -> Any:
    """A pandas column without cells that are too long for a number or a time.

    Python is slow to parse a date of 200 kB; a number of 400 digits is not a float.
    """
    types = require_pandas().api.types
    if types.is_object_dtype(column):
        return column.where(np.array([_fits(cell) for cell in column], bool))
    if types.is_string_dtype(column):
        return column.where(column.str.len() <= LONGEST_CELL)
    return column


def _fits(cell):
    if isinstance(cell, int):  # pandas gives integers beyond 64 bits as Python's
        return abs(cell) < 10**LONGEST_CELL
    return not isinstance(cell, str) or len(cell) <= LONGEST_CELL


def _of_datetimes(column):
    zone, offsets = column.dt.tz, ()
    if zone is not None:
        local = column.dropna().iloc[:: len(column) // _SAMPLE + 1]
        hours = {int(time.utcoffset().total_seconds()) for time in local}
        offsets = tuple(sorted(seconds * 10**9 for seconds in hours))
    dates = require_pandas().to_datetime(column, utc=True)
    ns, read = _to_ns(dates)
    return Times(ns, read, Clock(DATE, offsets_ns=offsets), _say_zone(offsets))


def _of_numbers(numbers, finite, name):
    whole = numbers.dtype.kind in "iu"
    values = numbers.to_numpy() if whole else numbers.to_numpy(float, na_value=np.nan)
    low, middle, high = np.quantile(values[finite].astype(float), [0.05, 0.5, 0.95])
    digits = len(str(int(middle))) if middle > 0 else 0
    if digits in _DIGITS and "19" <= str(int(middle))[:2] <= "20":
        dates = require_pandas().to_datetime(
            numbers.where(finite).astype("Int64").astype("string"),
            format=_DIGITS[digits],
            errors="coerce",
            utc=True,
        )
        if 2 * dates.notna().sum() > finite.sum():
            ns, read = _to_ns(dates)
            note = f"dates written as {digits} digits, without a time zone"
            return Times(ns, read, Clock(DATE), note)
    unit = _unit_of_size(middle)
    since_1970 = unit is not None and _unit_of_size(low) == _unit_of_size(high) == unit
    if not since_1970:
        unit = _unit_of_name(name) or "s"
    unit_ns = _UNITS[unit]
    if whole:
        read = finite & (np.abs(values.astype(float)) < _LAST_NS / unit_ns)
        ns = np.where(read, values, 0).astype(np.int64) * unit_ns
    else:
        read = finite & (np.abs(np.where(finite, values, 0)) < _LAST_NS / unit_ns)
        ns = np.rint(np.where(read, values, 0) * unit_ns).astype(np.int64)
    note = f"numbers of {unit}" + " since 1970" * since_1970
    return Times(ns, read, Clock(NUMBER, unit, since_1970), note)


def _unit_of_size(number):
    """The unit in which a number is a time since 1970, or None."""
    low, high = _SINCE_1970
    for unit, unit_ns in _UNITS.items():
        if low <= number * unit_ns / 1e9 < high:
            return unit
    return None


def _unit_of_name(name):
    """The unit that a name such as `time_ms` or `t [ms]` ends with, or None."""
    last = re.split(r"[^a-zµ]+", str(name).lower().rstrip(")] "))[-1]
    return _UNIT_OF_WORD.get(last) if last != str(name).lower() else None


def _of_texts(column):
    column = column.str.strip(" []")
    sample = column.dropna().iloc[:: len(column) // _SAMPLE + 1]
    if _mostly(sample, _CLOCK):
        return _of_clocks(column)
    ns, read, day_first = _read_dates(column, sample, None)
    offsets = _offsets(sample)
    order = {True: ", day before month", False: ", month before day", None: ""}
    note = _say_zone(offsets) + order[day_first]
    return Times(ns, read, Clock(DATE, day_first=day_first, offsets_ns=offsets), note)


def _mostly(sample, pattern):
    return len(sample) > 0 and 2 * sample.str.match(pattern).sum() > len(sample)


def _say_zone(offsets_ns):
    if not offsets_ns:
        return "dates without a time zone"
    hours = (f"{ns / _HOUR_NS:+g}" for ns in offsets_ns)
    return f"dates at UTC{' and '.join(hours)} h"


def _offsets(sample):
    """Offsets of zones in ns, sorted; none where most cells have no zone."""
    offsets = []
    for cell in sample:
        cell = _NAMED_ZONE.sub(_as_offset, cell)
        if zone := _OFFSET.search(cell):
            zulu, sign, hours, minutes = zone.groups()
            size = 0 if zulu else int(hours) * 3600 + int(minutes or 0) * 60
            offsets.append((-1 if sign == "-" else 1) * size * 10**9)
    return tuple(sorted(set(offsets))) if 2 * len(offsets) > len(sample) else ()


def _as_offset(zone):
    return f"{_ZONES[zone.group(1)]:+03d}:00"


def _of_clocks(column):
    """Clocks without a date: a day is added where they go back by more than half."""
    parts = column.str.extract(_CLOCK)
    numbers = parts[[0, 1, 2]].apply(
        lambda part: require_pandas().to_numeric(part.str.replace(",", "."))
    )
    hours, minutes, seconds = numbers.to_numpy(float, na_value=np.nan).T
    half = parts[3].str.lower().to_numpy(object, na_value="")
    hours = np.where(half == "a", hours % 12, hours)
    hours = np.where(half == "p", hours % 12 + 12, hours)
    total_s = hours * 3600 + minutes * 60 + np.nan_to_num(seconds)
    read = np.isfinite(total_s)
    ns = np.rint(np.where(read, total_s, 0) * 1e9).astype(np.int64)
    back = np.diff(ns[read], prepend=ns[read][:1]) < -_DAY_NS // 2
    days = np.zeros(len(ns), np.int64)
    days[read] = np.cumsum(back)
    note = f"clocks without a date, {days.max() + 1} days counted"
    return Times(ns + days * _DAY_NS, read, Clock(CLOCK, since_1970=False), note)


def _read_dates(column, sample, day_first, always=False):
    """ns `[N]`, which could be read, and the order of day and month or None.

    Args:
      column: of text.
      sample: cells of it.
      day_first: the order of day and month; None: it is found.
      always: whether cells with such an order may be few.
    """
    if _mostly(sample, _DAY_MONTH) or always:
        column, day_first = _to_iso(column, day_first)
    else:
        day_first = None
    if any(_NAMED_ZONE.search(cell) for cell in sample):
        column = column.str.replace(_NAMED_ZONE, _as_offset, regex=True)
    if any(_APACHE.search(cell) for cell in sample):
        column = column.str.replace(_APACHE, r"\1 \2 \3 ", regex=True)
    if any(re.search(r":\d\d,\d", cell) for cell in sample):
        column = column.str.replace(r"(:\d\d),(\d)", r"\1.\2", regex=True)
    pandas = require_pandas()
    # pandas reads these as the time of its own clock.
    column = column.mask(column.str.lower().isin(["now", "today"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that it cannot guess
        dates = pandas.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
        for how in (None, "mixed"):
            rest = column[dates.isna() & column.notna()]
            rest = rest[~rest.str.match(_CLOCK) & ~rest.str.match(_DAY_MONTH)]
            if len(rest):
                read = pandas.to_datetime(rest, errors="coerce", utc=True, format=how)
                dates = dates.where(~dates.index.isin(rest.index), read)
    return *_to_ns(dates), day_first


def _to_iso(column, day_first):
    """Dates such as 13/01/2024 as 2024-01-13, and the order of day and month.

    The order holds for all cells: a month above 12 is not read.
    """
    parts = column.str.extract(_DAY_MONTH)
    numbers = parts[[0, 2, 3]].apply(require_pandas().to_numeric)
    first, second, year = numbers.to_numpy(float, na_value=np.nan).T
    if day_first is None:
        day_first = _is_day_first(first, second, year, parts)
    day, month = (parts[0], parts[2]) if day_first else (parts[2], parts[0])
    years = parts[3].where(parts[3].str.len() == 4, "20" + parts[3])
    iso = years + "-" + month.str.zfill(2) + "-" + day.str.zfill(2) + " " + parts[4]
    return iso.str.strip().fillna(column), day_first


def _is_day_first(first, second, year, parts):
    """Whether dates have the day before the month.

    A number above 12 is a day. Where there is none, the order by which the dates span
    less time holds; a date alone has its day first where it has dots, and last where
    its clock has 12 hours or nothing tells.
    """
    above = (first > 12).sum(), (second > 12).sum()
    if above[0] != above[1]:
        return bool(above[0] > above[1])
    spans = []
    for day, month in ((first, second), (second, first)):
        days = (year * 12 + month) * 31 + day
        days = days[np.isfinite(days)]
        spans.append(np.ptp(days) if len(days) else 0)
    if spans[0] != spans[1]:
        return bool(spans[0] < spans[1])
    return bool((parts[1] == ".").any())


def _to_ns(dates):
    """ns `[N]` of pandas dates in UTC, and which of them a clock can show."""
    pandas = require_pandas()
    last = pandas.Timestamp(_LAST_NS, tz="UTC")
    dates = dates.where(
        (dates > pandas.Timestamp(-_LAST_NS, tz="UTC")) & (dates < last)
    )
    ns = dates.astype("datetime64[ns, UTC]").astype("int64").to_numpy(copy=True)
    return ns, dates.notna().to_numpy()


def _without_changes(times):
    """`Times` of local time without its jumps to summer time and back.

    On a Sunday night, local times that go back an hour do so at the end of summer time;
    an hour without rows, from one full hour to the next, is its beginning.
    """
    ns = times.ns[times.read]
    spacing = np.diff(ns)
    if not (spacing > 0).any():
        return times
    step = np.median(spacing[spacing > 0])
    if step > _HOUR_NS:
        return times
    changes, shift = [], np.zeros(len(ns), np.int64)
    for added in (_HOUR_NS, -_HOUR_NS):  # an hour that comes twice; one left out
        jumps = np.flatnonzero(np.abs(spacing - (step - added)) <= step / 4)
        for i in jumps:
            if _is_change(ns[i] + step, ns[i + 1], step):
                shift[i + 1 :] += added
                changes.append((int(ns[i + 1] - ns[i + 1] % _HOUR_NS), added))
    if not changes:
        return times
    changes.sort()
    whole = times.ns.copy()
    whole[times.read] += shift
    dates = np.array([local for local, _ in changes], "datetime64[ns]")
    shown = ", ".join(str(date.astype("datetime64[m]")) for date in dates)
    note = f"{times.note}; local times change by an hour at {shown}: put right"
    clock = times.clock._replace(changes=tuple(changes))
    return times._replace(ns=whole, clock=clock, note=note)


def _is_change(expected_ns, next_ns, step_ns):
    """Whether a jump from one time to another is at a full hour of a Sunday night."""
    month = np.datetime64(int(next_ns), "ns").astype("datetime64[M]").astype(int) % 12
    return (
        month + 1 in _CHANGE_MONTHS
        and (next_ns // _DAY_NS + 4) % 7 == 0
        and max(expected_ns % _DAY_NS, next_ns % _DAY_NS) < 4.5 * _HOUR_NS
        and max(expected_ns % _HOUR_NS, next_ns % _HOUR_NS) < step_ns
    )


def _label_texts(written, clock, first_ns):
    """Seconds after the first row of texts that are no numbers."""
    column = require_pandas().Series(written, dtype="string")
    is_clock = column.str.match(_CLOCK).to_numpy(bool)
    if clock.kind == CLOCK:
        _require(is_clock, written, "is not a time of day")
        ns = _of_clocks(column).ns % _DAY_NS + first_ns // _DAY_NS * _DAY_NS
        ns += np.where(ns < first_ns, _DAY_NS, 0)
        return (ns - first_ns) / 1e9
    _require(~is_clock, written, "is not a time: it has no date")
    order = clock.day_first
    ns, read, _ = _read_dates(drop_long(column), column, order, always=True)
    _require(read, written, "is not a time")
    if not clock.since_1970:
        raise ValueError(
            f"{written[0]!r} is a date, the times of the table are numbers"
        )
    for i, cell in enumerate(written):
        if not _offsets(column[i : i + 1]):
            ns[i] = _from_local(cell, int(ns[i]), clock, first_ns)
    return (ns - first_ns) / 1e9


def _require(good, written, why):
    if not good.all():
        raise ValueError(f"{written[int(np.argmin(good))]!r} {why}")


def _from_local(cell, ns, clock, first_ns):
    """A time without a zone, in ns, on the clock of a table."""
    if len(clock.offsets_ns) > 1:
        raise ValueError(f"{cell!r} has no time zone, the table has several: give it")
    ns -= sum(clock.offsets_ns)
    added_ns = 0
    for change_ns, added in clock.changes:
        twice = added > 0 and change_ns <= ns < change_ns + added
        if twice and ns >= first_ns:
            raise ValueError(
                f"{cell!r} is there twice: give seconds after the first row"
            )
        if ns >= change_ns:
            added_ns += added
    return ns + added_ns
