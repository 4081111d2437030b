"""Random streams: one seed gives many, each with a name and independent of the others.

A key is `stream(seed, NAME, step)`. No stream is another seed's stream, as a seed plus
or xor a constant would be: `fold_in` hashes (Salmon et al., SC 2011, Threefry).
"""

import jax

# The numbers are part of what a seed means: new streams get new numbers.
ENCODER = 1  # initial weights of the encoder
LOSS_STATE = 2  # initial weights and memory of the losses, one head each
BATCH = 3  # rows of a batch
MADE_UP = 4  # changes of the made-up conditions of a batch
LOSS = 5  # tuples of a batch, and what the losses draw
DEALT = 6  # labels that an audit deals at random


def stream(seed: int | jax.Array, name: int, index: int | jax.Array = 0) -> jax.Array:
    """The key of a stream.

    Args:
      seed: of the run, an int or a `[]` int array.
      name: one of the constants of this module.
      index: the step, or whatever the stream is counted by.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), name), index)
