"""What the test beds of RADIUS and GTP share: a router in front of one server.

uac    the client program of the protocol; see sessions.py
proxy  a router
wire   delays every frame between router and server: wire.py
uas    the server, 10.2.0.2
"""

import signal
import subprocess
import sys
import time

from testbed import HERE, SERVER_SIDE, Testbed, run, run_ip

ACCESS_NODES = 4  # senders of requests, each with its own address
FIRST_ACCESS_NODE = 11  # the last number of its address: 10.1.0.11


class RoutedBed(Testbed):
    """A test bed with a client program, a router, and a server.

    A protocol defines `client`, the file of its client program, and `_run_server`,
    which gives the process of the server, its log, and what stands there when it is
    ready.
    """

    client = ""

    def _start_all(self):
        self._add_access_nodes()
        self._start_wire()
        self._server, log, ready = self._run_server()
        self._wait_for_log(self._server, log, ready)
        self._start_client()

    def _join_core(self):
        self._add_namespace("wire")
        self._join("proxy", "core", "wire", "to_proxy")
        self._join("uas", "eth", "wire", "to_server")

    def _add_access_nodes(self):
        self.access_nodes = [
            f"10.1.0.{FIRST_ACCESS_NODE + i}" for i in range(ACCESS_NODES)
        ]
        uac, proxy, uas = map(self.namespace, ("uac", "proxy", "uas"))
        for address in self.access_nodes:
            run_ip(uac, f"addr add {address}/24 dev eth")
        run_ip(uac, "route add default via 10.1.0.1")
        run_ip(uas, "route add default via 10.2.0.1")
        run("ip", "netns", "exec", proxy, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        # Checksums that an interface were to fill in would be missing on the wire.
        for role, interface in (("uac", "eth"), ("proxy", "core"), ("uas", "eth")):
            run(*self.in_namespace(role, "ethtool", "-K", interface, "tx", "off"))

    def _start_wire(self):
        self._wire = self._start(
            "wire",
            sys.executable,
            str(HERE / "wire.py"),
            "to_proxy",
            "to_server",
            stdin=subprocess.PIPE,
        )
        self.set_delay(0.0, 0.0)

    def _start_client(self):
        network = self.network
        options = dict(
            server=SERVER_SIDE,
            nodes=",".join(self.access_nodes),
            subscribers=network.subscribers,
            hold_s=self.load.hold_s,
            interim_s=network.interim_s,
            timer_s=network.t1_ms / 1000,
            failing=",".join(f"{kind}={share}" for kind, share in self.load.failing),
        )
        self._client = self._start(
            "uac",
            sys.executable,
            str(HERE / self.client),
            *(f"--{name}={value}" for name, value in options.items()),
            stdin=subprocess.PIPE,
        )

    def _tell(self, process, line):
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()

    def set_load(self, sessions, _registers, keep_alives):
        """Begin so many sessions, and send so many keep-alives, in the next second."""
        self.set_client("load", sessions, keep_alives)

    # -- switches from which faults are made -------------------------------

    def set_client(self, setting, *values):
        """Set what the client program does: see the program."""
        self._tell(self._client, " ".join([setting, *map(str, values)]))

    def set_delay(self, mean_s, jitter_s):
        """Set the one-way delay between router and server, added to the base delay."""
        self._tell(self._wire, f"{self.base_delay_s + mean_s} {jitter_s}")

    def start_server(self):
        """Start the server again. It is not waited for: see `stop`."""
        self._server, _, _ = self._run_server()

    def stop_server(self):
        self._server.kill()

    def pause_server(self, paused):
        """Take the processor away from the server, or give it back."""
        self._server.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def _wait_for_log(self, process, log, text):
        """Wait until the server has written that it is ready."""
        deadline = time.monotonic() + 20
        while text not in (log.read_text() if log.exists() else ""):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text() if log.exists() else str(log))
            time.sleep(0.1)
