"""Files: written whole or not at all, locked by one process, read with a clear error.

A kill or a full disk leaves the old file as it was. What a stranger named is made safe
for a spreadsheet: a cell that begins like a formula is marked with an apostrophe.
"""

import contextlib
import csv
import fcntl
import io
import json
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from siamjax.types import SiamjaxError, UsageError

# First letters that make a spreadsheet compute a cell (OWASP, CSV injection).
_FORMULA = tuple("=+-@\t\r")
_LOCK = ".lock"


class Damaged(SiamjaxError):
    """A file that is there and cannot be used."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a path beside `path` to write; it takes the place of `path` at the end.

    Where the block raises, or the process dies, `path` stays as it was. What dead
    processes of this machine left beside it is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    beside = path.with_name(f".new.{socket.gethostname()}.{os.getpid()}.{path.name}")
    try:
        yield beside
        _sync(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _sync(path.parent)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes bytes, see `replacing`."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text as UTF-8, see `replacing`."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike, value: Any, **options: Any) -> None:
    """Writes a value as JSON; options are those of `json.dumps`."""
    write_text(path, json.dumps(value, indent=1, **options) + "\n")


def write_csv(path: str | os.PathLike, rows: Iterable[Iterable[Any]]) -> None:
    """Writes rows as CSV; text that begins like a formula gets an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([cell(value) for value in row] for row in rows)
    write_text(path, text.getvalue())


def cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay as they are."""
    if isinstance(value, str) and _is_formula(value) and not _is_number(value):
        return f"'{value}"
    return value


def uncell(text: str) -> str:
    """What `cell` was given."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def read_json(path: str | os.PathLike, remedy: str) -> Any:
    """The value of a JSON file.

    Args:
      path: of the file.
      remedy: what the user can do where it is damaged; ends the error's line.
    Raises:
      Damaged: it is no JSON.
      OSError: it is not there, or cannot be opened.
    """
    with damaged(path, remedy):
        return json.loads(Path(path).read_bytes())


@contextlib.contextmanager
def damaged(path: str | os.PathLike, remedy: str) -> Iterator[None]:
    """Turns what reading a damaged file raises into `Damaged`, one line with a remedy.

    An OSError that names its file passes: its line says what the system refused. A lack
    of memory is a plain `SiamjaxError`: the file may be sound.
    """
    try:
        yield
    except SiamjaxError:
        raise
    except MemoryError as error:
        raise SiamjaxError(f"{path} needs more memory than there is") from error
    except Exception as error:  # the readers of zip, JSON, NumPy, CSV raise many kinds
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise Damaged(f"{path} is damaged ({reason}): {remedy}") from error


@contextlib.contextmanager
def locked(folder: str | os.PathLike, *, wait: bool = False) -> Iterator[None]:
    """Holds a folder for this process; the lock ends with the process, however it ends.

    Args:
      folder: made where it is not there.
      wait: until another process is done, in place of an error.
    Raises:
      UsageError: another process holds it; the line names its host and number.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / _LOCK, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise UsageError(
                f"{folder} is in use by {file.read().strip() or 'another process'}: "
                "wait for it, or give another folder"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _is_formula(text):
    """Whether text begins like a formula, also behind the marks of `cell`."""
    return text.lstrip("'").startswith(_FORMULA)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _sync(path):
    """What the system has of a file or folder is on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_left(path):
    """Removes what dead processes of this machine left beside a file."""
    prefix = f".new.{socket.gethostname()}."
    for other in path.parent.glob(f"{prefix}*.{path.name}"):
        number, _, name = other.name.removeprefix(prefix).partition(".")
        if name == path.name and number.isdigit() and not _is_alive(int(number)):
            other.unlink(missing_ok=True)


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True
