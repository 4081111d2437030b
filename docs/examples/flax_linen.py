"""A loss with weights of its own (proxies) in a flax linen loop."""

import flax.linen as nn
import jax
import numpy as np
import optax

from siamjax import losses

rng = np.random.default_rng(0)
centers = rng.normal(size=(5, 8))


def next_batch():
    labels = rng.integers(0, 5, 32).astype(np.int32)
    rows = centers[labels] + 0.5 * rng.normal(size=(32, 8))
    return rows.astype(np.float32), labels


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, rows):
        return nn.Dense(4)(nn.relu(nn.Dense(32)(rows)))


encoder = Encoder()
loss = losses.resolve("proxy_anchor:margin=0.1+0.1*koleo")
loss_state = loss.init(jax.random.key(1), classes=5, dim=4)
weights = dict(
    encoder=encoder.init(jax.random.key(0), next_batch()[0]),
    loss=loss_state["params"],
)
optimiser = optax.adam(1e-2)
opt_state = optimiser.init(weights)


@jax.jit
def train_step(weights, memory, opt_state, rows, labels):
    def loss_of(weights):
        embeddings = encoder.apply(weights["encoder"], rows)
        state = dict(params=weights["loss"], memory=memory)
        value, state = loss.apply(state, embeddings, labels)
        return value, state["memory"]

    (value, memory), gradient = jax.value_and_grad(loss_of, has_aux=True)(weights)
    updates, opt_state = optimiser.update(gradient, opt_state)
    return optax.apply_updates(weights, updates), memory, opt_state, value


memory, history = loss_state["memory"], []
for _ in range(60):
    weights, memory, opt_state, value = train_step(
        weights, memory, opt_state, *next_batch()
    )
    history.append(float(value))
print(f"loss {history[0]:.3f} -> {history[-1]:.3f}")
