"""The file of a table -> a pandas frame.

Encoding, separator, header and decimal comma are found from the beginning of the file.
Each choice that is not the usual one (UTF-8, comma, one header row) has a line.
"""

import codecs
import collections
import csv
import importlib
import io
import itertools
import json
import os
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from siamjax import files, text
from siamjax.capture import decompress
from siamjax.types import SiamjaxError, UsageError

# The part of a file that decides how it is read: bytes and lines.
_HEAD_BYTES, HEAD_LINES = 1 << 16, 200
# Separators that are tried, the usual one first, and their names. None: spaces.
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|", None: "spaces"}
# The most rows of a header that are joined.
_HEADER_ROWS = 4
# Cells without a value, beside those of pandas.
_MISSING = ["-", "--"]
_NUMBER = re.compile(r"[+-]?(?:\d[\d.,' ]*|\.\d+)(?:[eE][+-]?\d+)?\s*%?")
_TIME = re.compile(
    r"\W?\d{1,4}[-/. ](?:\d{1,2}|[A-Za-z]{3,9})[-/. ]\d{1,4}\b.*|\d{1,3}:\d\d\b.*"
)
# Numbers that tell which of comma and dot is the decimal mark.
_COMMA_DECIMAL = re.compile(
    r"[+-]?(?:0,\d+|\d+,(?:\d{1,2}|\d{4,})|\d{1,3}(\.\d{3})+,\d+)"
)
_COMMA_GROUPS = re.compile(r"[+-]?\d{1,3}(?:(?:,\d{3})+\.\d+|(?:,\d{3}){2,})")
_COMMA_EITHER = re.compile(r"[+-]?\d{1,3},\d{3}")


class Unusable(Exception):
    """Why a table cannot be used, without its name."""


class Content(NamedTuple):
    """What a file holds before its columns are understood."""

    frame: Any  # a pandas DataFrame
    ragged: int  # rows with more fields than columns
    decimal: str  # the decimal mark of its numbers
    notes: list[str]  # how it was read, where that is unusual


class Layout(NamedTuple):
    """How the text of a table is written."""

    encoding: str
    separator: str | None  # None: spaces
    decimal: str
    skipped: int  # lines above the last row of the header, or above the data
    has_header: bool  # the line after those is of the header
    names: list[str] | None  # None: those of the header row
    notes: list[str]


def require_pandas() -> Any:
    """The module pandas, which is optional.

    Raises:
      UsageError: it is not installed.
    """
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise UsageError("counters need pandas: pip install pandas") from None


def read_content(path: str | os.PathLike, limited: bool) -> Content:
    """Reads the `Content` of a file of CSV, JSON lines or Parquet.

    Args:
      path: of the file; text may be compressed.
      limited: whether a file that expands beyond the limits is refused.
    Raises:
      SiamjaxError: it cannot be read as a table.
      OSError: it does not exist, or cannot be opened.
    """
    pandas = require_pandas()
    try:
        if str(path).endswith(".parquet"):
            with open(path, "rb", opener=files.open_at_once) as file:
                return Content(_parquet(pandas, file, limited), 0, ".", [])
        with _open_text(path, limited) as stream:
            head = stream.read(_HEAD_BYTES)
        encoding = _encoding(head)
        shown = codecs.getincrementaldecoder(encoding)("replace").decode(head)
        if shown.lstrip("\ufeff \r\n\t")[:1] in ("{", "["):
            return _read_json(pandas, path, limited, encoding)
        try:
            return _read_text(pandas, path, limited, find_layout(shown, encoding))
        except UnicodeDecodeError:  # it was UTF-8 as far as the head goes
            layout = find_layout(shown, "latin-1")
            return _read_text(pandas, path, limited, layout)
    except ImportError:
        raise UsageError("Parquet files need pyarrow: pip install pyarrow") from None
    except (SiamjaxError, MemoryError):
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # of pandas, of pyarrow, of each decompressor
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise SiamjaxError(f"{path} cannot be read as a table: {why[0]}") from None


def read_lines(lines: Sequence[str], layout: Layout | None) -> Content:
    """Reads the `Content` of the lines of a table.

    Args:
      lines: of the table, from its first line on.
      layout: of the table; None: they are lines of JSON.
    Raises:
      Unusable: they are no table.
    """
    pandas = require_pandas()
    try:
        if layout is None:
            rows, damaged = _parse_objects(lines)
            return _content_of_objects(pandas, rows, damaged, "lines of JSON")
        stream = io.BytesIO("\n".join(lines).encode())
        return _read_stream(pandas, stream, layout._replace(encoding="utf-8"))
    except Exception as error:  # of pandas
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise Unusable(f"cannot be read as a table: {why[0]}") from None


def is_header(line: str, layout: Layout) -> bool:
    """Whether a line of a table has names in all of its cells, and no value."""
    (cells,) = _split([line], layout.separator)
    cells = [cell.strip() for cell in cells]
    return len(cells) > 1 and not any(
        not cell or cell in _MISSING or _is_value(cell) for cell in cells
    )


def list_names(names: Sequence[object], most: int = 8) -> str:
    """Names of columns in one line, made short."""
    shown = ", ".join(text.short(str(name), 40) for name in names[:most])
    return shown + ", ..." * (len(names) > most)


def _open_text(path, limited):
    """The content of a text file as bytes."""
    file = open(path, "rb", opener=files.open_at_once)
    return io.BufferedReader(decompress.Decompressed(file, limited=limited))


def _parquet(pandas, file, limited):
    meta = importlib.import_module("pyarrow.parquet").ParquetFile(file).metadata
    groups = (meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    # Equal values need no space in the file, but 8 bytes each in memory.
    read = 8 * meta.num_rows * meta.num_columns
    _check_size(file, max(read, sum(groups)), limited)
    frame = pandas.read_parquet(file)
    return frame if isinstance(frame.index, pandas.RangeIndex) else frame.reset_index()


def _check_size(file, expanded, limited):
    """Raises where a file states that it expands beyond the allowed size."""
    size = os.fstat(file.fileno()).st_size
    if limited and expanded > decompress.allowed_bytes(size):
        raise decompress.too_large(file.name, size)


def _encoding(head):
    """The name of the encoding of a text that begins with these bytes."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if len(zeros) > 8 and zeros.count(0) > 0.9 * len(zeros):
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _read_json(pandas, path, limited, encoding):
    """Lines of JSON objects, or one JSON list of them."""
    with _open_text(path, limited) as stream:
        lines = io.TextIOWrapper(stream, encoding)
        first = next((line for line in lines if line.strip("\ufeff \r\n\t")), "")
        if first.lstrip("\ufeff \t").startswith("["):
            rows, damaged = json.loads(first.lstrip("\ufeff") + lines.read()), 0
            note = "a JSON list"
        else:
            rows, damaged = _parse_objects(
                itertools.chain([first.lstrip("\ufeff")], lines)
            )
            note = "lines of JSON"
    return _content_of_objects(pandas, rows, damaged, note)


def _parse_objects(lines):
    """What JSON lines hold, and how many are damaged."""
    rows, damaged = [], 0
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            damaged += bool(line.strip())
    return rows, damaged


def _content_of_objects(pandas, rows, damaged, note):
    objects = [row for row in rows if isinstance(row, dict)]
    if not objects:
        raise ValueError("its JSON has no objects: a row is {name: value, ...}")
    frame = pandas.DataFrame(objects)
    return Content(frame, damaged + len(rows) - len(objects), ".", [note])


def _read_text(pandas, path, limited, layout):
    with _open_text(path, limited) as stream:
        return _read_stream(pandas, stream, layout)


def _read_stream(pandas, stream, layout):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", pandas.errors.ParserWarning)
        frame = pandas.read_csv(
            stream,
            sep=layout.separator or r"\s+",
            decimal=layout.decimal,
            encoding=layout.encoding,
            skiprows=layout.skipped,
            header=0 if layout.has_header else None,
            names=layout.names,
            na_values=_MISSING,
            skipinitialspace=True,
            low_memory=False,
            index_col=False,
            on_bad_lines="warn",
        )
    ragged = sum(str(w.message).count("Skipping line") for w in said)
    return Content(frame, ragged, layout.decimal, layout.notes)


def find_layout(head: str, encoding: str = "utf-8") -> Layout:
    """The `Layout` of a text that begins with `head`.

    Raises:
      ValueError: it has no header.
    """
    notes = [] if encoding.startswith("utf-8") else [f"encoding {encoding}"]
    lines = re.split(r"\r\n|\r|\n", head.lstrip("\ufeff"))
    lines = (lines[:-1] or lines)[:HEAD_LINES]  # the last may be cut
    numbered = [(i, line) for i, line in enumerate(lines) if line.strip()]
    comments = [row for row in numbered if row[1].lstrip().startswith("#")]
    numbered = [row for row in numbered if row not in comments]
    separator = _choose_separator([line for _, line in numbered])
    if separator != ",":
        notes.append(f"separator {_SEPARATORS[separator]}")
    rows = _split([line for _, line in numbered], separator)
    first, start = _header_rows(rows)
    decimal = _decimal_mark(itertools.chain(*rows[start:]), separator)
    if decimal != ".":
        notes.append("decimal comma")
    names, has_header, skipped = None, True, 0
    if start:
        skipped = numbered[start - 1][0]
        names = _joined_names(rows[first:start], rows[start:])
        if start - first > 1:
            notes.append(f"{start - first} header rows joined")
    elif rows:
        names, has_header, skipped = _names_above(comments, rows, separator), False, 0
        skipped = numbered[0][0]
    above = numbered[first][0] - (0 if has_header else 1) if rows else 0
    if above > 0:
        notes.append(f"{above} lines above the header left out")
    return Layout(encoding, separator, decimal, skipped, has_header, names, notes)


def _choose_separator(lines):
    """The separator that divides most lines into equally many fields."""
    best, chosen = (0.5, 2), ","
    for separator in _SEPARATORS:
        counts = [len(fields) for fields in _split(lines, separator)]
        if not counts:
            continue
        usual, times = collections.Counter(counts).most_common(1)[0]
        # Spaces are inside of dates and names: they must divide all lines alike.
        enough = times == len(counts) > 1 or separator is not None
        if usual >= 2 and enough and (times / len(counts), usual) > best:
            best, chosen = (times / len(counts), usual), separator
    return chosen


def _split(lines, separator):
    if separator is None:
        return [line.split() for line in lines]
    try:
        return list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
    except csv.Error:
        return [line.split(separator) for line in lines]


def _header_rows(rows):
    """The rows `[first, start)` of the header; the rows of data begin at `start`.

    A column of values has numbers or times in most rows. A row without a value in any
    such column is of the header, or above it.
    """
    if len(rows) < 2:
        return 0, len(rows)
    later = rows[len(rows) // 2 :]
    width = max(map(len, later))
    columns = [
        c
        for c in range(width)
        if 2 * sum(len(r) > c and _is_value(r[c]) for r in later) > len(later)
    ]
    has_value = [any(len(r) > c and _is_value(r[c]) for c in columns) for r in rows]
    names = [c for c in columns if c < len(rows[0]) and not _is_value(rows[0][c])]
    if names and any(rows[0][c].strip() for c in names):
        has_value[0] = False  # such as time,0,1,2
    start = has_value.index(True) if any(has_value) else 1
    if start == 0 and [r.strip() for r in rows[0]] == [*map(str, range(len(rows[0])))]:
        start = 1  # a header of numbers
    first = max(start - 1, 0)
    while (
        0 < first
        and start - first < _HEADER_ROWS
        and len(rows[first - 1]) == len(rows[start - 1])
    ):
        first -= 1
    return first, start


def _is_value(cell):
    """Whether a cell is a number or a time."""
    cell = cell.strip()
    return bool(_NUMBER.fullmatch(cell) or _TIME.fullmatch(cell))


def _decimal_mark(cells, separator):
    """The decimal mark of numbers in `cells`; a comma that can be either is that of
    thousands, unless fields are separated by semicolons."""
    either = False
    for cell in map(str.strip, cells):
        if _COMMA_DECIMAL.fullmatch(cell):
            return ","
        if _COMMA_GROUPS.fullmatch(cell):
            return "."
        either |= bool(_COMMA_EITHER.fullmatch(cell))
    return "," if either and separator == ";" else "."


def _joined_names(header, rows):
    """Names of columns where pandas would not read them from the last row; or None.

    Several rows of a header are joined with spaces. An empty cell above the last row
    has the text of the cell to its left, as where a spreadsheet merges cells.
    """
    usual = collections.Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    named_rows = (
        len(header[-1]) == usual - 1
        and rows
        and not all(len(row) < usual or not row[-1].strip() for row in rows)
    )
    if len(header) == 1 and not named_rows:
        return None
    filled = []
    for cells in header[:-1]:
        cells = [cell.strip() for cell in cells]
        filled.append(
            list(itertools.accumulate(cells, lambda left, cell: cell or left))
        )
    columns = zip(*filled, map(str.strip, header[-1]))
    names = [" ".join(filter(None, dict.fromkeys(parts))) for parts in columns]
    return _unique(["row"] * named_rows + names)


def _names_above(comments, rows, separator):
    """Names in a comment line that is the header: as many as a row has fields."""
    for _, line in reversed(comments):
        (names,) = _split([line.lstrip().lstrip("#").strip()], separator)
        if len(names) == len(rows[0]):
            return _unique([name.strip() for name in names])
    raise ValueError("it has no header: give its columns names in the first row")


def _unique(names):
    """Names that differ: the second `cpu` is `cpu.1`, as pandas names it."""
    times: collections.Counter[str] = collections.Counter()
    unique = []
    for name in names:
        unique.append(f"{name}.{times[name]}" if times[name] else name)
        times[name] += 1
    return unique
