"""Which config and which data a run is of: kept in its checkpoints, and compared when
the training goes on."""

import json
import logging
import os
import pathlib
from typing import Any

import numpy as np

import siamjax
from siamjax.config import Config, to_plain
from siamjax.data import identity
from siamjax.data.splits import Splits
from siamjax.training import checkpoints, run_config, step
from siamjax.types import TRAIN, UsageError

_LOG = logging.getLogger(__name__)


def claim_config(workdir: str | pathlib.Path, config: Config) -> None:
    """Writes config.json, or refuses a workdir that was made with another config."""
    check_config(workdir, config)
    if not (pathlib.Path(workdir) / run_config.FILE).exists():
        run_config.write_config(workdir, config)


def check_config(workdir: str | pathlib.Path, config: Config) -> None:
    """Refuses a workdir that was made with another config; writes nothing.

    If config.json is lost, the copy in the last checkpoint is compared.
    """
    before = None
    if (pathlib.Path(workdir) / run_config.FILE).exists():
        before = run_config.read_config(workdir)
    elif (saved := (_read_meta(workdir) or {}).get("config")) is not None:
        before = run_config.upgrade_config(saved)
    if before is not None:
        differences = run_config.list_differences(before, to_plain(config))
        if differences:
            raise UsageError(
                f"{workdir} belongs to another config: {'; '.join(differences[:3])}; "
                "give another --workdir or the same config"
            )


def check_data(workdir: str | pathlib.Path, folder: str, splits: Splits) -> None:
    """Refuses to go on with other data than the run was trained on so far."""
    meta = _read_meta(workdir)
    if meta is None:
        return
    if "data" not in meta:
        _LOG.warning(
            "%s is of an older version, which did not keep what it was trained on: "
            "whether %s is still the same is not checked",
            workdir,
            folder,
        )
        return
    before = {n: identity.Capture(**c) for n, c in meta["data"]["captures"].items()}
    changes = identity.describe_changes(before, splits.provenance.captures)
    if not changes and meta["data"]["sha256"] != splits.provenance.sha256:
        changes = ["its columns are others"]
    if changes:
        raise UsageError(
            f"{folder} is not what {workdir} was trained on: {'; '.join(changes)}; "
            "give another --workdir or the data as it was"
        )


def checkpoint_meta(
    config: Config,
    splits: Splits,
    best: dict[str, Any] | None,
    workdir: str | pathlib.Path,
) -> dict[str, Any]:
    """The JSON of a checkpoint: with it the state can be used without the data.

    Args:
      config: of the run.
      splits: of its data.
      best: step and score of the best checkpoint so far.
      workdir: of the run. The path of the data is kept relative to it, so it is right
        from any current folder, and if both are moved together.
    """
    folder = os.path.realpath(config.data.dir)
    place = os.path.relpath(folder, os.path.realpath(workdir))
    train, known = splits.sessions.role == TRAIN, splits.provenance
    meta = dict(
        version=siamjax.__version__,
        config=to_plain(config),
        losses=step.hyper_parameters(config),
        columns=[column._asdict() for column in splits.columns],
        scaler={k: np.asarray(v).tolist() for k, v in splits.scaler._asdict().items()},
        conditions=splits.conditions.names,
        known=len(splits.conditions.known),
        data=identity.to_json(known.sha256, known.captures, known.ports)
        | dict(dir=place),
        normal={
            k: np.asarray(v)[train].tolist()
            for k, v in splits.baseline._asdict().items()
        },
        best=best,
    )
    return json.loads(json.dumps(meta, default=list))


def _read_meta(workdir):
    """The JSON of the last checkpoint; None without a checkpoint."""
    with checkpoints.open_checkpoints(workdir) as saved:
        return saved.meta(checkpoints.LAST)
