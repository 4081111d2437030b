"""Faults of the GGSN and of SGSNs; see faults.py."""

from faults import switched
from sessions import APNS


def apn_down(network, rng, load, onset, clear):
    """Share of sessions whose access point is shut down; its contexts are deleted."""
    name = rng.choice(list(APNS))
    return switched(
        "apn_down",
        APNS[name],
        f"apn={name}",
        (onset, clear),
        lambda bed: bed.set_apn(name, "shutdown"),
        lambda bed: bed.set_apn(name, "no shutdown"),
    )


def unknown_apn(network, rng, load, onset, clear):
    """Share of creations that ask for an access point that does not exist."""
    return _client_share("unknown_apn", "unknown", network, rng, (onset, clear))


def stale_contexts(network, rng, load, onset, clear):
    """Share of updates and deletions that name a context that does not exist."""
    return _client_share("stale_contexts", "stale", network, rng, (onset, clear))


def _client_share(condition, setting, network, rng, times):
    percent = rng.randint(*network.severity_range(condition))
    return switched(
        condition,
        percent / 100,
        "",
        times,
        lambda bed: bed.set_client(setting, percent),
        lambda bed: bed.set_client(setting, 0),
    )


def update_storm(network, rng, load, onset, clear):
    """Additional updates of contexts per second."""
    per_second = rng.randint(*network.severity_range("update_storm"))
    return switched(
        "update_storm",
        per_second,
        "",
        (onset, clear),
        lambda bed: bed.set_client("updates", per_second),
        lambda bed: bed.set_client("updates", 0),
    )
