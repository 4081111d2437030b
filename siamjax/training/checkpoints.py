"""Checkpoints: the last ones and the best one, written atomically by orbax.

Each holds the state and, as JSON, all that is needed to use it: config, columns,
scaler, conditions, version and the best score so far.
"""

import contextlib
import logging
import pathlib
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from siamjax.types import SiamjaxError

_LOG = logging.getLogger(__name__)

LAST, BEST = "last", "best"
_KEEP = {LAST: 2, BEST: 1}


class Saved(NamedTuple):
    """A checkpoint as read."""

    step: int
    state: Any
    meta: dict


class Checkpoints:
    """The checkpoints of a workdir."""

    def __init__(self, workdir):
        self._managers = {
            which: ocp.CheckpointManager(
                pathlib.Path(workdir).absolute() / "checkpoints" / which,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep, enable_async_checkpointing=False
                ),
            )
            for which, keep in _KEEP.items()
        }

    def save(self, which, state, meta):
        """Writes one, in place of one of the same step that a killed run left."""
        manager, step = self._managers[which], int(state.step)
        if step in manager.all_steps():
            manager.delete(step)
        manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
            ),
            force=True,
        )

    def restore(self, which, template):
        """The newest that can be read, as `Saved`, or None where there is none.

        Args:
          which: LAST or BEST.
          template: a state of the same structure, for shapes and shardings.
        Raises:
          SiamjaxError: there are checkpoints and none can be read.
        """
        manager, broken = self._managers[which], []
        for step in sorted(manager.all_steps(), reverse=True):
            try:
                got = manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(template),
                        meta=ocp.args.JsonRestore(),
                    ),
                )
                return Saved(step, got.state, got.meta)
            except Exception as error:  # orbax and tensorstore raise many kinds
                reason = " ".join(str(error).split())[:200]
                _LOG.warning("checkpoint %s/%d is broken: %s", which, step, reason)
                broken.append(step)
        if broken:
            raise SiamjaxError(
                f"no checkpoint of {manager.directory} can be read (steps {broken}): "
                "remove the folder to start again"
            )
        return None

    def meta(self, which):
        """The JSON of the newest, or None."""
        manager = self._managers[which]
        for step in sorted(manager.all_steps(), reverse=True):
            with contextlib.suppress(
                Exception
            ):  # `restore` says which one is broken, and how
                got = manager.restore(
                    step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
                )
                return got.meta
        return None

    def close(self):
        for manager in self._managers.values():
            manager.close()


@contextlib.contextmanager
def manager(workdir):
    """The `Checkpoints` of a workdir, closed at the end."""
    saved = Checkpoints(workdir)
    try:
        yield saved
    finally:
        saved.close()


def template(state):
    """Shapes, dtypes and shardings of a state."""
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
