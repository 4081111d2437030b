"""One test bed: four network namespaces with a SIP caller, proxy and callee.

    uac ---- net ---- proxy ---- uas
          (bridge)

    uac    sipp callers and subscribers, 10.1.0.2; attackers use 10.1.0.3
    net    the access network, a bridge; link faults are made on its two ports
    proxy  kamailio, 10.1.0.1 (interface "access", captured) and 10.2.0.1
    uas    relay on 10.2.0.2:5060, behind it a sipp callee on 127.0.0.1:5070

The names of the namespaces end in the number of the slot. So several test beds,
which have the same addresses inside, can run at the same time. No packet leaves the
namespaces.
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
SNAP_LENGTH = 256
SUBSCRIBERS = 1000
CALLEES = 50
PROXY = "10.1.0.1:5060"
CLIENT_HOST = "10.1.0.2"
ATTACKER_HOST = "10.1.0.3"
CALL_PORT, REGISTER_PORT = 5060, 5062
CALL_CONTROL_PORT, REGISTER_CONTROL_PORT = 8888, 8889


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


def udp_socket_in(namespace):
    """A UDP socket in the namespace, for use by this process."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(handle):
        if libc.setns(handle.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")

    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace}") as away:
        enter(away)
        try:
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        finally:
            enter(home)


class Testbed:
    """A context manager; on exit all processes and namespaces are removed."""

    def __init__(self, slot, run_dir, hold_s, base_delay_s):
        self.slot = slot
        self.run_dir = Path(run_dir)
        self.hold_s = hold_s
        self.base_delay_s = base_delay_s
        self._undo = contextlib.ExitStack()

    def __enter__(self):
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self._write_scenarios_and_users()
            self._build_network()
            self._start_proxy()
            self._start_relay()
            self.start_callee()
            self._register_callees()
            self._start_load()
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
            name = self.namespace(role)
            run("ip", "netns", "add", name)
            self._undo.callback(run, "ip", "netns", "del", name)
            no_ipv6 = [f"net.ipv6.conf.{x}.disable_ipv6=1" for x in ("all", "default")]
            run(*self.in_namespace(role, "sysctl", "-qw", *no_ipv6))
            run_ip(name, "link set lo up")
        self._join("uac", "eth", "net", "to_uac")
        self._join("net", "to_proxy", "proxy", "access")
        self._join("proxy", "core", "uas", "eth")

        net = self.namespace("net")
        run_ip(net, "link add bridge type bridge")
        for port in ("to_uac", "to_proxy"):
            run_ip(net, f"link set {port} master bridge")
        run_ip(net, "link set bridge up")

        for role, interface, *hosts in (
            ("uac", "eth", CLIENT_HOST, ATTACKER_HOST),
            ("proxy", "access", "10.1.0.1"),
            ("proxy", "core", "10.2.0.1"),
            ("uas", "eth", "10.2.0.2"),
        ):
            for host in hosts:
                run_ip(self.namespace(role), f"addr add {host}/24 dev {interface}")

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

    def _start_proxy(self):
        self.proxy_control = f"unix:{self.run_dir}/kamailio.ctl"
        settings = ("-f", str(HERE / "kamailio.cfg"), "-Y", str(self.run_dir))
        control = ("-A", f'CONTROL_SOCKET="{self.proxy_control}"')
        proxy = self._start("proxy", "kamailio", "-DD", "-E", *settings, *control)
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.set_proxy("overload_percent", 0)
            except RuntimeError:
                if proxy.poll() is not None or time.monotonic() > deadline:
                    log = (self.run_dir / "kamailio.log").read_text()
                    raise RuntimeError(log) from None
                time.sleep(0.2)

    def _start_relay(self):
        self._relay = self._start(
            "uas", "python3", str(HERE / "relay.py"), stdin=subprocess.PIPE
        )
        self.set_delay(0.0, 0.0)

    def _start_sipp(self, role, scenario, host, port, options=""):
        """Start sipp with a scenario; options as one would type them."""
        # sipp must not hang up after a late or repeated message, and must not end a
        # registration with BYE.
        behaviors = "all,-abortunexp" + (",-bye" if scenario == "register.xml" else "")
        common = (
            f"-i {host} -p {port} -nostdin -watchdog_interval 0 -l 15000 "
            f"-default_behaviors {behaviors} {options}"
        )
        return self._start(
            role,
            "sipp",
            "-sf",
            str(self.run_dir / scenario),
            *common.split(),
            stop_signal=signal.SIGKILL,
        )

    def _register_callees(self):
        process = self._start_sipp(
            "uas",
            "register.xml",
            "10.2.0.2",
            5080,
            "10.2.0.1:5060 -inf callees.csv -key contact 10.2.0.2:5060 "
            f"-r 50 -m {CALLEES}",
        )
        if process.wait(20) != 0:
            raise RuntimeError(f"the callees did not register, see {self.run_dir}")

    def _start_load(self):
        self._load_control = udp_socket_in(self.namespace("uac"))
        self._undo.callback(self._load_control.close)
        self._start_sipp(
            "uac",
            "call.xml",
            CLIENT_HOST,
            CALL_PORT,
            f"{PROXY} -r 0 -inf subscribers.csv -inf callees.csv "
            f"-ci 127.0.0.1 -cp {CALL_CONTROL_PORT}",
        )
        self._start_sipp(
            "uac",
            "register.xml",
            CLIENT_HOST,
            REGISTER_PORT,
            f"{PROXY} -r 0 -inf subscribers.csv -key contact {CLIENT_HOST}:{CALL_PORT} "
            f"-ci 127.0.0.1 -cp {REGISTER_CONTROL_PORT}",
        )

    def _write_scenarios_and_users(self):
        values = {
            "hold_min_ms": round(500 * self.hold_s),
            "hold_max_ms": round(1500 * self.hold_s),
        }
        for source in (HERE / "scenarios").glob("*.xml"):
            text = re.sub(
                r"{{(\w+)}}",
                lambda hit: str(values.get(hit[1], hit[0])),
                source.read_text(),
            )
            (self.run_dir / source.name).write_text(text)
        self._write_users("subscribers.csv", "RANDOM", "sub", SUBSCRIBERS)
        self._write_users("callees.csv", "SEQUENTIAL", "callee", CALLEES)
        self._write_users("strangers.csv", "SEQUENTIAL", "stranger", CALLEES)

    def _write_users(self, file, order, prefix, count):
        """Write a file of users for sipp: name and credentials of each."""
        names = (f"{prefix}{number:04d}" for number in range(count))
        lines = (
            f"{name};[authentication username={name} password=secret]" for name in names
        )
        (self.run_dir / file).write_text("\n".join([order, *lines]) + "\n")

    # -- load and capture --------------------------------------------------

    def set_call_rate(self, per_second):
        self._set_rate(CALL_CONTROL_PORT, per_second)

    def set_register_rate(self, per_second):
        self._set_rate(REGISTER_CONTROL_PORT, per_second)

    def _set_rate(self, control_port, per_second):
        self._load_control.sendto(
            f"cset rate {per_second}".encode(), ("127.0.0.1", control_port)
        )

    def start_capture(self, pcap):
        """Start a capture at the proxy's access interface; returns its epoch time."""
        options = f"-i access -s {SNAP_LENGTH} -n -U --immediate-mode -Z root -w"
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

    def set_proxy(self, variable, value):
        """Set one of the shared variables of kamailio.cfg."""
        run(
            "kamcmd", "-s", self.proxy_control, "pv.shvSet", variable, "int", str(value)
        )

    def block_proxy(self, blocked):
        """Drop all packets that arrive at the proxy, after they were captured."""
        rules = (
            "table inet block {\nchain input {\n"
            " type filter hook input priority 0; policy drop;\n}\n}"
        )
        self._set_rules("proxy", "inet block", rules if blocked else "")

    def set_loss(self, percent):
        """Drop packets at random on both ports of the access network."""
        chains = "".join(
            f"chain {port} {{\n type filter hook egress device {port} priority 0;\n"
            f" ip protocol udp numgen random mod 100 < {percent} drop\n}}\n"
            for port in ("to_uac", "to_proxy")
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

    def set_delay(self, mean_s, jitter_s):
        """Set the one-way delay between proxy and callee, added to the base delay."""
        self._relay.stdin.write(f"{self.base_delay_s + mean_s} {jitter_s}\n".encode())
        self._relay.stdin.flush()

    def start_callee(self):
        self._callee = self._start_sipp("uas", "answer.xml", "127.0.0.1", 5070)

    def stop_callee(self):
        self._callee.kill()
        self._callee.wait()

    def start_storm(self, per_second):
        """Start additional registrations; returns the running process."""
        contact = f"{CLIENT_HOST}:{CALL_PORT}"
        return self._start_sipp(
            "uac",
            "register.xml",
            CLIENT_HOST,
            5064,
            f"{PROXY} -r {per_second} -inf subscribers.csv -key contact {contact}",
        )

    def start_flood(self, per_second, users):
        """Start INVITEs without ACK, to the users of a file; returns the process."""
        options = f"{PROXY} -r {per_second} -inf {users}"
        return self._start_sipp("uac", "flood.xml", ATTACKER_HOST, 5060, options)

    def stop(self, process):
        self._stop(process, signal.SIGKILL)
