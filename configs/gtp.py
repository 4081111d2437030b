"""GTPv1-C: three faults that training never sees. The data: docs/testbeds.md.

siamjax ingest --captures=data/gtp/captures --labels=data/gtp/labels.csv \
    --out=runs/gtp
siamjax train --config=configs/gtp.py --workdir=runs/gtp_first
"""

from siamjax.configs import default

NOVEL = ("packet_loss", "delay", "stale_contexts")
NOVEL_VALID = ("link_flap", "server_stall")


def get_config():
    config = default.get_config()
    config.data.update(
        dir="runs/gtp",
        folds=3,  # of six captures of a condition two are for training
        novel=NOVEL,
        novel_valid=NOVEL_VALID,
    )
    return config
