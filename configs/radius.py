"""RADIUS: three faults that training never sees. The data: docs/testbeds.md.

siamjax ingest --captures=data/radius/captures --labels=data/radius/labels.csv \
    --out=runs/radius
siamjax train --config=configs/radius.py --workdir=runs/radius_first
"""

from siamjax.configs import default

NOVEL = ("packet_loss", "delay", "wrong_secret")
NOVEL_VALID = ("link_flap", "server_stall")


def get_config():
    config = default.get_config()
    config.data.update(
        dir="runs/radius",
        folds=3,  # of six captures of a condition two are for training
        novel=NOVEL,
        novel_valid=NOVEL_VALID,
    )
    return config
