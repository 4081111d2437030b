"""Devices: the platform asked for, the mesh, and JAX's compilation cache on disk."""

import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from siamjax.types import UsageError

_LOG = logging.getLogger(__name__)

# A program that compiles faster than this is not written to the cache, unless JAX's own
# variable says otherwise.
CACHE_FROM_S = 0.3


def prepare_devices(platform: str = "") -> list[jax.Device]:
    """Switches on the compilation cache on disk, and gives the devices of a platform.

    Args:
      platform: `cpu`, `gpu`, `tpu`, or empty for the best there is.
    Raises:
      UsageError: JAX has no such platform. No other one is used in its place.
    """
    home = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", f"{home}/siamjax/xla")
    jax.config.update("jax_compilation_cache_dir", folder)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", CACHE_FROM_S)
    try:
        devices = jax.devices(platform or None)
    except RuntimeError as error:
        raise UsageError(
            f"config.platform is {platform!r}, but JAX finds no such device "
            f"(it has {jax.default_backend()!r}): pip install 'jax[cuda12]' "
            "or 'jax[tpu]', or set config.platform=''"
        ) from error
    _say_once(f"{devices[0].platform}: {len(devices)} x {devices[0].device_kind}")
    return devices


@functools.cache
def _say_once(text: str) -> None:
    """Logs a text the first time: a command on all folds opens several runs."""
    _LOG.info("%s", text)


def first_local(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """The first of the devices that this process has, as a list of one."""
    this = jax.process_index()
    return [device for device in devices if device.process_index == this][:1]


def make_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """A mesh with one axis, `data`, over which batches are split."""
    return Mesh(np.asarray(devices), ("data",))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of an array whose first axis, the batch, is split over devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def chunk_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of batches of several steps, `[steps, B, ...]`."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Arrays of the host on the devices of a sharding, also on those of other hosts.

    Args:
      tree: of arrays, the same ones in every process.
      sharding: of all of them.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place_leaf(x):
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(place_leaf, tree)
