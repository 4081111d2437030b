"""The test bed of GTPv1-C: osmo-ggsn, and SGSNs that open contexts."""

import signal
import socket

from routed_bed import RoutedBed
from sessions import APNS
from testbed import HERE, SERVER_SIDE, fill, socket_in

CONTROL = ("127.0.0.1", 4260)  # the terminal of osmo-ggsn
APN = """
 apn {{name}}
  gtpu-mode tun
  tun-device tun{{number}}
  type-support v4
  ip prefix dynamic 10.{{net}}.0.0/16
  ip ifconfig 10.{{net}}.0.0/16
  no shutdown
"""


class GtpBed(RoutedBed):
    client = "gtp_client.py"

    def _run_server(self):
        apns = "".join(
            fill(APN, dict(name=name, number=number, net=64 + number))
            for number, name in enumerate(APNS)
        )
        values = dict(run_dir=self.run_dir, server=SERVER_SIDE, apns=apns)
        config = self.run_dir / "ggsn.cfg"
        config.write_text(fill((HERE / "gtp" / "osmo-ggsn.cfg").read_text(), values))
        process = self._start(
            "uas", "osmo-ggsn", "-c", str(config), stop_signal=signal.SIGKILL
        )
        return process, self.run_dir / "osmo-ggsn.log", "CTRL at"

    # -- switches from which faults are made -------------------------------

    def set_apn(self, name, state):
        """Set an access point "shutdown" or "no shutdown"."""
        with socket_in(self.namespace("uas"), socket.SOCK_STREAM) as terminal:
            terminal.connect(CONTROL)
            commands = "enable", "configure terminal", "ggsn ggsn0", f"apn {name}"
            for command in (*commands, state):
                terminal.sendall(f"{command}\r\n".encode())
            # It is done when its prompt comes again.
            terminal.settimeout(5)
            answer = b""
            while answer.count(b"(config-ggsn-apn)#") < 2:
                answer += terminal.recv(4096)
