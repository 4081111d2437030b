"""The networks that can be recorded: addresses, load, timers and capture of each.

A network is a record. Code that differs between networks reads its fields; there is no
copy of the code for each network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# The ranges from which the severity of each fault is drawn; faults.py says what each
# one measures. Integers are drawn as integers.
SEVERITY = dict(
    capacity_limit=(0.2, 0.75),
    packet_loss=(10, 40),
    downlink_loss=(10, 40),
    delay=(0.2, 0.8),
    server_overload=(25, 95),
    busy_reject=(40, 95),
    auth_failure=(50, 100),
    registration_storm=(40, 120),
    invite_flood=(20, 80),
    slow_registrar=(0.7, 1.6),
    routing_failure=(25, 90),
    session_storm=(10, 30),
    slow_server=(0.7, 1.6),
    wrong_secret=(1, 4),
    unknown_apn=(25, 90),
    stale_contexts=(25, 90),
    update_storm=(10, 40),
)

# Conditions that every network has.
COMMON = (
    "normal blocked capacity_limit packet_loss delay server_overload "
    "registration_storm callee_down busy_reject link_flap auth_failure invite_flood"
).split()

# Where nearly nobody registers, nothing shows these.
REGISTRATION_FAULTS = ("registration_storm", "auth_failure")

# Conditions of every network but SIP's.
LINK_FAULTS = (
    "blocked capacity_limit packet_loss downlink_loss delay link_flap"
).split()
SERVER_FAULTS = "server_down server_stall session_storm".split()


@dataclass(frozen=True)
class Network:
    """What differs between two networks. Ranges are (lowest, highest)."""

    name: str
    captures: Mapping[str, int]  # how many of each kind a campaign records
    duration_s: int  # of a capture with one fault, or none
    protocol: str = "sip"  # or radius, gtpv1

    # Load. Rates are per second. What is said of calls holds for the sessions of other
    # protocols, too.
    rate_cps: tuple[float, float] = (5, 30)  # calls
    hold_s: tuple[float, float] = (0.5, 5)  # mean duration of a call
    interim_s: float = 0.0  # mean time between updates of a session; SIP has none
    register_rps: tuple[float, float] = (2, 6)  # registrations
    options_rps: tuple[float, float] | None = None  # keep-alives; None: none
    load_patterns: tuple[str, ...] = ("constant", "ramp", "bursty")
    # Whether registrations and keep-alives follow the curve of the calls.
    all_follow_load: bool = False
    failing_share: tuple[float, float] | None = None  # of the calls, without a fault
    # Users to whom calls fail: 486, 480, the caller gives up (487), 404.
    failing_kinds: tuple[str, ...] = ("busy", "absent", "ringing", "stranger")
    subscribers: int = 1000
    expires_s: int = 3600  # that a registration asks for

    # Times of the fault, as shares of the duration.
    onset: tuple[float, float] = (0.3, 0.5)
    clear: tuple[float, float] = (0.65, 0.9)
    severity: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    flood_users: tuple[str, ...] = ("callees.csv", "strangers.csv")

    # Bytes of Ethernet frames on the access link, (to the proxy, from the proxy), for
    # one undisturbed call, registration and keep-alive. capacity_limit uses them.
    call_bytes: tuple[int, int] = (1400, 1650)
    register_bytes: tuple[int, int] = (0, 0)
    options_bytes: tuple[int, int] = (0, 0)

    # Protocol.
    ip_version: int = 4  # of the access side
    # The first timer of a repeat: SIP's T1, of callers, callees and proxy.
    t1_ms: int = 500
    no_answer_ms: int = 6000  # the proxy answers 408 after this time without an answer
    ringing_ms: int = 20000  # and after this time of ringing
    # Whether the proxy sends registrations on to a registrar behind it.
    core_registrar: bool = False

    # Capture.
    interface: str = "access"  # of the proxy: "access" or "core"
    snap_length: int = 256  # bytes; Via, CSeq and Call-ID must be within

    def severity_range(self, condition: str) -> tuple[float, float]:
        return self.severity.get(condition, SEVERITY[condition])


def _captures(conditions, captures, **others):
    return {**dict.fromkeys(conditions, captures), **others}


TESTBED = Network(
    name="testbed",
    captures=_captures(COMMON, 10, normal=16),
    duration_s=100,
)

# Telephones of one provider: they register often and keep their address bindings
# alive, and call rarely.
ACCESS = Network(
    name="access",
    captures=_captures(
        [*COMMON, "slow_registrar", "downlink_loss"],
        4,
        normal=6,
        two_faults=2,
        begins_inside=2,
    ),
    duration_s=90,
    rate_cps=(1, 4),
    hold_s=(2, 6),
    register_rps=(10, 22),
    options_rps=(3, 8),
    failing_share=(0.02, 0.08),
    subscribers=2000,
    expires_s=120,
    onset=(0.35, 0.45),
    clear=(0.67, 0.9),
    severity=dict(
        capacity_limit=(0.25, 0.7),
        registration_storm=(40, 100),
        invite_flood=(10, 40),
    ),
    call_bytes=(1320, 1600),
    register_bytes=(950, 900),
    options_bytes=(320, 370),
    ip_version=6,
    t1_ms=1000,
    no_answer_ms=8000,
    snap_length=248,
)

# Two exchanges that pass each other many calls. A part of them fails every day, and
# nearly nobody registers.
TRUNK = Network(
    name="trunk",
    captures=_captures(
        [
            *(name for name in COMMON if name not in REGISTRATION_FAULTS),
            "routing_failure",
        ],
        4,
        normal=5,
        two_faults=2,
        begins_inside=2,
    ),
    duration_s=72,
    rate_cps=(20, 45),
    hold_s=(3, 8),
    register_rps=(0.5, 1.5),
    failing_share=(0.10, 0.25),
    onset=(0.43, 0.49),
    clear=(0.76, 0.9),
    severity=dict(invite_flood=(20, 50)),
    call_bytes=(1290, 1480),
    register_bytes=(870, 820),
    t1_ms=300,
    no_answer_ms=4000,
    ringing_ms=15000,
    snap_length=216,
)

# Captured between proxy and callee; the load doubles or halves within each capture.
CORE = Network(
    name="core",
    captures=_captures(
        # The proxy answers an overload itself: nothing of it is seen behind it.
        [*(name for name in COMMON if name != "server_overload"), "downlink_loss"],
        4,
        normal=6,
        two_faults=2,
        begins_inside=2,
        long_normal=1,
    ),
    duration_s=90,
    rate_cps=(4, 12),
    register_rps=(2, 6),
    load_patterns=("doubling", "halving"),
    all_follow_load=True,
    failing_share=(0.02, 0.08),
    onset=(0.35, 0.45),
    clear=(0.67, 0.9),
    severity=dict(
        capacity_limit=(0.45, 0.75),
        registration_storm=(25, 80),
        invite_flood=(5, 15),
    ),
    flood_users=("callees.csv",),
    register_bytes=(870, 820),
    no_answer_ms=5000,
    core_registrar=True,
    interface="core",
    snap_length=400,
)

# Access nodes log subscribers in, and account for their sessions.
RADIUS = Network(
    name="radius",
    captures=_captures(
        [
            *("normal", *LINK_FAULTS, *SERVER_FAULTS),
            *("auth_failure", "slow_server", "accounting_down", "wrong_secret"),
        ],
        6,
        normal=9,
        two_faults=3,
        begins_inside=3,
    ),
    duration_s=75,
    protocol="radius",
    rate_cps=(1.5, 4.5),
    hold_s=(4, 12),
    interim_s=5,
    register_rps=(0, 0),
    load_patterns=("constant", "ramp", "bursty", "doubling", "halving"),
    failing_share=(0.02, 0.08),
    failing_kinds=("mistyped", "unknown"),
    onset=(0.37, 0.46),
    clear=(0.72, 0.9),
    severity=dict(capacity_limit=(0.5, 0.8)),
    call_bytes=(510, 340),
    t1_ms=2000,  # IRT of RFC 5080
    snap_length=96,  # accounting requests fit, passwords do not
)

# SGSNs open contexts at a GGSN, for mobile data of 2G and 3G.
GTP = Network(
    name="gtp",
    captures=_captures(
        [
            *("normal", *LINK_FAULTS, *SERVER_FAULTS),
            *("apn_down", "unknown_apn", "stale_contexts", "update_storm"),
        ],
        6,
        normal=9,
        two_faults=3,
        begins_inside=3,
    ),
    duration_s=75,
    protocol="gtpv1",
    rate_cps=(3, 12),
    hold_s=(4, 12),
    interim_s=5,
    register_rps=(0, 0),
    options_rps=(0.2, 0.6),
    load_patterns=("constant", "ramp", "bursty", "doubling", "halving"),
    failing_share=(0.02, 0.08),
    failing_kinds=("unknown", "twice"),
    onset=(0.37, 0.46),
    clear=(0.72, 0.9),
    severity=dict(capacity_limit=(0.5, 0.8), session_storm=(15, 50)),
    call_bytes=(280, 260),
    options_bytes=(56, 58),
    t1_ms=2500,  # T3-RESPONSE
    snap_length=200,  # nothing is cut
)

NETWORKS = {
    network.name: network for network in (TESTBED, ACCESS, TRUNK, CORE, RADIUS, GTP)
}
