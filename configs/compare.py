"""Losses compared on the test bed with equal budgets.

python -m siamjax.compare --config=configs/compare.py --workdir=runs/compare
"""

from ml_collections import ConfigDict

from configs import default

LOSSES = (
    "triplet",
    "triplet:mining=hard",
    "triplet:margin=soft,mining=hard",
    "triplet:mining=semihard",
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
    "normalized_softmax",
)


def get_config(size="full"):
    config = ConfigDict()
    config.seed = 0
    config.losses = LOSSES
    config.trials = 8  # settings tried of each loss
    config.random_trials = 4  # the first of them; the others learn from their scores
    config.repeats = 5  # of the best setting, with fresh seeds
    config.folds = 2  # of the conditions that are not the test's
    config.draws = 50  # of the examples, in the final readout
    config.workers = 0  # processes of one thread; 0: one a core, 1 on an accelerator
    config.vmapped = "auto"  # the cells of a slot in one program; auto: not on a CPU

    config.train = default.get_config()  # the same for all losses, but for these:
    config.train.steps = 200
    config.train.evaluate_every = 50
    config.train.batch.update(conditions=4, made_up=0, per_condition=16)
    config.train.encoder.hidden = (32,)

    config.data_sets = ConfigDict(
        dict(
            testbed=dict(
                data=dict(dir="runs/testbed"),
                test_conditions=5,  # how many, drawn with the seed; or their names
                ways=0,  # conditions told apart in one-shot; 0: all
            ),
        )
    )
    return config
