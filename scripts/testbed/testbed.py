"""One test bed: four network namespaces with a SIP caller, proxy and callee.

    uac ---- net ---- proxy ---- uas
          (bridge)

    uac    sipp callers and subscribers, 10.1.0.2; attackers use 10.1.0.3
    net    the access network, a bridge; link faults are made on its two ports
    proxy  kamailio, 10.1.0.1 (interface "access") and 10.2.0.1 (interface "core")
    uas    relay on 10.2.0.2:5060, behind it a sipp callee on 127.0.0.1:5070;
           in some networks a second kamailio, the registrar, on 10.2.0.2:5090

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
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CALLEES = 50
CALLEES_EXPIRE_S = 7200  # they register once
DIALLED = 400  # lines of callees.csv, where some of the calls fail
FAILING_USERS = 10  # users of each kind to whom calls fail
CALL_PORT, REGISTER_PORT, OPTIONS_PORT = 5060, 5062, 5066
CALL_CONTROL_PORT, REGISTER_CONTROL_PORT, OPTIONS_CONTROL_PORT = 8888, 8889, 8890
CALLEE_SIDE = "10.2.0.2"
REGISTRAR = f"{CALLEE_SIDE}:5090"
# Shared variables of kamailio.cfg that belong to the registrar.
REGISTRAR_VARIABLES = ("auth_fail_percent", "registrar_delay_us")


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


def fill(template, values):
    """A template with each {{name}} replaced by its value."""
    return re.sub(r"{{(\w+)}}", lambda name: str(values[name[1]]), template)


def cycle(items, count):
    """A list of count items, again from the first one after the last one."""
    return [items[i % len(items)] for i in range(count)]


class Testbed:
    """A context manager; on exit all processes and namespaces are removed."""

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
        self.proxy = self._socket("proxy", 5060)
        self._controls = {}  # role of a kamailio -> its control socket
        self._undo = contextlib.ExitStack()

    def _socket(self, host, port):
        address = self.hosts[host]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def __enter__(self):
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self._write_scenarios()
            self._write_all_users()
            self._build_network()
            self._start_kamailio("proxy", (self.proxy, "10.2.0.1:5060"))
            if self.network.core_registrar:
                self._start_kamailio("uas", (REGISTRAR,))
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
            if self.network.ip_version == 4:
                no_ipv6 = [
                    f"net.ipv6.conf.{x}.disable_ipv6=1" for x in ("all", "default")
                ]
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
            ("uac", "eth", self.hosts["client"], self.hosts["attacker"]),
            ("proxy", "access", self.hosts["proxy"]),
            ("proxy", "core", "10.2.0.1"),
            ("uas", "eth", CALLEE_SIDE),
        ):
            for host in hosts:
                # nodad: IPv6 would wait a second before it uses the address.
                address = f"{host}/64 nodad" if ":" in host else f"{host}/24"
                run_ip(self.namespace(role), f"addr add {address} dev {interface}")

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

    def _start_kamailio(self, role, sockets):
        """Start the proxy or the registrar, and wait until it can be controlled."""
        name = f"kamailio_{role}"
        self._controls[role] = control = f"unix:{self.run_dir}/{name}.ctl"
        values = dict(
            control=control,
            listen="\n".join(f"listen=udp:{socket}" for socket in sockets),
            t1_ms=self.network.t1_ms,
            no_answer_ms=self.network.no_answer_ms,
            ringing_ms=self.network.ringing_ms,
            callee_side=CALLEE_SIDE,
            registrar=REGISTRAR,
        )
        config = self.run_dir / f"{name}.cfg"
        config.write_text(fill((HERE / "kamailio.cfg").read_text(), values))
        run_dir = self.run_dir / name
        run_dir.mkdir()
        forward = role == "proxy" and self.network.core_registrar
        process = self._start(
            role,
            "kamailio",
            *("-DD", "-E", "-f", str(config), "-Y", str(run_dir)),
            *(("-A", "FORWARD_REGISTRATIONS") if forward else ()),
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                return self._set_variable(role, "overload_percent", 0)
            except RuntimeError:
                if process.poll() is not None or time.monotonic() > deadline:
                    log = (self.run_dir / "kamailio.log").read_text()
                    raise RuntimeError(log) from None
                time.sleep(0.2)

    def _start_relay(self):
        self._relay = self._start(
            "uas", sys.executable, str(HERE / "relay.py"), stdin=subprocess.PIPE
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
        count = len((self.run_dir / "registered.csv").read_text().split()) - 1
        process = self._start_sipp(
            "uas",
            "register.xml",
            CALLEE_SIDE,
            5080,
            f"10.2.0.1:5060 -inf registered.csv -key contact {CALLEE_SIDE}:5060 "
            f"-key expires {CALLEES_EXPIRE_S} -r 50 -m {count}",
        )
        if process.wait(20) != 0:
            raise RuntimeError(f"the callees did not register, see {self.run_dir}")

    def _start_load(self):
        self._load_control = udp_socket_in(self.namespace("uac"))
        self._undo.callback(self._load_control.close)
        subscribers = "-inf subscribers.csv"
        contact = self._contact_keys()
        sources = [
            (
                "call.xml",
                CALL_PORT,
                CALL_CONTROL_PORT,
                f"{subscribers} -inf callees.csv",
            ),
            (
                "register.xml",
                REGISTER_PORT,
                REGISTER_CONTROL_PORT,
                f"{subscribers} {contact}",
            ),
        ]
        if self.load.options_rps:
            sources.append(
                ("options.xml", OPTIONS_PORT, OPTIONS_CONTROL_PORT, subscribers)
            )
        for scenario, port, control_port, options in sources:
            control = f"-ci 127.0.0.1 -cp {control_port}"
            self._start_sipp(
                "uac",
                scenario,
                self.hosts["client"],
                port,
                f"{self.proxy} -r 0 {options} {control}",
            )

    def _contact_keys(self):
        """Options of sipp for register.xml."""
        contact = self._socket("client", CALL_PORT)
        return f"-key contact {contact} -key expires {self.network.expires_s}"

    def _write_scenarios(self):
        values = dict(
            hold_min_ms=round(500 * self.load.hold_s),
            hold_max_ms=round(1500 * self.load.hold_s),
            t1_ms=self.network.t1_ms,
        )
        for source in (HERE / "scenarios").glob("*.xml"):
            (self.run_dir / source.name).write_text(fill(source.read_text(), values))

    def _write_all_users(self):
        def names(prefix, count):
            return [f"{prefix}{number:04d}" for number in range(count)]

        def write(file, order, users):
            """Write users for sipp: of each one the name and the credentials."""
            lines = (
                f"{name};[authentication username={name} password=secret]"
                for name in users
            )
            (self.run_dir / file).write_text("\n".join([order, *lines]) + "\n")

        write("subscribers.csv", "RANDOM", names("sub", self.network.subscribers))
        write("strangers.csv", "SEQUENTIAL", names("stranger", CALLEES))
        callees = names("callee", CALLEES)
        if not self.load.failing:
            write("registered.csv", "SEQUENTIAL", callees)
            return write("callees.csv", "SEQUENTIAL", callees)
        dialled, registered = [], list(callees)
        for kind, share in self.load.failing:
            users = names(kind, FAILING_USERS)
            dialled += cycle(users, round(share * DIALLED))
            if kind != "stranger":
                registered += users
        dialled += cycle(callees, DIALLED - len(dialled))
        write("registered.csv", "SEQUENTIAL", registered)
        return write("callees.csv", "RANDOM", dialled)

    # -- load and capture --------------------------------------------------

    def set_call_rate(self, per_second):
        self._set_rate(CALL_CONTROL_PORT, per_second)

    def set_register_rate(self, per_second):
        self._set_rate(REGISTER_CONTROL_PORT, per_second)

    def set_options_rate(self, per_second):
        self._set_rate(OPTIONS_CONTROL_PORT, per_second)

    def _set_rate(self, control_port, per_second):
        self._load_control.sendto(
            f"cset rate {per_second}".encode(), ("127.0.0.1", control_port)
        )

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

    def set_proxy(self, variable, value):
        """Set one of the shared variables of kamailio.cfg, where it has an effect."""
        at_registrar = self.network.core_registrar and variable in REGISTRAR_VARIABLES
        self._set_variable("uas" if at_registrar else "proxy", variable, value)

    def _set_variable(self, role, variable, value):
        control = self._controls[role]
        run("kamcmd", "-s", control, "pv.shvSet", variable, "int", str(value))

    def block_proxy(self, blocked):
        """Drop all packets that arrive at the proxy, after they were captured."""
        # Without its neighbours' addresses IPv6 could not even send.
        neighbours = "{ nd-neighbor-solicit, nd-neighbor-advert }"
        rules = (
            "table inet block {\nchain input {\n"
            " type filter hook input priority 0; policy drop;\n"
            f" icmpv6 type {neighbours} accept\n}}\n}}"
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

    def set_delay(self, mean_s, jitter_s):
        """Set the one-way delay between proxy and callee, added to the base delay."""
        self._relay.stdin.write(f"{self.base_delay_s + mean_s} {jitter_s}\n".encode())
        self._relay.stdin.flush()

    def start_callee(self):
        self._callee = self._start_sipp("uas", "answer.xml", "127.0.0.1", 5070)

    def stop_callee(self):
        self._callee.kill()

    def start_storm(self, per_second):
        """Start additional registrations; returns the running process."""
        return self._start_sipp(
            "uac",
            "register.xml",
            self.hosts["client"],
            5064,
            f"{self.proxy} -r {per_second} -inf subscribers.csv {self._contact_keys()}",
        )

    def start_flood(self, per_second, users):
        """Start INVITEs without ACK, to the users of a file; returns the process."""
        options = f"{self.proxy} -r {per_second} -inf {users}"
        return self._start_sipp(
            "uac", "flood.xml", self.hosts["attacker"], 5060, options
        )

    def stop(self, process):
        """Kill a process. It is not waited for: that can take seconds while another
        test bed is removed, and the next action would be late.
        """
        process.kill()
