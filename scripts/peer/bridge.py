"""Between tensors of PyTorch and functions of JAX: compiled once, with gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

COUNT = {"calls": 0}  # how often a test reached siamjax


class NoCounterpart(Exception):
    """A test asks for what siamjax does not have."""


def counted(function):
    """The function, whose calls are counted."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        COUNT["calls"] += 1
        return function(*args, **kwargs)

    return wrapped


def to_jax(tensor):
    return jnp.asarray(tensor.detach().cpu().numpy())


class Program:
    """A function `(arrays, data) -> value, memory` of JAX, and its gradient in arrays.

    Keep it: each is compiled once for every shape.
    """

    def __init__(self, function):
        self.value = jax.jit(function)
        self.value_and_slopes = jax.jit(jax.value_and_grad(function, has_aux=True))


class Value(torch.autograd.Function):
    """The value of a `Program` as a tensor that has a gradient."""

    @staticmethod
    def forward(ctx, program, data, keep, *tensors):
        arrays = [to_jax(tensor) for tensor in tensors]
        if any(ctx.needs_input_grad):
            (value, memory), slopes = program.value_and_slopes(arrays, data)
            ctx.slopes = [
                torch.tensor(np.asarray(slope, np.float64), dtype=tensor.dtype)
                for slope, tensor in zip(slopes, tensors)
            ]
        else:
            value, memory = program.value(arrays, data)
        keep(memory)
        return torch.tensor(float(value), dtype=tensors[0].dtype)

    @staticmethod
    def backward(ctx, slope):
        return (None, None, None, *(slope * s for s in ctx.slopes))


def run(program, data, tensors, keep=lambda memory: None):
    """The value of a `Program`; `keep` is called with the new memory."""
    COUNT["calls"] += 1
    return Value.apply(program, data, keep, *tensors)


def padded_length(number):
    """A power of 2 from 32 on: lists of similar lengths share one compiled program."""
    return max(32, 1 << max(number - 1, 0).bit_length())


def pad(array, fill):
    """The array with rows of `fill` behind it, up to `padded_length`."""
    missing = padded_length(len(array)) - len(array)
    widths = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths, constant_values=fill)
