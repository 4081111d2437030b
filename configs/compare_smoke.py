"""configs/compare.py in a minute, to see that all of it runs: no result to believe.

siamjax compare --config=configs/compare_smoke.py --workdir=runs/smoke
"""

from siamjax.configs import compare


def get_config():
    config = compare.get_config()
    config.losses = ("triplet", "supcon")
    config.trials, config.random_trials, config.repeats = 2, 1, 2
    config.train.steps, config.train.evaluate_every = 20, 10
    config.train.encoder.hidden = (16,)
    config.draws = 10
    return config
