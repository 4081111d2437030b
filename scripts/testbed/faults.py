"""The conditions that record.py can record, one function for each.

Each function takes the network, a random generator, the load, and the planned onset and
clear time in seconds after the start of the capture (clear is None where the fault
lasts to the end). It returns a Fault: its severity (higher is worse; the docstring of
the function says what it measures), notes, and the timed actions that make it. An
action is a function of the test bed.
"""

from dataclasses import dataclass, field

REGISTERS_EACH = 2  # requests of one registration: without and with credentials
REGISTRAR_WORKERS = 2  # `children` in kamailio.cfg


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


def _switched(condition, severity, notes, times, start, stop):
    """A fault that is switched on at onset and off at clear, unless that is None."""
    onset, clear = times
    actions = [(onset, start)]
    if clear is not None:
        actions.append((clear, stop))
    return Fault(condition, onset, clear, severity, notes, actions)


def blocked(network, rng, load, onset, clear):
    """1: the proxy drops all packets that it receives."""
    return _switched(
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
    return _switched(
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
    return _switched(
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
    return _switched(
        "delay",
        mean,
        f"jitter_s={jitter:.3f}",
        (onset, clear),
        lambda bed: bed.set_delay(mean, jitter),
        lambda bed: bed.set_delay(0, 0),
    )


def server_overload(network, rng, load, onset, clear):
    """Share of new requests that the proxy answers 503."""
    times = onset, clear
    return _proxy_share("server_overload", "overload_percent", network, rng, times)


def busy_reject(network, rng, load, onset, clear):
    """Share of calls that the callee answers 486."""
    return _proxy_share("busy_reject", "busy_percent", network, rng, (onset, clear))


def auth_failure(network, rng, load, onset, clear):
    """Share of subscribers whose credentials the registrar refuses."""
    times = onset, clear
    return _proxy_share("auth_failure", "auth_fail_percent", network, rng, times)


def routing_failure(network, rng, load, onset, clear):
    """Share of called numbers to which the proxy has lost its route: it answers 404."""
    times = onset, clear
    return _proxy_share("routing_failure", "unrouted_percent", network, rng, times)


def _proxy_share(condition, variable, network, rng, times):
    percent = rng.randint(*network.severity_range(condition))
    return _switched(
        condition,
        percent / 100,
        "",
        times,
        lambda bed: bed.set_proxy(variable, percent),
        lambda bed: bed.set_proxy(variable, 0),
    )


def slow_registrar(network, rng, load, onset, clear):
    """Share of the registrar's time that the base load needs: its database is slow."""
    share = rng.uniform(*network.severity_range("slow_registrar"))
    requests_per_s = REGISTERS_EACH * load.register_rps
    seconds = share * REGISTRAR_WORKERS / requests_per_s
    return _switched(
        "slow_registrar",
        share,
        f"seconds_each={seconds:.3f}",
        (onset, clear),
        lambda bed: bed.set_proxy("registrar_delay_us", round(1e6 * seconds)),
        lambda bed: bed.set_proxy("registrar_delay_us", 0),
    )


def callee_down(network, rng, load, onset, clear):
    """1: the process of the callee is killed, and its calls are lost."""
    return _switched(
        "callee_down",
        1.0,
        "",
        (onset, clear),
        lambda bed: bed.stop_callee(),
        lambda bed: bed.start_callee(),
    )


def registration_storm(network, rng, load, onset, clear):
    """Additional registrations per second."""
    per_second = rng.randint(*network.severity_range("registration_storm"))
    return _extra_process(
        "registration_storm",
        per_second,
        "",
        (onset, clear),
        lambda bed: bed.start_storm(per_second),
    )


def invite_flood(network, rng, load, onset, clear):
    """INVITEs per second that are never acknowledged."""
    per_second = rng.randint(*network.severity_range("invite_flood"))
    users = rng.choice(network.flood_users)
    return _extra_process(
        "invite_flood",
        per_second,
        f"to={users}",
        (onset, clear),
        lambda bed: bed.start_flood(per_second, users),
    )


def _extra_process(condition, severity, notes, times, start):
    running = []
    return _switched(
        condition,
        severity,
        notes,
        times,
        lambda bed: running.append(start(bed)),
        lambda bed: bed.stop(running.pop()),
    )


def link_flap(network, rng, load, onset, clear):
    """Share of the fault's time in which the link is down."""
    down_mean, up_mean = rng.uniform(1.0, 4.0), rng.uniform(1.5, 5.0)
    severity = down_mean / (down_mean + up_mean)
    notes = f"down_s={down_mean:.1f};up_s={up_mean:.1f}"
    fault = Fault("link_flap", onset, clear, severity, notes)
    time = onset
    end = clear if clear is not None else float("inf")
    while time < min(end, onset + 300):
        down_for = down_mean * rng.uniform(0.6, 1.4)
        up_time = min(time + down_for, end)
        fault.actions.append((time, lambda bed: bed.set_link("down")))
        fault.actions.append((up_time, lambda bed: bed.set_link("up")))
        time += down_for + up_mean * rng.uniform(0.6, 1.4)
    if clear is not None:
        fault.actions.append((clear, lambda bed: bed.set_link("up")))
    return fault


# The fault of each condition; normal traffic has none.
CONDITIONS = {
    "normal": None,
    **{
        fault.__name__: fault
        for fault in (
            blocked,
            capacity_limit,
            packet_loss,
            delay,
            server_overload,
            registration_storm,
            callee_down,
            busy_reject,
            link_flap,
            auth_failure,
            invite_flood,
            slow_registrar,
            routing_failure,
            downlink_loss,
        )
    },
}
