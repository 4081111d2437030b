"""Files: written as a whole or not at all, locked by one process, clear read errors.

A kill or a full disk leaves the old file as it was. Names from captures and labels are
not trusted: a CSV cell that begins like a formula gets an apostrophe in front.
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
# How often a folder is made where other processes may remove it.
_TRIES = 10
# Marks of temporary names beside a file: the new content, and the old one it replaces.
_NEW, _OLD = ".new", ".old"
# Arguments of Linux's renameat2: relative to the working folder; swap two names.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# The errors of a system or file system that cannot swap two names.
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


class Damaged(SiamjaxError):
    """A file that exists but cannot be used."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path to write; at the end it replaces `path`.

    If the block raises or the process dies, `path` stays as it was. Temporary files
    that dead processes of this machine left are removed.

    Raises:
      UsageError: `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file")
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
    """Gives a temporary folder to fill; at the end it replaces the folder `path`.

    At every moment either the old or the new folder is there as a whole. If the system
    cannot swap two folders, the old one is missing for a moment; if the process dies in
    that moment, `recover_folder` puts it back. If two processes replace one folder, the
    later one wins. A link to a folder stays a link.
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
    """Raises `UsageError` if `replacing` or `replacing_folder` could not write here.

    It leaves nothing: folders that it makes to try are removed again.
    """
    path = Path(os.path.realpath(path))
    try:
        for _ in range(_TRIES - 1):
            # Another process that tries the same may remove a folder of these.
            with contextlib.suppress(FileNotFoundError):
                _try_to_write(path)
                return
        _try_to_write(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _try_to_write(path):
    """Makes a folder beside a path, and removes it and the folders above it again."""
    missing = _missing_folders(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(path, _NEW)
        beside.mkdir()
        beside.rmdir()
    finally:
        _remove_empty(missing)


def recover_folder(path: str | os.PathLike) -> None:
    """Puts back the folder that a process moved aside before it died."""
    path = Path(os.path.realpath(path))
    if not path.exists():
        for old in _leftovers(path, _OLD):
            with contextlib.suppress(FileNotFoundError):  # another process did it
                os.rename(old, path)
            return


def remove_leftovers(path: str | os.PathLike) -> None:
    """Removes temporary files that dead processes of this machine left for a path."""
    path = Path(path)
    leftovers = _leftovers(path, _NEW)
    if path.exists():
        leftovers += _leftovers(path, _OLD)
    for leftover in leftovers:
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


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
    """Writes rows as CSV; cells are escaped, see `escape_cell`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([escape_cell(value) for value in row] for row in rows)
    write_text(path, text.getvalue())


def escape_cell(value: Any) -> Any:
    """A cell that no spreadsheet runs as a formula; numbers stay as they are."""
    if isinstance(value, str) and _is_formula(value) and not _is_number(value):
        return f"'{value}"
    return value


def unescape_cell(text: str) -> str:
    """The inverse of `escape_cell`."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def list_files(folder: str | os.PathLike) -> Iterator[Path]:
    """Yields all files in a folder and its folders, also those behind links.

    A folder that several links lead to is listed once.
    """
    seen = set()
    for parent, folders, names in os.walk(os.fspath(folder), followlinks=True):
        about = os.stat(parent)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders.sort()
        yield from (Path(parent) / name for name in sorted(names))


def open_at_once(path: str, flags: int) -> int:
    """An `opener` for `open` that does not wait for a writer of a named pipe.

    A pipe that has a writer, such as a shell's `<(zcat FILE)`, is read like a file.
    """
    handle = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    return handle


def read_json(path: str | os.PathLike, remedy: str) -> Any:
    """The value of a JSON file.

    Args:
      path: of the file.
      remedy: what the user can do if it is damaged; the error message ends with it.
    Raises:
      Damaged: it is not JSON.
      OSError: it does not exist or cannot be opened.
    """
    with parsing(path, remedy):
        return json.loads(Path(path).read_bytes())


@contextlib.contextmanager
def parsing(path: str | os.PathLike, remedy: str) -> Iterator[None]:
    """Turns errors of a parser into `Damaged`, one line with the file and a remedy.

    An OSError that names its file is not changed: its message says what failed. A lack
    of memory becomes a plain `SiamjaxError`: the file may be sound.
    """
    try:
        yield
    except SiamjaxError:
        raise
    except MemoryError as error:
        raise SiamjaxError(f"{path} needs more memory than there is") from error
    except Exception as error:  # zip, JSON, NumPy and CSV readers raise many kinds
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        text = f"{path} is damaged or of another version ({reason}): {remedy}"
        raise Damaged(text) from error


@contextlib.contextmanager
def open_file(path: str | os.PathLike, mode: str, **options: Any) -> Iterator[IO]:
    """An open file that is closed at the end; options are those of `open`.

    The last bytes may be written only on close: an error there names the file, too.
    """
    file = open(path, mode, **options)
    try:
        yield file
    finally:
        with naming_file(path):
            file.close()


def sync(file: IO) -> None:
    """Flushes an open file to the disk."""
    with naming_file(file.name):
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def naming_file(path: str | os.PathLike) -> Iterator[None]:
    """Adds the file's name to a system error: an error of `write` has none."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turns a system error while reading into a `SiamjaxError` that names the file.

    Other errors are not changed. Use it, and not `parsing`, for readers that must
    handle any content: there, any other error is a defect of the reader.
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
    """Locks a folder for this process; the lock ends when the process ends.

    If the block raises before it wrote anything, the lock's file is removed, and so are
    the folders that were made for it.

    Args:
      folder: created if it does not exist.
      wait: wait for another process to finish, instead of raising an error.
    Raises:
      UsageError: another process has the lock, and the message names its host and id;
        or the folder is one that cannot be written.
    """
    folder = Path(folder)
    missing = _missing_folders(folder)
    try:
        file = _open_locked(folder / _LOCK, wait)
    except BlockingIOError:
        raise UsageError(
            f"{folder} is in use by {_lock_holder(folder)}: wait for it, or give "
            "another folder"
        ) from None
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}: give another folder"
        ) from None
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        file.flush()
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                if os.listdir(folder) == [_LOCK]:
                    (folder / _LOCK).unlink()
                    _remove_empty(missing)
            raise


@contextlib.contextmanager
def appending(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """An open file to read and append to, which this process alone may use.

    If the block raises and the file is empty, it is removed, and so are the folders
    that were made for it.

    Args:
      path: created if it does not exist, with its folders.
    Raises:
      UsageError: another process has the file.
    """
    path = Path(path)
    missing = _missing_folders(path.parent)
    try:
        file = _open_locked(path, wait=False)
    except BlockingIOError:
        raise UsageError(
            f"{path} is in use by another process: wait for it, or give another folder"
        ) from None
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):
            if not path.stat().st_size:
                path.unlink()
                _remove_empty(missing)
        raise
    finally:
        with naming_file(path):
            file.close()


def _open_locked(path, wait):
    """A file, made if need be, open and locked; `BlockingIOError`: another has it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "a+b")
        except FileNotFoundError:
            if path.is_symlink():  # to nowhere
                raise
            continue  # another process removed the folder just now
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Another process can have removed the file before this one had the lock.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock_holder(folder):
    """Who has the lock of a folder."""
    with contextlib.suppress(OSError):
        return (folder / _LOCK).read_text().strip() or "another process"
    return "another process"


def _missing_folders(folder):
    """A folder and those above it that are not there, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove_empty(folders):
    """Removes folders, up to the first that is not there or holds something."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _is_formula(text):
    """Whether text begins like a formula, also after apostrophes of `escape_cell`."""
    return text.lstrip("'").startswith(_FORMULA)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _sync(path):
    """Flushes a file or folder, given by its path, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path, mark):
    """A temporary path beside a file or folder, of this process."""
    return path.with_name(f"{mark}.{socket.gethostname()}.{os.getpid()}.{path.name}")


def _leftovers(path, mark):
    """The temporary paths of dead processes of this machine for a path."""
    prefix = f"{mark}.{socket.gethostname()}."
    leftovers = []
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        if other.name.startswith(prefix):
            number, _, name = other.name.removeprefix(prefix).partition(".")
            if name == path.name and number.isdigit() and not _is_alive(int(number)):
                leftovers.append(other)
    return leftovers


def _swap(new, path):
    """Renames folder `new` to `path`; an old folder there gets the name `new`."""
    while True:
        try:
            return os.rename(new, path)  # works if `path` is free or an empty folder
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


def _exchange(first, second):
    """Swaps two names in one step; False if this system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if not rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is alive and belongs to another user
    return True
