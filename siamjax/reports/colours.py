"""The colour and the shape of each condition, the same in every picture."""

NORMAL, BLOCKED, CAPACITY_LIMIT = "#2ca02c", "#d62728", "#ff7f0e"
GREY, PALE = "#8c8c8c", "#c3c8d0"
NOVEL_SHAPE = "diamond"

# Three colours have a meaning since the project's first picture. Shapes tell them apart
# for whoever cannot tell red from green. The other conditions of the test bed have a
# fixed colour so that a picture of some of them agrees with one of all.
_FIXED = {
    "normal": (NORMAL, "circle"),
    "blocked": (BLOCKED, "square"),
    "capacity_limit": (CAPACITY_LIMIT, "triangle"),
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

# Far from one another and from the three, also to the colour-blind as far as it goes.
_OTHERS = (
    "#7fb2ff", "#c8a27a", "#5c2a00", "#0072b2", "#b5179e", "#17becf",
    "#8c564b", "#e3c800", "#332288", "#f49ac2", "#9467bd", "#2f4b5c",
)  # fmt: skip
_SHAPES = ("circle", "square", "triangle", "down")


def assign_colours(conditions):
    """{name: `#rrggbb`}; names without a fixed one get them in the alphabet's order."""
    return {name: look[0] for name, look in _looks(conditions).items()}


def assign_shapes(conditions, novel=()):
    """{name: circle, square, triangle, down or, if novel, diamond}."""
    return {
        name: NOVEL_SHAPE if name in novel else look[1]
        for name, look in _looks(conditions).items()
    }


def _looks(conditions):
    others = sorted(set(conditions) - set(_FIXED))
    free = {
        name: (_OTHERS[i % len(_OTHERS)], _SHAPES[i % len(_SHAPES)])
        for i, name in enumerate(others)
    }
    return {name: _FIXED.get(name) or free[name] for name in conditions}
