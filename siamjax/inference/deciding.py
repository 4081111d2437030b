"""The space in which a run compares windows: chosen on validation, stored with it."""

import hashlib
import io
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from siamjax import files
from siamjax.config import BEST, Config
from siamjax.data.splits import Splits
from siamjax.evaluation import spaces, wccn
from siamjax.evaluation.normal_bins import NormalBins
from siamjax.evaluation.novelty import TrainingWindows
from siamjax.evaluation.spaces import Space
from siamjax.evaluation.wccn import Whitening
from siamjax.training import validation

FILE = "space.npz"
# The arrays of the file, with NumPy's kind of each: text or floats.
_ARRAYS = dict(
    head="U",
    statistics="U",
    weight="f",
    mean="f",
    matrix="f",
    covariance="f",
    shrinkage="f",
)
# The arrays of the training windows, which files of older versions do not have.
_TRAINING = dict(training_names="U", training_captures="U", training_moments="f")
# The arrays of the normal bins, which runs have whose faults are shorter than a window.
_BINS = dict(
    bins_mean="f",
    bins_matrix="f",
    bins_covariance="f",
    bins_shrinkage="f",
    bins_limit="f",
)


class Deciding(NamedTuple):
    """The space in which a run compares windows, and what it needs for that."""

    space: Space
    whitening: Whitening | None  # None: not learnt yet
    training: TrainingWindows | None = None  # None: not kept yet
    # Of the learnt points, by normal traffic of a network; None: not adapted to one.
    learnt: Whitening | None = None
    # By which the newest bin of a window decides whether it is normal; None: faults are
    # as long as a window, which decides as a whole.
    normal_bins: NormalBins | None = None


def allowed_spaces(config: Config) -> tuple[Space, ...]:
    """The spaces that a config lets validation choose from; the default is the first.

    If `config.decide_with` names a head, there is one space: this head, with the
    statistics that the config puts beside it.
    """
    if config.decide_with == BEST:
        heads = sorted(config.active_heads, key=lambda h: h != config.deciding_head)
        return spaces.list_spaces(heads)
    weight = config.active_heads[config.decide_with].statistics_weight
    return (Space(config.decide_with, "raw" if weight else "none", weight),)


def default_deciding(config: Config) -> Deciding:
    """The space of a run that was not evaluated yet: the default, without whitening."""
    return Deciding(allowed_spaces(config)[0], None)


def to_points(
    deciding: Deciding,
    config: Config,
    points: Mapping[str, np.ndarray],
    windows: np.ndarray,
) -> np.ndarray:
    """Points `[N, E]` in the space that decides.

    Args:
      deciding: the space.
      config: of the run.
      points: {head: `[N, E]`}, of the embedder.
      windows: `[N, T, F]`, features.
    Raises:
      SiamjaxError: the space needs a whitening, and the run was not evaluated.
    """
    heads = config.active_heads
    learnt = {head: x[:, : heads[head].dim] for head, x in points.items()}
    if deciding.learnt is not None:
        head = deciding.space.head
        learnt[head] = wccn.whiten(learnt[head], deciding.learnt)
    return spaces.to_space(deciding.space, learnt, windows, deciding.whitening)


def validate_spaces(
    config: Config,
    splits: Splits,
    embed: Callable[..., Mapping[str, np.ndarray]],
    learnt: Whitening,
) -> list[dict[str, Any]]:
    """The recall of each space on validation captures, as `spaces.choose` takes it.

    Args:
      config: of the run.
      splits: of its data.
      embed: `embed(*splits.inputs(windows)) -> {head: [N, E]}`.
      learnt: the whitening of the run.
    """
    allowed = allowed_spaces(config)
    plan = validation.plan_validation(splits, config.draws)
    if not plan.known and not plan.novel:
        return spaces.make_curve(allowed, [{} for _ in allowed])
    inputs = splits.inputs(plan.windows)
    points = embed(*inputs)
    x = splits.features(plan.windows)
    tables = [
        validation.tabulate_points(
            plan,
            splits.conditions.names,
            to_points(Deciding(space, learnt), config, points, x),
            config.draws,
        )
        for space in allowed
    ]
    return spaces.make_curve(allowed, tables)


def fingerprint(deciding: Deciding) -> str:
    """A hash of the space and its whitening, which the files learnt in it keep."""
    arrays = (np.array(deciding.space[1:]), *(deciding.whitening or ()))
    if deciding.training is not None:
        arrays += (deciding.training.moments,)
    if deciding.normal_bins is not None:
        arrays += (
            *deciding.normal_bins.whitening,
            np.array(deciding.normal_bins.limit),
        )
    digest = hashlib.sha256(deciding.space.head.encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_deciding(workdir: pathlib.Path, deciding: Deciding) -> None:
    """Writes what decides into the workdir of a run."""
    assert deciding.whitening is not None
    training: dict[str, Any] = {}
    if deciding.training is not None:
        names, captures, moments = deciding.training
        arrays = np.array(names, "U"), np.array(captures, "U"), moments
        training = dict(zip(_TRAINING, arrays))
    bins: dict[str, Any] = {}
    if deciding.normal_bins is not None:
        whitening, limit = deciding.normal_bins
        bins = dict(zip(_BINS, (*whitening, limit)))
    with files.replacing(workdir / FILE) as beside:
        np.savez_compressed(
            beside,
            **deciding.space._asdict(),
            **deciding.whitening._asdict(),
            **training,
            **bins,
        )


def read_deciding(workdir: pathlib.Path, config: Config, columns: int) -> Deciding:
    """What decides in a run; the default space before it was evaluated.

    Args:
      workdir: of the run.
      config: of the run.
      columns: F, of its data.
    Raises:
      files.Damaged: the file cannot be read, or does not fit the config or the columns.
    """
    path = workdir / FILE
    if not path.exists():
        return default_deciding(config)
    with files.parsing(path, f"siamjax evaluate --workdir {workdir} writes it again"):
        # Read from memory: a damaged archive could raise an error of the system.
        with np.load(io.BytesIO(path.read_bytes())) as archive:
            arrays = {name: archive[name] for name in archive.files}
        size = 2 * columns
        shapes = dict(mean=(size,), matrix=(size, size), covariance=(size, size))
        _check_arrays(arrays, _ARRAYS, shapes)
        training = _training_windows(arrays, size)
        normal_bins = _normal_bins(arrays, columns)
        stored = tuple(arrays[name].item() for name in Space._fields)
        allowed = {tuple(space): space for space in allowed_spaces(config)}
        if stored not in allowed:
            raise ValueError(f"{stored} is no space of this run")
    whitening = Whitening(*(arrays[name] for name in Whitening._fields))
    return Deciding(allowed[stored], whitening, training, normal_bins=normal_bins)


def _check_arrays(arrays, kinds, shapes):
    """Raises KeyError or ValueError unless the arrays of `kinds` are there, with their
    kinds and shapes, () by default."""
    for name, kind in kinds.items():
        array = arrays[name]
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
        if array.dtype.kind != kind or array.shape != shapes.get(name, ()):
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}")


def _normal_bins(arrays, columns):
    """The `NormalBins` of a file; None: it has none."""
    if "bins_limit" not in arrays:
        return None
    square = (columns, columns)
    shapes = dict(bins_mean=(columns,), bins_matrix=square, bins_covariance=square)
    _check_arrays(arrays, _BINS, shapes)
    *whitening, limit = (arrays[name] for name in _BINS)
    if not limit > 0:
        raise ValueError("bins_limit is not above 0")
    return NormalBins(Whitening(*whitening), float(limit))


def _training_windows(arrays, size):
    """The training windows of a file; None: it has none."""
    if "training_moments" not in arrays:
        return None
    count = len(arrays["training_names"])
    shapes = dict.fromkeys(_TRAINING, (count,)) | {"training_moments": (count, size)}
    _check_arrays(arrays, _TRAINING, shapes)
    names, captures = (
        tuple(arrays[name].tolist()) for name in ("training_names", "training_captures")
    )
    return TrainingWindows(names, captures, arrays["training_moments"])
