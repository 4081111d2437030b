"""Faults of SIP servers and clients; see faults.py."""

from faults import extra_process, switched

REGISTERS_EACH = 2  # requests of one registration: without and with credentials
REGISTRAR_WORKERS = 2  # `children` in kamailio.cfg


def server_overload(network, rng, load, onset, clear):
    """Share of new requests that the proxy answers 503."""
    times = onset, clear
    return _proxy_share("server_overload", "overload_percent", network, rng, times)


def busy_reject(network, rng, load, onset, clear):
    """Share of calls that the callee answers 486."""
    return _proxy_share("busy_reject", "busy_percent", network, rng, (onset, clear))


def routing_failure(network, rng, load, onset, clear):
    """Share of called numbers to which the proxy has lost its route: it answers 404."""
    times = onset, clear
    return _proxy_share("routing_failure", "unrouted_percent", network, rng, times)


def _proxy_share(condition, variable, network, rng, times):
    percent = rng.randint(*network.severity_range(condition))
    return switched(
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
    return switched(
        "slow_registrar",
        share,
        f"seconds_each={seconds:.3f}",
        (onset, clear),
        lambda bed: bed.set_proxy("registrar_delay_us", round(1e6 * seconds)),
        lambda bed: bed.set_proxy("registrar_delay_us", 0),
    )


def callee_down(network, rng, load, onset, clear):
    """1: the process of the callee is killed, and its calls are lost."""
    return switched(
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
    return extra_process(
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
    return extra_process(
        "invite_flood",
        per_second,
        f"to={users}",
        (onset, clear),
        lambda bed: bed.start_flood(per_second, users),
    )
