"""Names of sessions: they differ on every file system."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable

from siamjax import text
from siamjax.data import prepared

# The longest name in bytes: a file system allows 255, with the ending of the file.
LONGEST = 200
# Number of hexadecimal digits of a hash in a name.
_DIGITS = 12


def session_names(files: Iterable[str]) -> dict[str, str]:
    """A name for the session of each file. They differ even if case is ignored.

    It is the name of the file without its ending. Where two files have the same, it is
    the path with its ending. Where that is used already, or is too long, it is the
    beginning of the path with a hash.

    Args:
      files: paths in the folder of captures.
    """
    files = list(files)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for rule in (prepared.session_name, _path_as_name, _hashed_name):
        proposed = {f: rule(f) for f in files if f not in names}
        times = Counter(map(_fold, proposed.values())) + Counter(taken)
        names |= {
            file: name
            for file, name in proposed.items()
            if times[_fold(name)] == 1 and len(name.encode()) <= LONGEST
        }
        taken = set(map(_fold, names.values()))
    return names


def _path_as_name(file):
    return text.printable(file.replace("/", "__"))


def _hashed_name(file):
    digest = hashlib.sha256(os.fsencode(file)).hexdigest()[:_DIGITS]
    begin = _path_as_name(file).encode()[: LONGEST - _DIGITS - 1]
    return f"{begin.decode(errors='ignore')}-{digest}"


def _fold(name):
    """Gives the same text for two names that are the same file on some file system."""
    return unicodedata.normalize("NFC", name.casefold())
