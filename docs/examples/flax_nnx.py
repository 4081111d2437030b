"""A loss in a flax nnx loop, with pairs that the batch brings along."""

import numpy as np
import optax
from flax import nnx

from siamjax import losses

rng = np.random.default_rng(0)
centers = rng.normal(size=(5, 8))


def next_batch():
    labels = rng.integers(0, 5, 32).astype(np.int32)
    rows = centers[labels] + 0.5 * rng.normal(size=(32, 8))
    pairs = rng.integers(0, 32, (64, 2)).astype(np.int32)  # rows of the batch
    return rows.astype(np.float32), labels, pairs


class Encoder(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(8, 32, rngs=rngs)
        self.embedding = nnx.Linear(32, 4, rngs=rngs)

    def __call__(self, rows):
        return self.embedding(nnx.relu(self.hidden(rows)))


@nnx.jit
def train_step(encoder, optimiser, rows, labels, pairs):
    def loss_of(encoder):
        return losses.contrastive(encoder(rows), labels, pairs=pairs)

    loss, gradient = nnx.value_and_grad(loss_of)(encoder)
    optimiser.update(encoder, gradient)
    return loss


encoder = Encoder(nnx.Rngs(0))
optimiser = nnx.Optimizer(encoder, optax.adam(1e-2), wrt=nnx.Param)
history = [float(train_step(encoder, optimiser, *next_batch())) for _ in range(60)]
print(f"loss {history[0]:.3f} -> {history[-1]:.3f}")
