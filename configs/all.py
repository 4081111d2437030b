"""What an engineer deploys: no condition is held out.

python -m siamjax.train --config=configs/all.py --workdir=runs/all
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.update(novel=(), novel_valid=())
    config.batch.conditions = 10
    return config
