"""Counters of any network, before anything was tuned on it: docs/counters.md.

siamjax ingest --format=counters --captures=PATH --labels=PATH/labels.csv \
    --out=runs/counters
python -m siamjax.train --config=configs/counters.py --workdir=runs/counters_first
"""

from siamjax.configs import default


def get_config():
    config = default.get_config()
    config.data.update(
        dir="runs/counters",
        bin_s=1.0,  # at least the step of the table
        hop_s=8.0,
        baseline_s=60.0,
        floor=2.0,  # counters need not be counts: their unit is their own deviation
        novel=(),
        novel_valid=(),
    )
    # A limit that suits log counts hides how far a counter goes (docs/networks.md).
    config.encoder.clip = 0.0
    # A cap is a limit of calls; on counters it is no better (docs/counters.md).
    config.made_up.kinds = ("silenced", "multiplied", "added")
    return config
