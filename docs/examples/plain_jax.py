"""A loss in a plain JAX loop, with your own batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from siamjax import losses

rng = np.random.default_rng(0)
centers = rng.normal(size=(5, 8))  # five classes of rows with eight features


def next_batch():
    labels = rng.integers(0, 5, 32).astype(np.int32)
    rows = centers[labels] + 0.5 * rng.normal(size=(32, 8))
    return rows.astype(np.float32), labels


def embed(params, rows):
    hidden = jax.nn.relu(rows @ params["hidden"])
    return hidden @ params["embedding"]


@jax.jit
def train_step(params, opt_state, rows, labels):
    def loss_of(params):
        return losses.triplet(embed(params, rows), labels, margin=0.5, mining="hard")

    loss, gradient = jax.value_and_grad(loss_of)(params)
    updates, opt_state = optimiser.update(gradient, opt_state)
    return optax.apply_updates(params, updates), opt_state, loss


keys = jax.random.split(jax.random.key(0))
params = dict(
    hidden=jax.random.normal(keys[0], (8, 32)) / jnp.sqrt(8),
    embedding=jax.random.normal(keys[1], (32, 4)) / jnp.sqrt(32),
)
optimiser = optax.adam(1e-2)
opt_state = optimiser.init(params)
history = []
for _ in range(60):
    params, opt_state, loss = train_step(params, opt_state, *next_batch())
    history.append(float(loss))

print(f"loss {history[0]:.3f} -> {history[-1]:.3f}")

rows, labels = next_batch()
health = jax.jit(losses.health)(embed(params, rows), labels)
print({name: float(value) for name, value in health.items()})
