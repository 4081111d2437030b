"""The topology that every test bed has, its capture, and the faults of its links.

    uac ---- net ---- proxy ---- uas
          (bridge)

    uac    the clients, 10.1.0.2; attackers use 10.1.0.3
    net    the access network, a bridge; link faults are made on its two ports
    proxy  10.1.0.1 (interface "access") and 10.2.0.1 (interface "core")
    uas    the servers, 10.2.0.2

What runs in them is in the module of each protocol: see sip_bed.py, radius_bed.py and
gtp_bed.py.

The capture is made at one of the two interfaces of the proxy. With IPv6 the addresses
of the access side are fd00:1::1, ::2 and ::3. The names of the namespaces end in the
number of the slot. So several test beds, which have the same addresses inside, can run
at the same time. No packet leaves the namespaces.
"""

import contextlib
import ctypes
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVER_SIDE = "10.2.0.2"


def run(*command, stdin=None):
    """Run a command to its end; raise RuntimeError with its message if it fails."""
    result = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(
            f"{' '.join(command)}: {result.stderr.strip() or result.stdout[-500:]}"
        )


def run_ip(namespace, arguments):
    """Run `ip` with arguments, as one would type them, for a namespace."""
    run("ip", "-n", namespace, *arguments.split())


def socket_in(namespace, kind):
    """A socket in the namespace, for use by this process."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(handle):
        if libc.setns(handle.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")

    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace}") as away:
        enter(away)
        try:
            return socket.socket(socket.AF_INET, kind)
        finally:
            enter(home)


def fill(template, values):
    """A template with each {{name}} replaced by its value."""
    return re.sub(r"{{(\w+)}}", lambda name: str(values[name[1]]), template)


class Testbed:
    """A context manager; on exit all processes and namespaces are removed.

    The test bed of a protocol starts its servers and clients in `_start_all`.
    """

    def __init__(self, network, load, base_delay_s, *, slot, run_dir):
        self.network = network
        self.load = load
        self.base_delay_s = base_delay_s
        self.slot = slot
        self.run_dir = Path(run_dir)
        prefix = "10.1.0." if network.ip_version == 4 else "fd00:1::"
        self.hosts = {
            name: f"{prefix}{number}"
            for number, name in enumerate(("proxy", "client", "attacker"), start=1)
        }
        self._undo = contextlib.ExitStack()

    def __enter__(self):
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self._build_network()
            self._start_all()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_):
        self._undo.close()

    # -- network -----------------------------------------------------------

    def namespace(self, role):
        return f"{role}{self.slot}"

    def in_namespace(self, role, *command):
        return ("ip", "netns", "exec", self.namespace(role), *command)

    def _build_network(self):
        for role in ("uac", "net", "proxy", "uas"):
            self._add_namespace(role)
        self._join("uac", "eth", "net", "to_uac")
        self._join("net", "to_proxy", "proxy", "access")
        self._join_core()

        net = self.namespace("net")
        run_ip(net, "link add bridge type bridge")
        for port in ("to_uac", "to_proxy"):
            run_ip(net, f"link set {port} master bridge")
        run_ip(net, "link set bridge up")

        for role, interface, *hosts in (
            ("uac", "eth", self.hosts["client"], self.hosts["attacker"]),
            ("proxy", "access", self.hosts["proxy"]),
            ("proxy", "core", "10.2.0.1"),
            ("uas", "eth", SERVER_SIDE),
        ):
            for host in hosts:
                # nodad: IPv6 would wait a second before it uses the address.
                address = f"{host}/64 nodad" if ":" in host else f"{host}/24"
                run_ip(self.namespace(role), f"addr add {address} dev {interface}")

    def _add_namespace(self, role):
        name = self.namespace(role)
        run("ip", "netns", "add", name)
        self._undo.callback(run, "ip", "netns", "del", name)
        if self.network.ip_version == 4:
            no_ipv6 = [f"net.ipv6.conf.{x}.disable_ipv6=1" for x in ("all", "default")]
            run(*self.in_namespace(role, "sysctl", "-qw", *no_ipv6))
        run_ip(name, "link set lo up")

    def _join_core(self):
        """Connect proxy and servers."""
        self._join("proxy", "core", "uas", "eth")

    def _join(self, role_a, interface_a, role_b, interface_b):
        a, b = self.namespace(role_a), self.namespace(role_b)
        ends = f"{interface_a} netns {a} type veth peer name {interface_b} netns {b}"
        run("ip", *f"link add {ends}".split())
        run_ip(a, f"link set {interface_a} up")
        run_ip(b, f"link set {interface_b} up")

    # -- processes ---------------------------------------------------------

    def _start(self, role, *command, stop_signal=signal.SIGTERM, **options):
        log = open(self.run_dir / f"{Path(command[0]).stem}.log", "ab")
        process = subprocess.Popen(
            self.in_namespace(role, *command),
            cwd=self.run_dir,
            **{"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options},
        )
        log.close()
        self._undo.callback(self._stop, process, stop_signal)
        return process

    @staticmethod
    def _stop(process, stop_signal=signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(stop_signal)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # -- capture -----------------------------------------------------------

    def start_capture(self, pcap):
        """Start a capture at an interface of the proxy; returns its epoch time."""
        network = self.network
        options = (
            f"-i {network.interface} -s {network.snap_length} "
            "-n -U --immediate-mode -Z root -w"
        )
        capture = self._start(
            "proxy",
            "tcpdump",
            *options.split(),
            str(pcap),
            stop_signal=signal.SIGINT,
            stderr=subprocess.PIPE,
        )
        for line in capture.stderr:
            if b"listening on" in line:
                self._capture = capture
                return time.time()
        raise RuntimeError("tcpdump did not start")

    def stop_capture(self):
        self._stop(self._capture, signal.SIGINT)

    # -- switches from which faults are made -------------------------------

    def block_proxy(self, blocked):
        """Drop all packets that arrive at the proxy, after they were captured."""
        # Without its neighbours' addresses IPv6 could not even send.
        neighbours = "{ nd-neighbor-solicit, nd-neighbor-advert }"
        rules = (
            "table inet block {\nchain input {\n"
            " type filter hook input priority 0; policy drop;\n"
            f" icmpv6 type {neighbours} accept\n}}\n"
            "chain forward {\n type filter hook forward priority 0; policy drop;\n}\n}"
        )
        self._set_rules("proxy", "inet block", rules if blocked else "")

    def set_loss(self, percent, ports):
        """Drop packets at random on ports of the access network."""
        chains = "".join(
            f"chain {port} {{\n type filter hook egress device {port} priority 0;\n"
            f" meta l4proto udp numgen random mod 100 < {percent} drop\n}}\n"
            for port in ports
        )
        self._set_rules(
            "net", "netdev loss", f"table netdev loss {{\n{chains}}}" if percent else ""
        )

    def _set_rules(self, role, table, rules):
        run(
            *self.in_namespace(role, "nft", "-f", "-"),
            stdin=f"table {table}\ndelete table {table}\n{rules}\n",
        )

    def limit_capacity(self, uplink_bps, downlink_bps, queue_s):
        """Shape both directions of the access network with a token bucket."""
        for port, bps in (("to_proxy", uplink_bps), ("to_uac", downlink_bps)):
            queue_ms = round(1000 * queue_s)
            bucket = f"rate {round(bps)}bit burst 3000 latency {queue_ms}ms"
            self._run_qdisc(f"replace dev {port} root tbf {bucket}")

    def remove_capacity_limit(self):
        for port in ("to_proxy", "to_uac"):
            self._run_qdisc(f"del dev {port} root")

    def _run_qdisc(self, arguments):
        run("tc", "-n", self.namespace("net"), "qdisc", *arguments.split())

    def set_link(self, state):
        """Set the link between access network and proxy "up" or "down"."""
        run_ip(self.namespace("net"), f"link set to_proxy {state}")

    def stop(self, process):
        """Kill a process. It is not waited for: that can take seconds while another
        test bed is removed, and the next action would be late.
        """
        process.kill()
