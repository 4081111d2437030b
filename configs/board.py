"""The board of networks: settings are judged on several networks.

siamjax board --config=configs/board.py:bed,access --workdir=runs/board

`:bed,access` names the networks, see NETWORKS; without it the board has all of them.
docs/networks.md says where their data comes from, and how to prepare it.
"""

from ml_collections import ConfigDict

from siamjax.configs import counters, default, gtp, kddi, radius
from siamjax.types import UsageError

SOCKSHOP = (
    "carts-cpu",
    "carts-mem",
    "catalogue-cpu",
    "catalogue-mem",
    "orders-cpu",
    "orders-mem",
    "payment-cpu",
    "payment-mem",
    "user-cpu",
    "user-mem",
)


def sip_network(name, *choices):
    """A recorded SIP network. Trainings on others are judged on it, too: on the bed
    alone, and on the three others together.

    Args:
      name: of its folder in data/.
      choices: for each choice (novel faults of the test, those of validation).
    """
    return dict(
        template="packets",
        changes=dict(data=dict(dir=f"runs/{name}")),
        novel=tuple(novel for novel, _ in choices),
        novel_valid=tuple(valid for _, valid in choices),
        folds=2,
        trained_on=("bed", f"without_{name}"),
    )


def three_networks(without):
    """All recorded SIP networks but one, for a training that is judged on that one."""
    return dict(
        template="packets",
        changes=dict(data=dict(dir=f"runs/without_{without}")),
        novel=(("busy_reject", "delay", "packet_loss"),),
        novel_valid=(("link_flap", "server_overload"),),
        folds=2,
        only_moved=True,
    )


# For each network: the template, what differs from it, the novel faults of each choice
# (`novel` for the test, `novel_valid` for validation), and how many folds are judged.
# A network with a `source` makes its data set itself.
NETWORKS = dict(
    bed=dict(
        template="packets",
        changes=dict(data=dict(dir="runs/testbed")),
        # Over the six choices each of the eleven faults is novel once or twice.
        novel=(
            ("busy_reject", "delay", "packet_loss"),
            ("auth_failure", "callee_down", "link_flap"),
            ("blocked", "registration_storm", "server_overload"),
            ("capacity_limit", "delay", "invite_flood"),
            ("auth_failure", "busy_reject", "link_flap"),
            ("callee_down", "packet_loss", "server_overload"),
        ),
        novel_valid=(
            ("link_flap", "server_overload"),
            ("delay", "registration_storm"),
            ("packet_loss", "callee_down"),
            ("busy_reject", "auth_failure"),
            ("blocked", "capacity_limit"),
            ("invite_flood", "delay"),
        ),
        folds=4,
    ),
    access=sip_network(
        "access",
        (("busy_reject", "delay", "packet_loss"), ("link_flap", "server_overload")),
        (("downlink_loss", "callee_down", "invite_flood"), ("delay", "blocked")),
        (("slow_registrar", "blocked", "link_flap"), ("packet_loss", "busy_reject")),
    ),
    trunk=sip_network(
        "trunk",
        (("busy_reject", "delay", "packet_loss"), ("link_flap", "server_overload")),
        (("routing_failure", "callee_down", "invite_flood"), ("delay", "blocked")),
        (("capacity_limit", "blocked", "link_flap"), ("packet_loss", "busy_reject")),
    ),
    core=sip_network(
        "core",
        (("busy_reject", "delay", "packet_loss"), ("link_flap", "registration_storm")),
        (("downlink_loss", "callee_down", "invite_flood"), ("delay", "blocked")),
        (("auth_failure", "blocked", "link_flap"), ("packet_loss", "busy_reject")),
    ),
    radius=dict(
        template="packets",
        changes=dict(data=dict(dir="runs/radius", folds=3)),
        novel=(
            radius.NOVEL,
            ("downlink_loss", "server_down", "session_storm"),
            ("auth_failure", "accounting_down", "slow_server"),
        ),
        novel_valid=(
            radius.NOVEL_VALID,
            ("delay", "blocked"),
            ("packet_loss", "capacity_limit"),
        ),
        folds=3,
    ),
    gtp=dict(
        template="packets",
        changes=dict(data=dict(dir="runs/gtp", folds=3)),
        novel=(
            gtp.NOVEL,
            ("downlink_loss", "server_down", "session_storm"),
            ("apn_down", "unknown_apn", "update_storm"),
        ),
        novel_valid=(
            gtp.NOVEL_VALID,
            ("delay", "blocked"),
            ("packet_loss", "capacity_limit"),
        ),
        folds=3,
    ),
    without_access=three_networks("access"),
    without_trunk=three_networks("trunk"),
    without_core=three_networks("core"),
    kddi=dict(
        template="counters",
        changes=dict(steps=kddi.STEPS, data=kddi.DATA, batch=kddi.BATCH),
        novel=(kddi.NOVEL,),
        novel_valid=(kddi.NOVEL_VALID,),
        folds=1,
    ),
    sockshop=dict(
        template="counters",
        changes=dict(data=dict(dir="runs/sockshop", folds=5), batch=dict(conditions=5)),
        novel=tuple(
            tuple(SOCKSHOP[(2 * i + j) % 10] for j in range(3)) for i in range(5)
        ),
        novel_valid=tuple(
            tuple(SOCKSHOP[(2 * i + j) % 10] for j in (3, 4)) for i in range(5)
        ),
        folds=2,
    ),
    # Made-up counters, see `siamjax.data.synthetic`: what is right is known there.
    generator=dict(
        template="counters",
        source=dict(
            name="synthetic", seed=0, conditions=13, sessions=104, strength=0.4
        ),
        changes=dict(
            data=dict(dir="runs/generator", bins=24, baseline_s=48.0),
            batch=dict(conditions=6),
        ),
        novel=tuple(
            tuple(f"condition {4 * i + j}" for j in (1, 2, 3)) for i in range(3)
        ),
        novel_valid=tuple(
            tuple(f"condition {4 * ((i + 1) % 3) + j}" for j in (1, 2))
            for i in range(3)
        ),
        folds=2,
    ),
    petshop=dict(
        template="counters",
        changes=dict(
            data=dict(
                dir="runs/petshop",
                bin_s=300.0,
                bins=5,
                hop_s=0.0,
                baseline_s=0.0,
                test_captures=("low_*",),  # trained on high traffic
                valid_captures=("high_test_issue_1*",),
            ),
            batch=dict(conditions=5),
        ),
        novel=(("petInfo",),),
        novel_valid=((),),
        folds=1,
    ),
)


def get_config(networks=""):
    names = networks.split(",") if networks else list(NETWORKS)
    for name in names:
        if name not in NETWORKS:
            raise UsageError(
                f"configs/board.py has no network {name!r}: name some of "
                f"{', '.join(NETWORKS)}"
            )
    config = ConfigDict()
    config.settings = ("default",)  # NAME:field=value,... of a training
    config.seeds = 3  # trainings of each setting, choice and fold
    config.draws = 100  # how often the examples are drawn
    config.workers = 0  # processes of one thread; 0: one a core
    config.templates = ConfigDict(
        dict(packets=default.get_config(), counters=counters.get_config())
    )
    config.networks = ConfigDict({name: NETWORKS[name] for name in names})
    for network in config.networks.values():
        if "trained_on" in network:
            network.trained_on = tuple(n for n in network.trained_on if n in names)
    return config
