"""A loss in an equinox loop, with references: each batch against a fixed gallery."""

import equinox as eqx
import jax
import numpy as np
import optax

from siamjax import losses

rng = np.random.default_rng(0)
centers = rng.normal(size=(5, 8))


def next_batch(size=32):
    labels = rng.integers(0, 5, size).astype(np.int32)
    rows = centers[labels] + 0.5 * rng.normal(size=(size, 8))
    return rows.astype(np.float32), labels


gallery = next_batch(20)
encoder = eqx.nn.MLP(8, 4, width_size=32, depth=1, key=jax.random.key(0))
optimiser = optax.adam(1e-2)
opt_state = optimiser.init(eqx.filter(encoder, eqx.is_array))


@eqx.filter_jit
def train_step(encoder, opt_state, rows, labels):
    @eqx.filter_value_and_grad
    def loss_of(encoder):
        embed = jax.vmap(encoder)
        # No row of the batch is in the gallery: anchor_rows is -1.
        references = losses.References(embed(gallery[0]), gallery[1], anchor_rows=-1)
        return losses.supcon(embed(rows), labels, references=references)

    loss, gradient = loss_of(encoder)
    updates, opt_state = optimiser.update(gradient, opt_state)
    return eqx.apply_updates(encoder, updates), opt_state, loss


history = []
for _ in range(60):
    encoder, opt_state, loss = train_step(encoder, opt_state, *next_batch())
    history.append(float(loss))
print(f"loss {history[0]:.3f} -> {history[-1]:.3f}")
