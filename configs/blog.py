"""The original, to compare with: three sigmoids, margin 0.4, nothing made up.

python -m siamjax.train --config=configs/blog.py --workdir=runs/blog
"""

from configs import default


def get_config():
    config = default.get_config()
    config.batch.made_up = 0
    config.heads.match = None
    config.heads.view.update(loss="triplet:margin=0.4", features="live")
    config.decide_with = "view"
    return config
