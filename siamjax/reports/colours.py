"""The colour and the shape of each condition, the same in every picture."""

from collections.abc import Collection, Iterable

NORMAL, BLOCKED, CAPACITY_LIMIT = "#2ca02c", "#d62728", "#ff7f0e"
GREY, PALE = "#8c8c8c", "#c3c8d0"
NOVEL_SHAPE = "diamond"

# Normal is green, blocked red, a capacity limit orange, as in the project's first
# picture; their shapes tell them apart for readers who cannot tell red from green. The
# other conditions of the test bed have fixed colours, so that pictures of different
# conditions agree.
_FIXED = {
    "normal": (NORMAL, "circle"),
    "blocked": (BLOCKED, "square"),
    "capacity_limit": (CAPACITY_LIMIT, "triangle"),
    "normal?": (PALE, "circle"),
    "unknown": (GREY, "circle"),
    "recovering": (PALE, "square"),
    "transitional": (PALE, "triangle"),
    "auth_failure": ("#0072b2", "circle"),
    "busy_reject": ("#b5179e", "square"),
    "callee_down": ("#17becf", "triangle"),
    "delay": ("#8c564b", "down"),
    "invite_flood": ("#e3c800", "circle"),
    "link_flap": ("#332288", "square"),
    "packet_loss": ("#f49ac2", "triangle"),
    "registration_storm": ("#9467bd", "down"),
    "server_overload": ("#2f4b5c", "circle"),
}

# Easy to tell apart, also from the three, and as far as possible for the colour-blind.
_OTHERS = (
    "#7fb2ff",
    "#c8a27a",
    "#5c2a00",
    "#0072b2",
    "#b5179e",
    "#17becf",
    "#8c564b",
    "#e3c800",
    "#332288",
    "#f49ac2",
    "#9467bd",
    "#2f4b5c",
)
_SHAPES = ("circle", "square", "triangle", "down")


def assign_colours(conditions: Iterable[str]) -> dict[str, str]:
    """{name: `#rrggbb`}; names without a fixed colour get one in alphabetical order."""
    return {name: look[0] for name, look in _looks(conditions).items()}


def assign_shapes(
    conditions: Iterable[str], novel: Collection[str] = ()
) -> dict[str, str]:
    """{name: `circle`, `square`, `triangle` or `down`; `diamond` if novel}."""
    return {
        name: NOVEL_SHAPE if name in novel else look[1]
        for name, look in _looks(conditions).items()
    }


def _looks(conditions):
    """{name: (colour, shape)}."""
    conditions = list(conditions)
    others = sorted(set(conditions) - set(_FIXED))
    free = {
        name: (_OTHERS[i % len(_OTHERS)], _SHAPES[i % len(_SHAPES)])
        for i, name in enumerate(others)
    }
    return {name: _FIXED.get(name) or free[name] for name in conditions}
