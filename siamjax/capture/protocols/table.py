"""What siamjax must know of a protocol: one record `Protocol`, in one file each.

A message is a request, an answer with an outcome, or a notice, which nothing answers.
The kind of its event is `protocol:procedure` or `protocol:procedure/outcome`.
"""

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

# Kinds of events that are no message: an error of the transport (of ICMP, a reset of
# TCP, an abort of SCTP), and a segment of TCP or a chunk of SCTP that was sent again.
ERROR, RESENT = "error", "resent"
# In place of the procedure or the outcome of a message that the table does not have.
OTHER = "other"
# Answers of procedures without columns of their own count together.
REST = "rest"

# Outcomes of nearly every protocol: the first class whose pattern fits.
REJECTION = "rejection"


class Message(NamedTuple):
    """One message of a frame."""

    procedure: str = ""  # empty: an answer that does not say it; its request does
    outcome: str = ""  # empty: a request
    name: tuple[str, ...] = ()  # of the transaction, between two ends; empty: unknown
    mark: str = ""  # the same in a request and its repetitions


class Wait(NamedTuple):
    """The time from a request to what ends it."""

    procedure: str
    end: str  # what ends it, for the names of columns
    timer_s: float  # then the requester gives up
    ends: tuple[str, ...] = ("*",)  # patterns of outcomes that end it


class Frame:
    """The fields of a frame that tshark printed."""

    def __init__(self, cells: Sequence[str], places: Mapping[str, int]):
        self._cells, self._places = cells, places

    def values(self, field: str) -> list[str]:
        """All values of a field, in the order of the frame."""
        cell = self._cells[self._places[field]]
        return cell.split(SEPARATOR) if cell else []

    def first(self, field: str) -> str:
        """The first value of a field; empty: it has none."""
        return self._cells[self._places[field]].partition(SEPARATOR)[0]

    def last(self, field: str) -> str:
        """The last value of a field; empty: it has none."""
        return self._cells[self._places[field]].rpartition(SEPARATOR)[2]


SEPARATOR = "\x1f"  # between the values of a field: no field holds it

Read = Callable[[Frame], Iterable[Message]]


class Protocol(NamedTuple):
    """How messages of a protocol are recognised, read and counted."""

    name: str  # in kinds, columns and flags
    short: str  # its usual name
    standard: str
    procedures: tuple[str, ...]  # each has a column of its requests
    answered: tuple[str, ...]  # those of them with columns of outcomes of their own
    classes: Mapping[str, tuple[str, ...]]  # name: patterns of outcomes; the first fits
    causes: Mapping[str, str]  # common outcomes: each has a column; what it means
    waits: tuple[Wait, ...]
    # Procedures whose messages have a cause, but which nothing answers.
    notices: frozenset[str] = frozenset()
    ports: Mapping[str, tuple[int, ...]] = {}  # of udp, tcp, sctp; ppid: of SCTP
    carriers: tuple[str, ...] = ()  # names of the protocols that it travels in
    layers: tuple[str, ...] = ()  # tshark's names of its layer; by default its name
    decoder: str = ""  # its name for tshark's -d; by default its name
    fixed: tuple[str, ...] = ()  # transports whose ports tshark's -d does not take
    filter: str = ""  # tshark's display filter; empty: not read by tshark
    markers: tuple[str, ...] = ()  # fields: each message has one of them
    fields: tuple[str, ...] = ()  # the other fields
    read: Read = lambda frame: ()
    # Whose names of transactions differ: those of each pair of ends, those of each end
    # that asks, or all.
    between: Literal["ends", "asker", "all"] = "ends"
    repeats: bool = True  # whether a requester without an answer asks again

    def class_of(self, outcome: str) -> str:
        """The name of an outcome's class; empty: it has none."""
        return next(
            (
                name
                for name, patterns in self.classes.items()
                if fits(outcome, patterns)
            ),
            "",
        )

    def is_answer(self, kind: str) -> bool:
        """Whether a kind of this protocol, without its name, is an answer."""
        procedure, slash, _ = kind.partition("/")
        return bool(slash) and procedure not in self.notices

    @property
    def longest_wait_s(self) -> float:
        """The longest timer: later, the name of a transaction means another one."""
        return max((wait.timer_s for wait in self.waits), default=60.0)


def fits(outcome: str, patterns: Iterable[str]) -> bool:
    """Whether an outcome fits one of the patterns, such as `2??`."""
    return any(fnmatch.fnmatchcase(outcome, pattern) for pattern in patterns)


def number(text: str) -> int:
    """A number as tshark prints it, decimal or with 0x; -1: it is none."""
    try:
        return int(text, 0)
    except ValueError:
        return -1


def read_types(
    types: Mapping[int, tuple[str, str] | None],
    *,
    marker: str,
    name: str,
    cause: str = "",
    answer: str = "",
) -> Read:
    """A reader of messages whose type says whether they ask or answer.

    Args:
      types: {type: (procedure, outcome)}. An empty outcome is that of a request; `*`
        takes the cause of the message, or `answer` where it has none. None: no message.
      marker: field of the type.
      name: field of the transaction.
      cause: field of the cause.
      answer: the outcome of an answer without a cause.
    """

    def read(frame: Frame) -> Iterable[Message]:
        kinds = [
            types.get(number(value), (OTHER, "")) for value in frame.values(marker)
        ]
        names = frame.values(name)
        answers = sum(kind is not None and kind[1] == "*" for kind in kinds)
        causes = share(frame.values(cause) if cause else [], answers)
        for i, kind in enumerate(kinds):
            if kind is None:
                continue
            procedure, outcome = kind
            if outcome == "*":
                outcome = causes.pop(0) if causes else answer
            transaction = (names[i],) if i < len(names) else ()
            yield Message(procedure, outcome, transaction)

    return read


def pair_types(pairs: Mapping[int, str]) -> dict[int, tuple[str, str] | None]:
    """Types of requests and of their answers, which have the next number."""
    requests = {code: (procedure, "") for code, procedure in pairs.items()}
    answers = {code + 1: (procedure, "*") for code, procedure in pairs.items()}
    return {**requests, **answers}


def share(values: Sequence[str], answers: int) -> list[str]:
    """The outcome of each of the answers in a frame, of all outcomes in it.

    Parts of an answer may have outcomes too; that of the answer comes first.
    """
    return list(values[:1] if answers == 1 else values[:answers])
