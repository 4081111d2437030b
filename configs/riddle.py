"""The riddle this project began with, one cause at a time: lag, session or branch.

Batch norm on the input layer, the bare log counts as input: the training loss is very
good, validation is poor. `siamjax audit` names the cause; see docs/norm.md.

siamjax train --config=configs/riddle.py:lag --workdir=runs/riddle_lag
"""

from siamjax import checks
from siamjax.configs import default


def get_config(cause="lag"):
    checks.require(
        cause in CAUSES,
        f"configs/riddle.py:{cause}: the cause is one of {', '.join(CAUSES)}",
    )
    config = default.get_config()
    bare(config)
    CAUSES[cause](config)
    return config


def bare(config):
    """The bare log counts as input, one head of three dimensions, few steps."""
    config.steps = 200
    config.data.baseline = "none"
    config.encoder.clip = 0.0
    config.heads.match = None
    config.heads.view.update(loss="triplet:margin=0.4,reduce=all", features="live")
    config.decide_with = "view"
    config.optimizer.learning_rate = 3e-3
    config.trace_frames = 0


def lag(config):
    """A slow average that starts at mean 0 and variance 1, and few steps."""
    config.encoder.update(norm="lag", momentum=0.99)
    config.steps = 40


def session(config):
    """Every batch comes from one session."""
    config.encoder.norm = "batch"
    config.batch.update(batch_from="one_session", conditions=1, made_up=15)
    kinds = ("silenced", "multiplied", "added")
    config.made_up.update(kinds=kinds, strength=0.7)


def branch(config):
    """Anchors, positives and negatives are normalised in passes of their own."""
    config.encoder.norm = "branch"
    # Recorded conditions alone: the first, with most anchors, is normal.
    config.batch.update(tuples="branches", made_up=0, per_condition=14)


CAUSES = dict(lag=lag, session=session, branch=branch)
