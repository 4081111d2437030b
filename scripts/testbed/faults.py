"""The conditions that record.py can record, one function for each.

Each function takes the test bed, a random generator, the base call rate, and the
planned onset and clear time in seconds after the start of the capture (clear is None
where the fault lasts to the end). It returns a Fault: its severity (higher is worse;
the docstring of the function says what it measures), notes, and the timed actions that
make it.
"""

from dataclasses import dataclass, field

# Bytes on the access link for one undisturbed call (tbf counts Ethernet frames).
UPLINK_BYTES_PER_CALL = 1400
DOWNLINK_BYTES_PER_CALL = 1650


@dataclass
class Fault:
    severity: float
    notes: str
    actions: list = field(default_factory=list)  # (seconds after start, callable)


def _switched(severity, notes, onset, clear, start, stop):
    """A fault that is switched on at onset and off at clear, unless that is None."""
    actions = [(onset, start)]
    if clear is not None:
        actions.append((clear, stop))
    return Fault(severity, notes, actions)


def normal(bed, rng, rate, onset, clear):
    """0: no fault."""
    return Fault(0.0, "")


def blocked(bed, rng, rate, onset, clear):
    """1: the proxy drops all packets that it receives."""
    return _switched(
        1.0,
        "proxy drops all input",
        onset,
        clear,
        lambda: bed.block_proxy(True),
        lambda: bed.block_proxy(False),
    )


def capacity_limit(bed, rng, rate, onset, clear):
    """Share of the offered base load that the access link cannot carry."""
    shortfall = rng.uniform(0.2, 0.75)
    queue_s = rng.uniform(0.05, 0.6)
    uplink = 8 * UPLINK_BYTES_PER_CALL * rate * (1 - shortfall)
    downlink = 8 * DOWNLINK_BYTES_PER_CALL * rate * (1 - shortfall)
    notes = f"uplink_bps={uplink:.0f};downlink_bps={downlink:.0f};queue_s={queue_s:.2f}"
    return _switched(
        shortfall,
        notes,
        onset,
        clear,
        lambda: bed.limit_capacity(uplink, downlink, queue_s),
        bed.remove_capacity_limit,
    )


def packet_loss(bed, rng, rate, onset, clear):
    """Loss probability of a packet, in each direction of the access link."""
    percent = rng.randint(10, 40)
    return _switched(
        percent / 100,
        "",
        onset,
        clear,
        lambda: bed.set_loss(percent),
        lambda: bed.set_loss(0),
    )


def delay(bed, rng, rate, onset, clear):
    """Mean additional one-way delay in seconds between proxy and callee."""
    mean = rng.uniform(0.2, 0.8)
    jitter = mean * rng.uniform(0.1, 0.6)
    return _switched(
        mean,
        f"jitter_s={jitter:.3f}",
        onset,
        clear,
        lambda: bed.set_delay(mean, jitter),
        lambda: bed.set_delay(0, 0),
    )


def server_overload(bed, rng, rate, onset, clear):
    """Share of new INVITEs and REGISTERs that the proxy answers 503."""
    return _proxy_share(bed, "overload_percent", rng.randint(25, 95), onset, clear)


def busy_reject(bed, rng, rate, onset, clear):
    """Share of calls that the callee answers 486."""
    return _proxy_share(bed, "busy_percent", rng.randint(40, 95), onset, clear)


def auth_failure(bed, rng, rate, onset, clear):
    """Share of subscribers whose credentials the registrar refuses."""
    return _proxy_share(bed, "auth_fail_percent", rng.randint(50, 100), onset, clear)


def _proxy_share(bed, variable, percent, onset, clear):
    return _switched(
        percent / 100,
        "",
        onset,
        clear,
        lambda: bed.set_proxy(variable, percent),
        lambda: bed.set_proxy(variable, 0),
    )


def callee_down(bed, rng, rate, onset, clear):
    """1: the process of the callee is killed, and its calls are lost."""
    return _switched(1.0, "", onset, clear, bed.stop_callee, bed.start_callee)


def registration_storm(bed, rng, rate, onset, clear):
    """Additional registrations per second."""
    per_second = rng.randint(40, 120)
    return _extra_process(
        per_second, "", onset, clear, bed, lambda: bed.start_storm(per_second)
    )


def invite_flood(bed, rng, rate, onset, clear):
    """INVITEs per second that are never acknowledged."""
    per_second = rng.randint(20, 80)
    users = rng.choice(["callees.csv", "strangers.csv"])
    return _extra_process(
        per_second,
        f"to={users}",
        onset,
        clear,
        bed,
        lambda: bed.start_flood(per_second, users),
    )


def _extra_process(severity, notes, onset, clear, bed, start):
    running = []
    return _switched(
        severity,
        notes,
        onset,
        clear,
        lambda: running.append(start()),
        lambda: bed.stop(running.pop()),
    )


def link_flap(bed, rng, rate, onset, clear):
    """Share of the fault's time in which the link is down."""
    down_mean, up_mean = rng.uniform(1.0, 4.0), rng.uniform(1.5, 5.0)
    fault = Fault(
        down_mean / (down_mean + up_mean), f"down_s={down_mean:.1f};up_s={up_mean:.1f}"
    )
    time = onset
    end = clear if clear is not None else float("inf")
    while time < min(end, onset + 300):
        down_for = down_mean * rng.uniform(0.6, 1.4)
        fault.actions.append((time, lambda: bed.set_link("down")))
        fault.actions.append((min(time + down_for, end), lambda: bed.set_link("up")))
        time += down_for + up_mean * rng.uniform(0.6, 1.4)
    if clear is not None:
        fault.actions.append((clear, lambda: bed.set_link("up")))
    return fault


CONDITIONS = {
    condition.__name__: condition
    for condition in (
        normal,
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
    )
}
