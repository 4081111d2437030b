"""Random streams: one seed gives several independent streams, each with a name.

A key is `stream(seed, NAME, step)`. `fold_in` hashes its arguments (Salmon et al., SC
2011, Threefry), so that two seeds share no stream. A seed plus a constant would be the
seed of another run.
"""

import jax

# A change of these numbers changes every result: give new streams new numbers.
ENCODER = 1  # initial weights of the encoder
LOSS_STATE = 2  # initial weights and memory of the losses, one head each
BATCH = 3  # rows of a batch
MADE_UP = 4  # changes of the made-up conditions of a batch
LOSS = 5  # tuples of a batch, and what the losses draw
DEALT = 6  # random labels of an audit
ROWS = 7  # rows of a batch of `samplers`


def stream(seed: int | jax.Array, name: int, index: int | jax.Array = 0) -> jax.Array:
    """The key of a stream.

    Args:
      seed: of the run, an int or a `[]` int array.
      name: one of the constants of this module.
      index: the step, or another counter of the stream.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), name), index)
