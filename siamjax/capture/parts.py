"""Files of one capture that were written in a row, as one session.

tcpdump (-C, -G, -W) and dumpcap (-b) begin a new file where one is full or old. A
message, a fragmented packet or a transaction may begin in one file and end in the next,
so that all of them are read as one stream of packets.
"""

import dataclasses
import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from siamjax.capture import clock, packets
from siamjax.types import SiamjaxError, UsageError

# Two files overlap by less than this where packets are only a little out of order.
_LATE_NS = 50_000_000


@dataclasses.dataclass(frozen=True)
class Parts(os.PathLike):
    """The files of a session. Where one path is expected, it stands for its name."""

    name: str
    paths: tuple[Path, ...]

    def __fspath__(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


class Seam(NamedTuple):
    """Where the packets of one file end and those of the next begin."""

    before: str  # names of the files
    after: str
    last_ns: int  # the latest packet so far, as the files have it
    first_ns: int  # the first packet of the next file


def parse_sessions(texts: Sequence[str]) -> dict[str, str]:
    """{name: pattern} of texts NAME=GLOB.

    Raises:
      UsageError: a text has another form, or two have the same name.
    """
    sessions: dict[str, str] = {}
    for text in texts:
        name, _, pattern = text.partition("=")
        if not name or not pattern or "/" in name:
            raise UsageError(
                f"--session={text}: write NAME=GLOB, as in 'trunk=trunk_*.pcap'"
            )
        if name in sessions:
            raise UsageError(f"--session={name} is there twice: one pattern for each")
        sessions[name] = pattern
    return sessions


def match_files(name: str, pattern: str) -> Parts:
    """The files of a session by a pattern of their paths.

    Raises:
      UsageError: no file has such a path.
    """
    paths = [Path(path) for path in glob.glob(pattern, recursive=True)]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise UsageError(f"--session={name}={pattern}: there is no such file")
    return in_row(name, paths)


def in_row(name: str, paths: Iterable[Path]) -> Parts:
    """The `Parts` of these files, sorted by name; 10 comes after 2."""
    return Parts(name, tuple(sorted(paths, key=_natural)))


def list_parts(path: str | os.PathLike) -> tuple[Path, ...]:
    """The files of a session, or the one file."""
    return path.paths if isinstance(path, Parts) else (Path(path),)


def size_of(path: str | os.PathLike) -> int:
    """Bytes of all files of a session; 0 where they are not known, as of a pipe."""
    try:
        return sum(map(os.path.getsize, list_parts(path)))
    except OSError:
        return 0


def read_in_order(
    path: str | os.PathLike,
    counts: Counter,
    seams: list[Seam],
    *,
    limit_expansion: bool = True,
) -> Iterator[tuple[int, int, bytes, int]]:
    """Yields the packets of a file as `packets.read_packets`; of `Parts`, of all files.

    Files come in order of their first packets. One without a packet, such as the
    newest, to which nothing was written yet, is passed over.

    Args:
      path: of the file, or of several.
      counts: receives the number of irregularities by cause.
      seams: receives where two files meet.
      limit_expansion: whether a file that expands beyond the limits is refused.
    Raises:
      SiamjaxError: a file is not a capture, or expands too much.
    """
    options = {"limit_expansion": limit_expansion}
    if not isinstance(path, Parts):
        yield from packets.read_packets(path, counts, **options)
        return
    last_ns, before = None, ""
    for first_ns, part in _in_order(path, options):
        if last_ns is not None:
            seams.append(Seam(before, part.name, last_ns, first_ns))
        last_ns, before = max(first_ns, last_ns or first_ns), part.name
        for packet in packets.read_packets(part, counts, **options):
            if packet[0] > last_ns:
                last_ns = packet[0]
            yield packet


def overlap(seams: Sequence[Seam]) -> bool:
    """Whether two files are of the same time, so that packets are put in order."""
    return any(seam.last_ns - seam.first_ns > clock.BACK_NS for seam in seams)


def describe_seams(seams: Sequence[Seam], longest_s: float) -> tuple[str, ...]:
    """Sentences on gaps and overlaps between files, and on names of another order.

    Args:
      seams: of a session.
      longest_s: a silence of this length is a gap.
    """
    lines = []
    for before, after, last_ns, first_ns in seams:
        length_s = (first_ns - last_ns) / 1e9
        if length_s >= longest_s:
            lines.append(
                f"nothing for {length_s:.1f} s between {before} and {after}: is a file "
                "missing?"
            )
        elif last_ns - first_ns > _LATE_NS:
            lines.append(
                f"{after} begins {-length_s:.2f} s before {before} ends: their packets "
                "are put in order of time"
            )
    names = [seam.before for seam in seams[:1]] + [seam.after for seam in seams]
    if pair := _disagreement(names):
        lines.append(
            f"{pair[0]} comes before {pair[1]} by its name, and behind it by its time: "
            "was the clock set, or are these several captures? They are read in order "
            "of time"
        )
    return tuple(lines)


def _disagreement(names):
    """Two names of files in order of time whose numbers say another order, or None.

    A ring begins again at its first name, once.
    """
    if len({re.sub(r"\d+", "", name) for name in names}) != 1:
        return None  # they do not differ by numbers alone
    keys = [_natural(name) for name in names]
    back = [i for i in range(1, len(keys)) if keys[i] < keys[i - 1]]
    if not back or (len(back) == 1 and keys[-1] < keys[0]):
        return None
    return names[back[-1]], names[back[-1] - 1]


def _in_order(session, options):
    """`(time of the first packet, path)` of the files that have one, in order."""
    begins = []
    for i, part in enumerate(session.paths):
        if os.path.getsize(part):
            try:
                first = next(packets.read_packets(part, Counter(), **options), None)
            except SiamjaxError as error:
                raise SiamjaxError(
                    f"{session}: {str(error).replace(str(part), part.name)}: give "
                    "--session a pattern of its captures alone"
                ) from error
            if first:
                begins.append((first[0], i, part))
    return [(first_ns, part) for first_ns, _, part in sorted(begins)]


def _natural(path):
    """Sorts `x.pcap`, `x.pcap2`, `x.pcap10` in this order."""
    words = re.split(r"(\d+)", str(path))
    return [(int(word), "") if word.isdigit() else (-1, word) for word in words]
