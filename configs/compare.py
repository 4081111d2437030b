"""Losses compared with equal budgets on the test bed, and on counters where they are.

siamjax compare --config=configs/compare.py --workdir=runs/compare

`configs/compare.py:testbed,kddi` names the data sets, see DATA_SETS; docs/counters.md
says where kddi comes from.
"""

from ml_collections import ConfigDict

from siamjax.configs import default

LOSSES = (
    "triplet",
    "triplet:mining=hard",
    "triplet:mining=semihard",
    "triplet:margin=soft,mining=hard",
    "lossless",
    "contrastive",
    "margin",
    "multi_similarity",
    "circle",
    "supcon",
    "ntxent",
    "nca",
    "prototypical",
    "smooth_ap",
    "proxy_anchor",
    "normalized_softmax",  # a classifier's features
)

# What differs from `train` below, the conditions of the test (names, or how many to
# draw with the seed), and how many conditions one-shot tells apart (0: all).
DATA_SETS = dict(
    testbed=dict(data=dict(dir="runs/testbed", clip=3.0), test_conditions=5, ways=0),
    kddi=dict(
        data=dict(
            dir="runs/kddi",
            bin_s=60.0,
            bins=5,
            hop_s=0.0,
            baseline_s=0.0,
            clip=10.0,
            test_captures=("2020-07-0[7-9]", "2020-07-1*"),
            valid_captures=("2020-07-0[456]",),
        ),
        batch=dict(conditions=16, per_condition=4),
        test_conditions=26,
        ways=20,
    ),
    # The next three make themselves: made-up counters of 32 faults, recordings of 9
    # speakers and of 10 gestures. The last two need aeon.
    synthetic=dict(
        source=dict(
            name="synthetic", seed=0, conditions=33, sessions=264, strength=0.4
        ),
        data=dict(dir="runs/synthetic", bin_s=1.0, bins=24, hop_s=8.0, baseline_s=48.0),
        test_conditions=8,
        ways=0,
    ),
    vowels=dict(
        source=dict(name="aeon", of="JapaneseVowels"),
        data=dict(
            dir="runs/vowels", bin_s=1.0, bins=29, hop_s=0.0, baseline_s=0.0, clip=10.0
        ),
        batch=dict(conditions=3),
        test_conditions=3,
        ways=0,
    ),
    gestures=dict(
        source=dict(name="aeon", of="PickupGestureWiimoteZ"),
        data=dict(
            dir="runs/gestures",
            bin_s=9.0,
            bins=40,
            hop_s=0.0,
            baseline_s=0.0,
            clip=10.0,
        ),
        batch=dict(conditions=3),
        test_conditions=4,
        ways=0,
    ),
)


def get_config(data_sets="testbed"):
    config = ConfigDict()
    config.seed = 0  # of settings, weights, batches and draws
    config.losses = LOSSES  # what is compared, see siamjax.losses
    config.trials = 8  # settings tried of each loss
    config.random_trials = 4  # settings of a round, which learns from earlier rounds
    config.repeats = 5  # trainings of the best setting, with fresh seeds
    config.folds = 2  # of the conditions that the test does not have
    # With aeon also dtw, minirocket, catch22.
    config.baselines = (
        "untrained encoder",
        "WCCN",
        "mean and deviation, cosine",
        "QUANT, cosine",
        "mean and deviation",
        "whole windows",
    )  # simple methods, judged like the losses
    config.draws = 50  # of the examples, in the final readout
    config.workers = 0  # processes of one thread; 0: one a core, 1 on an accelerator
    config.vmapped = "auto"  # trains cells in one program; auto: not on a CPU

    config.train = default.get_config()  # the same for all losses, but for these:
    config.train.steps = 200
    config.train.evaluate_every = 50
    # Nothing made up: losses with weights for each class could not use it.
    config.train.batch.update(conditions=4, made_up=0, per_condition=16)
    config.train.encoder.update(hidden=(32,), clip=0.0)
    # What a loss makes of the trunk, and nothing beside it.
    config.train.heads.match.update(dim=32, statistics_weight=0.0)
    config.train.heads.view.features = "stopped"

    config.data_sets = ConfigDict(
        {name: DATA_SETS[name] for name in data_sets.split(",")}
    )
    return config
