"""Counters of any network: a start, to be tuned on the network. See docs/counters.md.

siamjax ingest --format=counters --captures=PATH --labels=PATH/labels.csv \
    --out=runs/counters
siamjax train --config=configs/counters.py --workdir=runs/counters_first
"""

from siamjax.configs import default


def get_config():
    config = default.get_config()
    config.data.update(
        dir="runs/counters",
        bin_s=1.0,  # at least the step of the table
        hop_s=8.0,
        baseline_s=60.0,
        floor=2.0,  # counters need not be counts: their unit is their deviation
        novel=(),
        novel_valid=(),
    )
    # With the limit of log counts, all large deviations of counters would look alike.
    config.encoder.clip = 0.0
    # Without `capped`, which imitates a limit of calls: it does not help on counters.
    config.made_up.kinds = ("silenced", "multiplied", "added")
    return config
