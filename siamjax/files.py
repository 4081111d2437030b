"""Files: written whole or not at all, locked by one process, read with a clear error.

A kill or a full disk leaves the old file as it was. What a stranger named is made safe
for a spreadsheet: a cell that begins like a formula is marked with an apostrophe.
"""

import contextlib
import csv
import ctypes
import errno
import fcntl
import io
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from siamjax.types import SiamjaxError, UsageError

# First letters that make a spreadsheet compute a cell (OWASP, CSV injection).
_FORMULA = tuple("=+-@\t\r")
_LOCK = ".lock"
# What is written, and what it replaces, under names of their own beside the place.
_NEW, _OLD = ".new", ".old"
# Of Linux: paths are relative to the working folder; two names change places.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# A file system or system that cannot exchange says one of these.
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


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
    remove_leftovers(path)
    beside = _beside(path, _NEW)
    try:
        with naming_file(path):
            yield beside
            _sync(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _sync(path.parent)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a folder to fill; it takes the place of the folder `path` at the end.

    At every moment the old folder or the new one is there as a whole. Where the system
    cannot let two folders change places, the old one is away for a moment; a process
    that dies in it leaves the work of `recover_folder`. Of two processes that replace
    one folder the later one stays. A link to a folder stays a link.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    remove_leftovers(path)
    beside = _beside(path, _NEW)
    beside.mkdir()
    try:
        yield beside
        for folder, _, names in os.walk(beside):
            for name in [*names, "."]:
                _sync(os.path.join(folder, name))
        _swap(beside, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_writable(path: str | os.PathLike) -> None:
    """Raises `UsageError` where `replacing` or `replacing_folder` could not write."""
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(path, _NEW)
        beside.mkdir()
        beside.rmdir()
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def recover_folder(path: str | os.PathLike) -> None:
    """Puts back the folder that a process moved aside before it died."""
    path = Path(os.path.realpath(path))
    if not path.exists():
        for old in _left(path, _OLD):
            with contextlib.suppress(FileNotFoundError):  # another process was first
                os.rename(old, path)
            return


def remove_leftovers(path: str | os.PathLike) -> None:
    """Removes what dead processes of this machine left beside a file or folder."""
    path = Path(path)
    for left in [*_left(path, _NEW), *(_left(path, _OLD) if path.exists() else ())]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


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
    writer.writerows([escape_cell(value) for value in row] for row in rows)
    write_text(path, text.getvalue())


def escape_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay as they are."""
    if isinstance(value, str) and _is_formula(value) and not _is_number(value):
        return f"'{value}"
    return value


def unescape_cell(text: str) -> str:
    """What `cell` was given."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def open_at_once(path: str, flags: int) -> int:
    """An `opener` for `open` that does not wait until someone writes to a named pipe.

    A pipe that has a writer, such as `<(zcat FILE)` of a shell, is read as a file is.
    """
    handle = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    return handle


def read_json(path: str | os.PathLike, remedy: str) -> Any:
    """The value of a JSON file.

    Args:
      path: of the file.
      remedy: what the user can do where it is damaged; ends the error's line.
    Raises:
      Damaged: it is no JSON.
      OSError: it is not there, or cannot be opened.
    """
    with parsing(path, remedy):
        return json.loads(Path(path).read_bytes())


@contextlib.contextmanager
def parsing(path: str | os.PathLike, remedy: str) -> Iterator[None]:
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
def open_file(path: str | os.PathLike, mode: str, **options: Any) -> Iterator[IO]:
    """An open file that is closed at the end; options are those of `open`.

    What was written may reach the disk only then: an error of that names the file.
    """
    file = open(path, mode, **options)
    try:
        yield file
    finally:
        with naming_file(path):
            file.close()


def sync(file: IO) -> None:
    """What was written to an open file is on the disk when this returns."""
    with naming_file(file.name):
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def naming_file(path: str | os.PathLike) -> Iterator[None]:
    """Names the file in an error of the system: a write knows no name."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Names the file where the system fails to read it: one line, `SiamjaxError`.

    Other errors pass: unlike `damaged`, it is for readers that expect any content, in
    which they are defects.
    """
    try:
        yield
    except MemoryError as error:
        raise SiamjaxError(f"{path} needs more memory than there is") from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise SiamjaxError(f"{path} cannot be read: {error}") from error


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


def _beside(path, mark):
    """The name of this process for what stands beside a file or folder."""
    return path.with_name(f"{mark}.{socket.gethostname()}.{os.getpid()}.{path.name}")


def _left(path, mark):
    """What dead processes of this machine left under such names."""
    prefix = f"{mark}.{socket.gethostname()}."
    left = []
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        if other.name.startswith(prefix):
            number, _, name = other.name.removeprefix(prefix).partition(".")
            if name == path.name and number.isdigit() and not _is_alive(int(number)):
                left.append(other)
    return left


def _swap(new, path):
    """`new` gets the name `path`; a folder that is there gets the name of `new`."""
    while True:
        try:
            return os.rename(new, path)  # nothing is there, or an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with contextlib.suppress(FileNotFoundError):  # another process moved it
            if _exchange(new, path):
                return None
            old = _beside(path, _OLD)
            os.rename(path, old)
            os.rename(new, path)
            return os.rename(old, new)


def _exchange(one, two):
    """Lets two names change places in one step; False: this system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(two)
    if not rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(two))


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True
