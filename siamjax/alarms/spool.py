"""Calls that wait on disk until their receiver has taken them.

One SQLite file: a record, the alarms that last after it, and the calls that it makes
are written together or not at all, so a crash neither loses nor doubles a call.
"""

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from siamjax import files
from siamjax.alarms.alarm import Alarm
from siamjax.types import SiamjaxError

# Ids that are remembered: the monitor may repeat its last records after a crash.
_REMEMBERED = 10_000
_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
  number INTEGER PRIMARY KEY AUTOINCREMENT, receiver TEXT, body TEXT);
CREATE TABLE IF NOT EXISTS refused (
  number INTEGER PRIMARY KEY, receiver TEXT, body TEXT, reason TEXT);
CREATE TABLE IF NOT EXISTS lasting (place TEXT PRIMARY KEY, alarm TEXT);
CREATE TABLE IF NOT EXISTS records (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE);
"""


class Call(NamedTuple):
    """One call that a receiver has not taken yet."""

    number: int
    body: dict[str, Any]


class Spool:
    """The calls that wait, and the alarms that last; threads may share it."""

    def __init__(self, path: str | os.PathLike) -> None:
        """Opens a file, which is made if it is not there.

        Raises:
          files.Damaged: it is not such a file.
          SiamjaxError: it cannot be written, such as on a full disk.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = sqlite3.connect(self.path, check_same_thread=False)
        remedy = "move it away; alarms that wait in it are lost"
        with files.parsing(self.path, remedy), self._writing():
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.executescript(_TABLES)

    def close(self) -> None:
        """Closes the file; calls that wait stay in it."""
        with self._lock:
            self._file.close()

    def lasting(self) -> dict[str, Alarm]:
        """The alarms that last, see `alarm.follow`."""
        rows = self._read("SELECT place, alarm FROM lasting")
        return {place: Alarm(**json.loads(alarm)) for place, alarm in rows}

    def has(self, record_id: str) -> bool:
        """Whether a record was put before."""
        return bool(self._read("SELECT 1 FROM records WHERE id = ?", record_id))

    def put(
        self,
        record_id: str,
        lasting: Mapping[str, Alarm],
        calls: Iterable[tuple[str, Mapping[str, Any]]],
    ) -> None:
        """Writes what one record makes.

        Args:
          record_id: of the record.
          lasting: the alarms that last after it.
          calls: (receiver, body) of each call, in order.
        """
        alarms = [(key, json.dumps(a._asdict())) for key, a in lasting.items()]
        bodies = [(receiver, json.dumps(body)) for receiver, body in calls]
        with self._writing() as file:
            file.execute("INSERT INTO records (id) VALUES (?)", (record_id,))
            file.execute(
                "DELETE FROM records WHERE number <= "
                "(SELECT MAX(number) FROM records) - ?",
                (_REMEMBERED,),
            )
            file.execute("DELETE FROM lasting")
            file.executemany("INSERT INTO lasting VALUES (?, ?)", alarms)
            file.executemany("INSERT INTO calls (receiver, body) VALUES (?, ?)", bodies)

    def first(self, receiver: str) -> Call | None:
        """The call of a receiver that has waited longest."""
        rows = self._read(
            "SELECT number, body FROM calls WHERE receiver = ? ORDER BY number LIMIT 1",
            receiver,
        )
        return Call(rows[0][0], json.loads(rows[0][1])) if rows else None

    def remove(self, call: Call) -> None:
        """Forgets a call that was taken."""
        with self._writing() as file:
            file.execute("DELETE FROM calls WHERE number = ?", (call.number,))

    def refuse(self, call: Call, reason: str) -> None:
        """Puts a call aside, which its receiver will never take."""
        with self._writing() as file:
            file.execute(
                "INSERT INTO refused SELECT number, receiver, body, ? FROM calls "
                "WHERE number = ?",
                (reason, call.number),
            )
            file.execute("DELETE FROM calls WHERE number = ?", (call.number,))

    def waiting(self) -> dict[str, int]:
        """{receiver: calls that wait}, of those with any."""
        rows = self._read("SELECT receiver, COUNT(*) FROM calls GROUP BY receiver")
        return dict(rows)

    @contextlib.contextmanager
    def _writing(self):
        """The file, in which all is written or nothing."""
        with self._using(), self._file as file:
            yield file

    @contextlib.contextmanager
    def _using(self):
        try:
            with self._lock:
                yield
        except sqlite3.OperationalError as error:  # such as a full disk
            raise SiamjaxError(
                f"{self.path} cannot be written ({error}): make room on the disk"
            ) from error

    def _read(self, query, *values):
        with self._using():
            return self._file.execute(query, values).fetchall()
