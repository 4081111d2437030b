"""The config of JapaneseVowels: 9 speakers, of whom each draw holds 3 out."""

import numpy as np
from ml_collections import ConfigDict

from configs import kddi

FRAMES, SPEAKERS, HELD_OUT = 29, 9, 3
DRAWS = 2 * SPEAKERS // HELD_OUT


def get_config(draw: int) -> ConfigDict:
    """That of counters, with one frame as a second, on one of `DRAWS` draws."""
    config = kddi.get_config()
    config.batch.conditions = SPEAKERS - HELD_OUT
    config.data.update(
        bin_s=1.0,
        bins=FRAMES,
        test_captures=("test_*",),
        valid_captures=(),
        novel_valid=(),
        novel=held_out(draw),
    )
    return config


def held_out(draw: int) -> tuple[str, ...]:
    """The 3 speakers that a draw holds out: a third of one of two permutations."""
    again, third = divmod(draw, SPEAKERS // HELD_OUT)
    order = np.random.default_rng(again).permutation(SPEAKERS) + 1
    return tuple(f"class {i}" for i in order[third * HELD_OUT : (third + 1) * HELD_OUT])
