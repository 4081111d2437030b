"""The state of a monitor on disk, from which a restart goes on."""

import io
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from siamjax import files
from siamjax.monitoring.monitor import Monitor
from siamjax.types import UsageError

FILE = "state.npz"
_FORMAT = 5
# In place of an array: its name in the file.
_ARRAY = "array"


def save_state(folder: str | os.PathLike, monitor: Monitor) -> None:
    """Writes the state of a monitor as a whole."""
    arrays: dict[str, Any] = {}
    tree = _without_arrays(dict(format=_FORMAT, state=monitor.state()), arrays)
    text = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    with files.replacing(pathlib.Path(folder) / FILE) as beside:
        with zipfile.ZipFile(beside, "w") as archive:
            for name, array in dict(arrays, json=text).items():
                _write_array(archive, name, array)


def restore_state(folder: str | os.PathLike, monitor: Monitor) -> bool:
    """Lets a monitor go on from the state in a folder; whether there was one.

    Raises:
      UsageError: it is of another run, network or other sessions.
      files.Damaged: it cannot be read.
    """
    path = pathlib.Path(folder) / FILE
    if not path.exists():
        return False
    remedy = f"remove {path} to begin anew"
    with files.parsing(path, remedy):
        try:
            # Read from memory: a damaged archive could raise an error of the system.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                tree = json.loads(file["json"].tobytes())
                if tree["format"] != _FORMAT:
                    raise UsageError("it is of another version of siamjax")
                monitor.restore(_with_arrays(tree["state"], file))
        except UsageError as error:
            raise UsageError(
                f"{path}: {error}: give another --state, or {remedy}"
            ) from None
    return True


def _write_array(archive, name, array):
    """Writes an array as NumPy does; one of whole numbers is packed, as quickly as can
    be. Distances would hardly become smaller."""
    data = io.BytesIO()
    np.lib.format.write_array(data, np.asarray(array), allow_pickle=False)
    is_whole = array.dtype.kind in "biu"
    archive.writestr(
        f"{name}.npy",
        data.getvalue(),
        zipfile.ZIP_DEFLATED if is_whole else zipfile.ZIP_STORED,
        compresslevel=1,
    )


def _without_arrays(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"{_ARRAY}{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        return {name: _without_arrays(item, arrays) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(item, arrays) for item in value]
    return value


def _with_arrays(value: Any, file: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return file[value[_ARRAY]]
        return {name: _with_arrays(item, file) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_arrays(item, file) for item in value]
    return value
