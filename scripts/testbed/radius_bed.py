"""The test bed of RADIUS: freeradius, and access nodes that log subscribers in."""

import signal

from routed_bed import RoutedBed
from sessions import PASSWORD, SECRET
from testbed import HERE, SERVER_SIDE, fill

WORKERS = 4  # threads of the server


class RadiusBed(RoutedBed):
    client = "radius_client.py"

    def _run_server(self):
        values = dict(
            run_dir=self.run_dir,
            server=SERVER_SIDE,
            workers=WORKERS,
            secret=SECRET,
            password=PASSWORD,
        )
        for source in (HERE / "radius").iterdir():
            (self.run_dir / source.name).write_text(fill(source.read_text(), values))
        self.set_server()
        log = self.run_dir / "radiusd.log"
        log.unlink(missing_ok=True)
        process = self._start(
            "uas",
            *("freeradius", "-f", "-n", "radiusd", "-d", str(self.run_dir)),
            stop_signal=signal.SIGKILL,
        )
        return process, log, "Ready to process requests"

    # -- switches from which faults are made -------------------------------

    def refuse_users(self, percent):
        """Another password for this share of the subscribers."""
        self.set_server(refused_percent=percent)

    def set_server(self, *, refused_percent=0, login_s=0.0, accounting_lost=0):
        """Set what radius.pl does; what is not named does not happen."""
        text = f"{refused_percent} {login_s} {accounting_lost}\n"
        written = self.run_dir / "settings.new"
        written.write_text(text)
        written.replace(self.run_dir / "settings")
