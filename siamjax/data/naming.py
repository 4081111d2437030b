"""Names of sessions: each file has one of its own, whatever the file system."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable

from siamjax import text
from siamjax.data import prepared

# The longest name in bytes: a file system takes 255, with an ending.
LONGEST = 200
# Hexadecimal digits of a hash that tells two names apart.
_DIGITS = 12


def session_names(files: Iterable[str]) -> dict[str, str]:
    """A name for each file's session: no two are one, also where case does not count.

    It is the name of the file; where two files share that, the path with its ending;
    where that is taken, too, or too long, a hash of the path tells them apart.

    Args:
      files: paths in the folder of captures.
    """
    files = list(files)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for rule in (prepared.session_name, _path_as_name, _hashed_name):
        made = {f: rule(f) for f in files if f not in names}
        times = Counter(map(_alike, made.values())) + Counter(taken)
        names |= {
            file: name
            for file, name in made.items()
            if times[_alike(name)] == 1 and len(name.encode()) <= LONGEST
        }
        taken = set(map(_alike, names.values()))
    return names


def _path_as_name(file):
    return text.printable(file.replace("/", "__"))


def _hashed_name(file):
    digest = hashlib.sha256(os.fsencode(file)).hexdigest()[:_DIGITS]
    begin = _path_as_name(file).encode()[: LONGEST - _DIGITS - 1]
    return f"{begin.decode(errors='ignore')}-{digest}"


def _alike(name):
    """Equal for names that are one on some file system."""
    return unicodedata.normalize("NFC", name.casefold())
