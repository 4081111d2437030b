"""The test bed of a SIP network: callers, proxy and callee; see testbed.py.

uac    sipp callers and subscribers
proxy  kamailio
uas    relay on 10.2.0.2:5060, behind it a sipp callee on 127.0.0.1:5070;
       in some networks a second kamailio, the registrar, on 10.2.0.2:5090
"""

import signal
import socket
import subprocess
import sys
import time

from testbed import HERE, SERVER_SIDE, Testbed, fill, run, socket_in

CALLEES = 50
CALLEES_EXPIRE_S = 7200  # they register once
DIALLED = 400  # lines of callees.csv, where some of the calls fail
FAILING_USERS = 10  # users of each kind to whom calls fail
CALL_PORT, REGISTER_PORT, OPTIONS_PORT = 5060, 5062, 5066
CALL_CONTROL_PORT, REGISTER_CONTROL_PORT, OPTIONS_CONTROL_PORT = 8888, 8889, 8890
REGISTRAR = f"{SERVER_SIDE}:5090"
# Shared variables of kamailio.cfg that belong to the registrar.
REGISTRAR_VARIABLES = ("auth_fail_percent", "registrar_delay_us")


def cycle(items, count):
    """A list of count items, again from the first one after the last one."""
    return [items[i % len(items)] for i in range(count)]


class SipBed(Testbed):
    """The test bed of a SIP network."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.proxy = self._socket("proxy", 5060)
        self._controls = {}  # role of a kamailio -> its control socket

    def _socket(self, host, port):
        address = self.hosts[host]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def _start_all(self):
        self._write_scenarios()
        self._write_all_users()
        self._start_kamailio("proxy", (self.proxy, "10.2.0.1:5060"))
        if self.network.core_registrar:
            self._start_kamailio("uas", (REGISTRAR,))
        self._start_relay()
        self.start_callee()
        self._register_callees()
        self._start_load()

    # -- processes ---------------------------------------------------------

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
            callee_side=SERVER_SIDE,
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
            SERVER_SIDE,
            5080,
            f"10.2.0.1:5060 -inf registered.csv -key contact {SERVER_SIDE}:5060 "
            f"-key expires {CALLEES_EXPIRE_S} -r 50 -m {count}",
        )
        if process.wait(20) != 0:
            raise RuntimeError(f"the callees did not register, see {self.run_dir}")

    def _start_load(self):
        self._load_control = socket_in(self.namespace("uac"), socket.SOCK_DGRAM)
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
    def set_load(self, calls, registers, options):
        """Set the rates of one second."""
        self._set_rate(CALL_CONTROL_PORT, calls)
        self._set_rate(REGISTER_CONTROL_PORT, registers)
        if self.load.options_rps:
            self._set_rate(OPTIONS_CONTROL_PORT, options)

    def _set_rate(self, control_port, per_second):
        self._load_control.sendto(
            f"cset rate {per_second}".encode(), ("127.0.0.1", control_port)
        )

    # -- switches from which faults are made -------------------------------

    def set_proxy(self, variable, value):
        """Set one of the shared variables of kamailio.cfg, where it has an effect."""
        at_registrar = self.network.core_registrar and variable in REGISTRAR_VARIABLES
        self._set_variable("uas" if at_registrar else "proxy", variable, value)

    def refuse_users(self, percent):
        """Another password for this share of the subscribers."""
        self.set_proxy("auth_fail_percent", percent)

    def _set_variable(self, role, variable, value):
        control = self._controls[role]
        run("kamcmd", "-s", control, "pv.shvSet", variable, "int", str(value))

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
