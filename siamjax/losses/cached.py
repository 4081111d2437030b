"""The exact gradient of a loss of a batch that does not fit into memory at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from siamjax import checks


def cached_value_and_grad(
    encode: Callable[..., jax.Array],
    loss: Callable[..., Any],
    *,
    rows: int,
    has_aux: bool = False,
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """As `jax.value_and_grad` of loss(params, encode(params, inputs)), in chunks.

    The batch is encoded `rows` examples at a time, without a gradient. Then comes the
    gradient of the loss with respect to all embeddings, and with it each chunk is
    encoded again and gives its part of the gradient. Activations of one chunk are in
    memory at a time; encoding is done twice. The result is that of the whole batch, for
    any loss, if the encoder handles each example by itself: no batch normalisation
    over the batch, and no randomness but by the inputs.

    Args:
      encode: `encode(params, inputs) -> embeddings` `[n, E]`, for n examples.
      loss: `loss(params, embeddings) -> value`, a `[]`; its weights may be in params
        too.
      rows: examples of a chunk; it must divide the batch.
      has_aux: `loss` gives `(value, aux)`, such as a new state.
    Returns:
      A function of params and inputs, a pytree of arrays `[B, ...]`, that gives the
      value (or `(value, aux)`) and the gradient with respect to params.
    Raises:
      UsageError: `rows` is no whole number from 1 on, or does not divide the batch.
    Reference: Gao et al. (GradCache), RepL4NLP 2021, section 3.
    """
    checks.require(
        isinstance(rows, int) and rows >= 1,
        f"rows={rows} must be a whole number from 1 on",
    )

    def value_and_grad(params, inputs):
        chunks = jax.tree.map(_split, inputs)
        embeddings = lax.map(lambda chunk: encode(params, chunk), chunks)
        number, _, size = embeddings.shape

        def of_embeddings(params, embeddings):
            return loss(params, embeddings.reshape(number * rows, size))

        gradient = jax.value_and_grad(of_embeddings, (0, 1), has_aux=has_aux)
        value, (of_loss, of_rows) = gradient(params, embeddings)

        def add(total, part):
            chunk, cotangent = part
            _, backwards = jax.vjp(lambda params: encode(params, chunk), params)
            return jax.tree.map(jnp.add, total, backwards(cotangent)[0]), None

        return value, lax.scan(add, of_loss, (chunks, of_rows))[0]

    def _split(array):
        checks.require(
            len(array) % rows == 0,
            f"rows={rows} does not divide the batch of {len(array)} examples: choose a "
            "divisor, or fill the batch up and leave the rest out with where",
        )
        return array.reshape(len(array) // rows, rows, *array.shape[1:])

    return value_and_grad
