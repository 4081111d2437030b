"""Calls a receiver with what waits for it, in order, until it has taken all."""

import logging
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

from siamjax.alarms.spool import Spool
from siamjax.text import printable
from siamjax.types import SiamjaxError, UsageError

_LOG = logging.getLogger(__name__)
# Seconds to connect and to wait for an answer.
_TIMEOUT_S = (5.0, 10.0)
# Seconds before a call is tried again: doubled each time, up to the last.
_FIRST_S, _LAST_S = 1.0, 60.0
# Answers about what a call says: another try would be answered in the same way.
_REFUSED = (400, 413, 415, 422)


class Refused(Exception):
    """A receiver will not take this call, whenever it comes."""


class Unreachable(Exception):
    """A receiver did not take a call now."""


def make_poster(url: str) -> Callable[[dict[str, Any]], None]:
    """A function that posts JSON to a URL, with passwords from ~/.netrc.

    Raises:
      UsageError: it is no URL of HTTP, or the package requests is missing.
    """
    if not _is_http(url):
        raise UsageError(
            "a receiver is a URL that begins with http:// or https:// and a host, not "
            f"{url}"
        )
    try:
        import requests
    except ImportError:
        raise UsageError("receivers need requests: pip install requests") from None
    session = requests.Session()

    def post(body):
        try:
            answer = session.post(
                url, json=body, timeout=_TIMEOUT_S, allow_redirects=False
            )
        except requests.RequestException as error:
            raise Unreachable(f"{type(error).__name__}") from error
        if answer.status_code in _REFUSED:
            raise Refused(f"{answer.status_code} {answer.reason}")
        if not 200 <= answer.status_code < 300:
            raise Unreachable(f"it answers {answer.status_code} {answer.reason}")

    return post


def _is_http(url):
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme in ("http", "https") and bool(
            parts.hostname and parts.port != 0
        )
    except ValueError:  # of the port, or of an address of IPv6
        return False


class Delivery:
    """A thread that empties the spool of one receiver."""

    def __init__(
        self,
        receiver: str,
        spool: Spool,
        post: Callable[[dict[str, Any]], None],
        *,
        first_s: float = _FIRST_S,
    ) -> None:
        """Starts at once.

        Args:
          receiver: its name in the spool.
          spool: what waits.
          post: makes one call; it raises Refused or Unreachable.
          first_s: seconds before the first repetition.
        """
        self.receiver = receiver
        self.taken = self.refused = self.failed = 0  # calls, since the start
        self._spool, self._post, self._first_s = spool, post, first_s
        self._wake, self._stop = threading.Event(), threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Says that there is a new call."""
        self._wake.set()

    def close(self, patience_s: float) -> None:
        """Ends when nothing waits, or after `patience_s` seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(patience_s)
        self._stop.set()
        self._thread.join()

    def _run(self):
        delay_s = self._first_s
        while not self._stop.is_set():
            self._wake.clear()
            call = self._keep_trying(self._spool.first, self.receiver)
            if call is None:
                if self._closing:
                    return
                self._wake.wait()
                continue
            try:
                self._post(call.body)
            except Refused as error:
                self.refused += 1
                self._keep_trying(self._spool.refuse, call, str(error))
                _LOG.error(
                    "%s refuses an alarm (%s): it is kept in the table `refused` of %s",
                    printable(self.receiver),
                    printable(error),
                    self._spool.path,
                )
            except Unreachable as error:
                self.failed += 1
                if delay_s == self._first_s:
                    _LOG.warning(
                        "%s does not take alarms (%s): they wait on disk",
                        printable(self.receiver),
                        printable(error),
                    )
                self._stop.wait(delay_s)
                delay_s = min(2 * delay_s, _LAST_S)
                continue
            else:
                self.taken += 1
                self._keep_trying(self._spool.remove, call)
                if delay_s > self._first_s:
                    _LOG.info("%s takes alarms again", printable(self.receiver))
            delay_s = self._first_s

    def _keep_trying(self, use_spool, *values):
        """Uses the spool until the disk is no longer full; None: the end came first.

        A call that was taken is not made again, and the next one has to wait.
        """
        delay_s = self._first_s
        while True:
            try:
                return use_spool(*values)
            except SiamjaxError as error:
                if delay_s == self._first_s:
                    _LOG.error("alarms are not sent: %s", printable(error))
            if self._stop.wait(delay_s):
                return None
            delay_s = min(2 * delay_s, _LAST_S)
