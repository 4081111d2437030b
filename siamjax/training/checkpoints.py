"""Checkpoints: the last ones and the best one in one folder, written by orbax.

Each holds the state and, as JSON, what is needed to use it: config, columns, scaler,
conditions, version and the best score so far. A damaged checkpoint is reported and the
next good one is used. A checkpoint of another kind of state is an error that says what
differs. An unreadable checkpoint is never deleted.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

import siamjax
from siamjax.types import SiamjaxError

_LOG = logging.getLogger(__name__)

FOLDER = "checkpoints"
LAST, BEST = "last", "best"
# The key under which the JSON holds the hashes of the state and of itself.
_HASHES = "sha256"
# Last checkpoints that are kept: if the newest is damaged, a run loses one interval.
KEEP_LAST = 2


class Saved(NamedTuple):
    """A checkpoint as read."""

    step: int
    state: Any
    meta: dict


class Checkpoints:
    """The checkpoints of a folder; `write` says whether any will be saved."""

    def __init__(self, folder: str | os.PathLike, *, write: bool = False):
        self._folder, self._manager = pathlib.Path(folder).absolute(), None
        self._reader = ocp.Checkpointer(
            ocp.CompositeCheckpointHandler(), multiprocessing_options=_alone()
        )
        if write:
            _set_aside(path for path in _steps(self._folder) if _rank_of(path) is None)
            self._manager = ocp.CheckpointManager(self._folder, options=_options())

    def save(self, state: Any, meta: dict, score: float | None = None) -> None:
        """Writes a checkpoint; those that are neither the best nor among the last go.

        Args:
          state: with its step.
          meta: plain values.
          score: the highest one makes the best checkpoint; None: nothing was judged.
        Raises:
          SiamjaxError: it cannot be written, for instance on a full disk.
        """
        step = int(state.step)
        if jax.process_count() > 1:  # orbax refuses arrays of a part of the processes
            state = jax.device_get(state)
        metrics = dict(step=step) if score is None else dict(step=step, score=score)
        hashes = dict(state=_hash_of_state(state), meta=_hash_of_meta(meta))
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave({**meta, _HASHES: hashes}),
        )
        try:
            with _closed_in_order():
                assert self._manager is not None  # opened with `write`
                self._manager.save(step, args=items, metrics=metrics, force=True)
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise SiamjaxError(
                f"{self._folder / str(step)} cannot be written ({_reason(error)}): the "
                "checkpoint before it is whole, and the same command goes on from it"
            ) from error

    def restore(self, which: str, template: Any = None) -> Saved | None:
        """Reads the best or the last checkpoint that can be read; None: there is none.

        Args:
          which: LAST or BEST.
          template: a state of the same structure, for shapes and shardings; without
            it the state is nested dicts of arrays.
        Raises:
          SiamjaxError: its state has another structure, or no checkpoint can be read.
        """
        saved = self._first(which, lambda path: self._read(path, template))
        if saved is not None and which == BEST:
            best = saved.meta.get("best") or {}
            if _is_judged(best) and best["step"] != saved.step:
                _LOG.warning(
                    "the best checkpoint, of step %d, is not there or damaged: using "
                    "that of step %d",
                    best["step"],
                    saved.step,
                )
        return saved

    def meta(self, which: str) -> dict | None:
        """The JSON of the best or the last one that can be read; None: there is
        none."""
        return self._first(which, self._read_meta)

    def close(self) -> None:
        """Ends the writing; what was saved is on the disk."""
        self._reader.close()
        if self._manager is not None:
            self._manager.close()

    def _first(self, which, read):
        """What `read` gives for the first checkpoint that it can read, in `_order`."""
        damaged, reason = [], ""
        for path in self._order(which):
            try:
                with _closed_in_order():
                    result = read(path)
            except SiamjaxError:
                raise
            except Exception as error:  # orbax and tensorstore raise many kinds
                damaged, reason = [*damaged, path], _reason(error)
                _LOG.warning("%s is damaged (%s): using another", path, reason)
                continue
            if damaged and self._manager is not None:
                _set_aside(damaged)
                self._manager.reload()
            return result
        if damaged:
            raise SiamjaxError(
                f"no checkpoint of {self._folder} can be read (steps "
                f"{', '.join(path.name for path in damaged)}; {reason}): put back a "
                "copy, or train into another --workdir"
            )
        return None

    def _order(self, which):
        older = self._folder / which  # older versions had a folder for each
        paths = _steps(older if older.is_dir() else self._folder)
        if which == LAST:
            return sorted(paths, key=_step, reverse=True)
        return sorted(paths, key=_rank_or_step, reverse=True)

    def _read(self, path, template):
        meta, hashes = self._read_both(path)
        if template is not None:
            _check_fit(path, meta, template)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(template))
        state = self._reader.restore(path, args=items).state
        if hashes and hashes["state"] != _hash_of_state(state):
            raise ValueError("its arrays are not those that were saved")
        return Saved(_step(path), state, meta)

    def _read_meta(self, path):
        return self._read_both(path)[0]

    def _read_both(self, path):
        """The JSON of a checkpoint, and the hashes of JSON and state."""
        items = ocp.args.Composite(meta=ocp.args.JsonRestore())
        meta = self._reader.restore(path, args=items).meta
        hashes = meta.pop(_HASHES, None)  # older versions had none
        if hashes and hashes["meta"] != _hash_of_meta(meta):
            raise ValueError("its JSON is not what was saved")
        return meta, hashes


@contextlib.contextmanager
def open_checkpoints(
    workdir: str | os.PathLike, *, write: bool = False
) -> Iterator[Checkpoints]:
    """The `Checkpoints` of a workdir, closed at the end.

    Args:
      workdir: of a run.
      write: whether checkpoints will be saved; for the one process that trains there.
    Raises:
      SiamjaxError: `write` in a workdir with checkpoints of an older version.
    """
    folder = pathlib.Path(workdir) / FOLDER
    if write and any((folder / which).is_dir() for which in (LAST, BEST)):
        raise SiamjaxError(
            f"{workdir} was trained by an older version of siamjax: it can be "
            "evaluated and used; to train, give another --workdir"
        )
    saved = Checkpoints(folder, write=write)
    try:
        yield saved
    finally:
        saved.close()


def state_template(state: Any, sharding: Any = None) -> Any:
    """Shapes, dtypes and shardings of a state.

    Args:
      state: of arrays, or of shapes only, such as `state.state_shapes` gives.
      sharding: for all leaves; by default each leaf keeps its own.
    """
    if sharding is None:
        return jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state
    )


def _options():
    best = managers.BestN(get_metric_fn=_rank, n=1)
    return ocp.CheckpointManagerOptions(
        cleanup_tmp_directories=True,  # what a killed run left
        best_fn=_rank,  # without it orbax writes no metrics
        preservation_policy=managers.AnyPreservationPolicy(
            [managers.LatestN(KEEP_LAST), best]
        ),
        enable_async_checkpointing=False,
        multiprocessing_options=_alone(),
        create=False,
    )


def _alone():
    """Of several processes this one reads and writes, and waits for no other one."""
    this = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=this, active_processes={this}, barrier_sync_key_prefix=str(this)
    )


def _rank(metrics):
    """Of two equal scores the earlier is better; without scores the later."""
    score, step = metrics.get("score"), metrics["step"]
    return (-math.inf, step) if score is None else (score, -step)


def _rank_of(path):
    """`_rank` of a checkpoint; None if its metrics cannot be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        return _rank(json.loads((path / "metrics" / "metrics").read_bytes()))
    return None


def _rank_or_step(path):
    return _rank_of(path) or _rank(dict(step=_step(path)))


def _is_judged(best):
    return math.isfinite(best.get("score", math.nan))


def _step(path):
    return int(path.name)


def _steps(folder):
    """Paths of the checkpoints of a folder."""
    return [path for path in folder.glob("*") if path.name.isdigit()]


def _check_fit(path, meta, template):
    """Raises where a checkpoint's state has other leaves, shapes or dtypes."""
    handler = ocp.StandardCheckpointHandler()
    stored, wanted = _forms(handler.metadata(path / "state").tree), _forms(template)
    differ = [
        f"{name} is {stored.get(name, 'nothing')} there and "
        f"{wanted.get(name, 'nothing')} here"
        for name in sorted(wanted.keys() | stored.keys())
        if stored.get(name) != wanted.get(name)
    ]
    if differ:
        more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise SiamjaxError(
            f"{path} does not fit: siamjax {meta.get('version', 'of another version')} "
            f"wrote it, this is {siamjax.__version__}; {'; '.join(differ[:3])}{more}: "
            "use the version and the losses that wrote it, or train into another "
            "--workdir"
        )


def _forms(tree):
    """{dotted name of a leaf: its dtype and shape}."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{leaf.dtype}{list(leaf.shape)}"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if hasattr(leaf, "shape")
    }


class _PatientLoop(asyncio.SelectorEventLoop):
    """An event loop that closes once all its tasks have ended."""

    def close(self) -> None:
        if tasks := asyncio.all_tasks(self):
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        super().close()


class _PatientLoops(asyncio.DefaultEventLoopPolicy):
    _loop_factory = _PatientLoop


@contextlib.contextmanager
def _closed_in_order():
    """Lets orbax end all reads or writes before it raises the error of one of them.

    Without this, orbax closes their event loop at once, and each thread that still
    reads or writes prints a traceback.
    """
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_PatientLoops())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)


def _hash_of_state(state):
    """The SHA-256 of all arrays, since orbax writes no checksum."""
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(state))
    }
    digest = hashlib.sha256()
    for name, leaf in sorted(leaves.items()):
        digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def _hash_of_meta(meta):
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _set_aside(paths):
    """Renames damaged checkpoints, so that those of their steps can be written."""
    for path in list(paths):
        aside = path.with_name(f"{path.name}.damaged")
        while aside.exists():
            aside = aside.with_name(f"{aside.name}.damaged")
        path.rename(aside)
        _LOG.warning("%s is damaged: kept as %s", path, aside.name)


def _reason(error):
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
