"""A loss with weights and memory, written from scratch: `learnt_centers`."""

import jax
import jax.numpy as jnp

from siamjax.losses import Stateful, resolve, stateful


@stateful
def learnt_centers(*, margin: float = 1.0, decay: float = 0.9) -> Stateful:
    """Draws rows to learnt centers; weighs each class by how often it was seen."""

    def init(key, classes, dim):
        centers = jax.random.normal(key, (classes, dim))
        return dict(
            params=dict(centers=centers),  # the optimiser trains these
            memory=dict(seen=jnp.ones(classes)),  # only `apply` changes these
        )

    def apply(state, embeddings, labels, *, where=None):
        centers, seen = state["params"]["centers"], state["memory"]["seen"]
        counted = jnp.ones(labels.shape, bool) if where is None else where
        # What the other rows hold may be anything: it must not reach the gradient.
        embeddings = jnp.where(counted[:, None], embeddings, 0)
        labels = jnp.where(counted, labels, 0)
        member = (labels[:, None] == jnp.arange(len(centers))[None]) & counted[:, None]
        gap = jnp.sum((embeddings - centers[labels]) ** 2, 1)
        cost = jnp.where(counted, jnp.maximum(gap - margin, 0) / seen[labels], 0)
        seen = decay * seen + (1 - decay) * member.sum(0)
        new_state = {**state, "memory": dict(seen=jnp.maximum(seen, 1e-3))}
        return cost.sum() / jnp.maximum(counted.sum(), 1), new_state

    return Stateful(init, apply)


if __name__ == "__main__":
    loss = resolve("stateful_loss.learnt_centers:margin=0.5")
    state = loss.init(jax.random.key(0), classes=3, dim=2)
    rows, labels = jnp.ones((4, 2)), jnp.array([0, 1, 1, 2])
    value, state = jax.jit(loss.apply)(state, rows, labels)
    print(f"{loss.hyper}: {value:.3f}, seen {state['memory']['seen']}")
