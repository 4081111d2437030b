"""Faults of links and of whole servers, which any protocol can have.

There is one function for each condition; those of one protocol are in sip_faults.py,
radius_faults.py and gtp_faults.py. Each function takes the network, a random generator,
the load, and the planned onset and clear time in seconds after the start of the capture
(clear is None where the fault lasts to the end). It returns a Fault: its severity
(higher is worse; the docstring of the function says what it measures), notes, and the
timed actions that make it. An action is a function of the test bed.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Load:
    """Base rates of a capture, per second, and the mean duration of a call."""

    rate_cps: float
    hold_s: float
    register_rps: float
    options_rps: float
    # Calls that fail without a fault: (kind of the called user, share of the calls).
    failing: tuple = ()

    def bytes_per_s(self, network):
        """(to the proxy, from the proxy) on the access link."""
        return tuple(
            call * self.rate_cps
            + register * self.register_rps
            + options * self.options_rps
            for call, register, options in zip(
                network.call_bytes,
                network.register_bytes,
                network.options_bytes,
                strict=True,
            )
        )


@dataclass
class Fault:
    condition: str
    onset: float
    clear: float | None
    severity: float
    notes: str
    actions: list = field(default_factory=list)  # (seconds after start, callable)


def switched(condition, severity, notes, times, start, stop):
    """A fault that is switched on at onset and off at clear, unless that is None."""
    onset, clear = times
    actions = [(onset, start)]
    if clear is not None:
        actions.append((clear, stop))
    return Fault(condition, onset, clear, severity, notes, actions)


def blocked(network, rng, load, onset, clear):
    """1: the proxy drops all packets that it receives."""
    return switched(
        "blocked",
        1.0,
        "proxy drops all input",
        (onset, clear),
        lambda bed: bed.block_proxy(True),
        lambda bed: bed.block_proxy(False),
    )


def capacity_limit(network, rng, load, onset, clear):
    """Share of the offered base load that the access link cannot carry."""
    shortfall = rng.uniform(*network.severity_range("capacity_limit"))
    queue_s = rng.uniform(0.05, 0.6)
    uplink, downlink = (
        8 * size * (1 - shortfall) for size in load.bytes_per_s(network)
    )
    notes = f"uplink_bps={uplink:.0f};downlink_bps={downlink:.0f};queue_s={queue_s:.2f}"
    return switched(
        "capacity_limit",
        shortfall,
        notes,
        (onset, clear),
        lambda bed: bed.limit_capacity(uplink, downlink, queue_s),
        lambda bed: bed.remove_capacity_limit(),
    )


def packet_loss(network, rng, load, onset, clear):
    """Loss probability of a packet, in each direction of the access link."""
    return _loss("packet_loss", ("to_uac", "to_proxy"), network, rng, onset, clear)


def downlink_loss(network, rng, load, onset, clear):
    """Loss probability of a packet from the proxy to the callers."""
    return _loss("downlink_loss", ("to_uac",), network, rng, onset, clear)


def _loss(condition, ports, network, rng, onset, clear):
    percent = rng.randint(*network.severity_range(condition))
    return switched(
        condition,
        percent / 100,
        "",
        (onset, clear),
        lambda bed: bed.set_loss(percent, ports),
        lambda bed: bed.set_loss(0, ports),
    )


def delay(network, rng, load, onset, clear):
    """Mean additional one-way delay in seconds between proxy and callee."""
    mean = rng.uniform(*network.severity_range("delay"))
    jitter = mean * rng.uniform(0.1, 0.6)
    return switched(
        "delay",
        mean,
        f"jitter_s={jitter:.3f}",
        (onset, clear),
        lambda bed: bed.set_delay(mean, jitter),
        lambda bed: bed.set_delay(0, 0),
    )


def extra_process(condition, severity, notes, times, start):
    running = []
    return switched(
        condition,
        severity,
        notes,
        times,
        lambda bed: running.append(start(bed)),
        lambda bed: bed.stop(running.pop()),
    )


def auth_failure(network, rng, load, onset, clear):
    """Share of subscribers whose credentials the server refuses."""
    percent = rng.randint(*network.severity_range("auth_failure"))
    return switched(
        "auth_failure",
        percent / 100,
        "",
        (onset, clear),
        lambda bed: bed.refuse_users(percent),
        lambda bed: bed.refuse_users(0),
    )


def session_storm(network, rng, load, onset, clear):
    """Additional short sessions per second."""
    per_second = rng.randint(*network.severity_range("session_storm"))
    return switched(
        "session_storm",
        per_second,
        "",
        (onset, clear),
        lambda bed: bed.set_client("storm", per_second),
        lambda bed: bed.set_client("storm", 0),
    )


def server_down(network, rng, load, onset, clear):
    """1: the process of the server is killed; its host says that the port is closed."""
    return switched(
        "server_down",
        1.0,
        "",
        (onset, clear),
        lambda bed: bed.stop_server(),
        lambda bed: bed.start_server(),
    )


def server_stall(network, rng, load, onset, clear):
    """Share of the fault's time in which the server has no processor."""
    return _on_and_off(
        "server_stall",
        rng,
        (onset, clear),
        lambda bed: bed.pause_server(True),
        lambda bed: bed.pause_server(False),
    )


def link_flap(network, rng, load, onset, clear):
    """Share of the fault's time in which the link is down."""
    return _on_and_off(
        "link_flap",
        rng,
        (onset, clear),
        lambda bed: bed.set_link("down"),
        lambda bed: bed.set_link("up"),
    )


def _on_and_off(condition, rng, times, start, stop):
    onset, clear = times
    down_mean, up_mean = rng.uniform(1.0, 4.0), rng.uniform(1.5, 5.0)
    severity = down_mean / (down_mean + up_mean)
    notes = f"down_s={down_mean:.1f};up_s={up_mean:.1f}"
    fault = Fault(condition, onset, clear, severity, notes)
    time = onset
    end = clear if clear is not None else float("inf")
    while time < min(end, onset + 300):
        down_for = down_mean * rng.uniform(0.6, 1.4)
        up_time = min(time + down_for, end)
        fault.actions += [(time, start), (up_time, stop)]
        time += down_for + up_mean * rng.uniform(0.6, 1.4)
    if clear is not None:
        fault.actions.append((clear, stop))
    return fault
