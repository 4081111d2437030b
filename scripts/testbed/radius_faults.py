"""Faults of RADIUS servers and access nodes; see faults.py."""

from faults import switched
from radius_bed import WORKERS
from routed_bed import ACCESS_NODES

# Requests of a login on average: EAP, which a third of the subscribers uses, needs two.
LOGIN_REQUESTS = 4 / 3


def slow_server(network, rng, load, onset, clear):
    """Share of the server's time that the base load of logins needs."""
    share = rng.uniform(*network.severity_range("slow_server"))
    seconds = share * WORKERS / (LOGIN_REQUESTS * load.rate_cps)
    return switched(
        "slow_server",
        share,
        f"seconds_each={seconds:.3f}",
        (onset, clear),
        lambda bed: bed.set_server(login_s=seconds),
        lambda bed: bed.set_server(),
    )


def accounting_down(network, rng, load, onset, clear):
    """1: the server cannot store accounting, and does not answer it."""
    return switched(
        "accounting_down",
        1.0,
        "",
        (onset, clear),
        lambda bed: bed.set_server(accounting_lost=1),
        lambda bed: bed.set_server(),
    )


def wrong_secret(network, rng, load, onset, clear):
    """Share of access nodes whose shared secret is not the server's."""
    nodes = rng.randint(*network.severity_range("wrong_secret"))
    return switched(
        "wrong_secret",
        nodes / ACCESS_NODES,
        "",
        (onset, clear),
        lambda bed: bed.set_client("secret", nodes),
        lambda bed: bed.set_client("secret", 0),
    )
