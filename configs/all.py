"""What an engineer deploys: trained on all captures, no condition held out.

Four runs on folds choose the number of steps, the examples and the rule by captures
that they did not see; a fifth trains on everything. Five times the cost of one run.

python -m siamjax.train --config=configs/all.py --workdir=runs/all
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.update(novel=(), novel_valid=(), test_fold=-1, valid_fold=-1)
    return config
