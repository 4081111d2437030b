"""Serves the live page and the metrics over HTTP."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import siamjax
from siamjax.types import UsageError

# Seconds after which an open page loads itself again.
FOLLOW_S = 2
# How often the server looks whether it should end.
_POLL_S = 0.05


def parse_address(text: str) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`; raises UsageError if it has another form."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {text!r} is not HOST:PORT, as in 127.0.0.1:9464")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def serving(
    address: tuple[str, int], page: Callable[[], str], collector: Any
) -> Iterator[int]:
    """Serves `/` and `/metrics` until the block ends; gives the port.

    Args:
      address: host and port; port 0: any that is free.
      page: gives the live page.
      collector: of prometheus_client.
    Raises:
      UsageError: the address cannot be used, or prometheus_client is missing.
    """
    try:
        import prometheus_client
    except ImportError:
        raise UsageError(
            "--listen needs prometheus_client: pip install prometheus_client"
        ) from None
    registry = prometheus_client.CollectorRegistry()
    registry.register(collector)

    base: Any = prometheus_client.MetricsHandler.factory(registry)

    class Handler(base):
        def do_GET(self):
            path = self.path.partition("?")[0]
            if path == "/metrics":
                return super().do_GET()
            if path != "/":
                return self.send_error(404)
            body = page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)
            return None

        def log_message(self, *_):
            """Says nothing: a call each second is no news."""

        server_version = f"siamjax/{siamjax.__version__}"

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        daemon_threads = True

    try:
        server = Server(address, Handler)
    except OSError as error:
        host, port = address
        raise UsageError(
            f"--listen {host}:{port} cannot be used: {error.strerror}"
        ) from None
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
