"""Captures on any file system, read by an Apache Beam pipeline.

Each capture is one element of the pipeline: a worker copies it to its disk, reads it
as `ingest` does, and keeps the reading in a folder that this machine sees, too. Then
this machine writes the data set of the readings. It is the same to the byte as one of
`local_reading`.
"""

import contextlib
import json
import os
import posixpath
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from siamjax.capture.parts import list_parts
from siamjax.data import capture_step, reading, sources
from siamjax.data.capture_step import Item, Work
from siamjax.data.kept_readings import KeptReadings, folder_name, held
from siamjax.data.sources import Input, Paths, Source
from siamjax.types import SiamjaxError, UsageError

try:
    import apache_beam as beam
    from apache_beam.io.filesystem import BeamIOError, CompressionTypes
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import (
        GoogleCloudOptions,
        PipelineOptions,
        StandardOptions,
    )
    from apache_beam.runners import create_runner
except ImportError as error:
    raise SiamjaxError(
        "--beam needs Apache Beam: pip install 'siamjax[beam]' -c "
        "scripts/constraints-beam.txt"
    ) from error

# As they are: capture files of this package are decompressed by siamjax.
_AS_IT_IS = CompressionTypes.UNCOMPRESSED


class BeamFolder:
    """A `kept_readings.Storage` on any file system that Beam reads."""

    def __init__(self, folder: str):
        self._folder = folder

    def read(self, name: str) -> bytes:
        with FileSystems.open(self._path(name), compression_type=_AS_IT_IS) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        beside = self._path(f"{name}.{secrets.token_hex(8)}")
        with contextlib.suppress(BeamIOError, OSError):  # it is there
            FileSystems.mkdirs(self._folder)
        with FileSystems.create(beside, compression_type=_AS_IT_IS) as file:
            file.write(content)
        FileSystems.rename([beside], [self._path(name)])

    def forget_others(self, names: Iterable[str]) -> None:
        kept = set(names)
        try:
            paths = [meta.path for meta in _match(self._path("*"))]
            others = [p for p in paths if posixpath.basename(p) not in kept]
            if others:
                FileSystems.delete(others)
            if not kept and FileSystems.exists(self._folder):
                FileSystems.delete([self._folder])
        except (BeamIOError, OSError):  # another ingest may remove them too
            return

    def _path(self, name):
        return FileSystems.join(self._folder, name)


class BeamReader:
    """A `sources.Reader`; its temporary files are removed by `close`."""

    def __init__(self, arguments: Sequence[str]):
        """
        Args:
          arguments: of Beam, such as `--runner=FlinkRunner`. `--temp_location` is where
            the readings are kept; by default, beside the data set.
        Raises:
          UsageError: Beam does not know one of them.
        """
        self._options = PipelineOptions(list(arguments))
        self._runner = _make_runner(self._options.view_as(StandardOptions).runner)
        unknown = self._options.get_all_options(retain_unknown_options=True)
        known = self._options.get_all_options()
        if names := sorted(set(unknown) - set(known)):
            raise UsageError(f"Beam has no option --{names[0]}")
        self._temp_location = self._options.view_as(GoogleCloudOptions).temp_location
        FileSystems.set_options(self._options)
        self._urls: dict[str, str] = {}  # of all files, by their path
        self._failures: dict[str, reading.Failure] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="siamjax_")

    def close(self) -> None:
        self._scratch.cleanup()

    def list_inputs(self, captures: Paths, labels_path: Paths) -> list[Input]:
        """See `sources.Reader`. A folder may also be a pattern such as `DIR/**.pcap`.

        Paths are those below the folders; `hash_files` knows where the files are.
        """
        pairs = sources.pair_inputs(captures, labels_path)
        listed = [_list_files(folder, table) for folder, table in pairs]
        prefixes = [""]
        if len(pairs) > 1:
            tops = [top for top, _ in listed]
            schemes = {scheme for scheme, _ in map(_split_scheme, tops)}
            if len(schemes) > 1:
                raise UsageError(
                    f"--captures are on {len(schemes)} file systems: give those of one"
                )
            places = [PurePosixPath("/", _split_scheme(top)[1]) for top in tops]
            sources.check_apart([folder for folder, _ in pairs], places)
            prefixes = sources.name_folders(places)
        inputs = []
        for i, (prefix, (_, table), (_, urls)) in enumerate(
            zip(prefixes, pairs, listed)
        ):
            local = Path(self._scratch.name, str(i), posixpath.basename(table))
            local.parent.mkdir()
            try:
                _copy(table, local)
            except OSError as error:
                raise UsageError(f"{table} cannot be read: {error}") from None
            paths = {file: Path(prefix + file) for file in urls}
            self._urls |= {str(paths[file]): url for file, url in urls.items()}
            inputs.append(Input(prefix, paths, local))
        return inputs

    def open_readings(
        self, folder: str | os.PathLike, options: dict[str, Any], *, reusable: bool
    ) -> KeptReadings:
        """See `sources.Reader`; readings that are not reusable have a random name."""
        beside = os.path.dirname(os.path.abspath(folder))
        place = FileSystems.join(self._temp_location or beside, folder_name(folder))
        once = {} if reusable else {"once": secrets.token_hex()}
        self._reusable, self._kept_options = reusable, options | once
        self._folder = place
        return KeptReadings(BeamFolder(place), self._kept_options)

    def hash_files(
        self,
        files: Sequence[Source],
        read: Callable[[Path], Any],
        kept: KeptReadings,
    ) -> dict[str, str]:
        """Runs the pipeline, which hashes all files and reads those not read before.

        Raises:
          SiamjaxError: the pipeline failed, or its readings cannot be seen here.
        """
        token = secrets.token_hex(8)
        work = Work(self._kept_options, kept.key, token, read)
        items = [
            Item(i, file, {str(p): self._urls[str(p)] for p in list_parts(file.path)})
            for i, file in enumerate(files)
        ]
        if items:
            self._run(items, work)
        hashes = {}
        for item in items:
            name = capture_step.result_name(token, item.number)
            try:
                result = json.loads(kept.storage.read(name))
            except (OSError, ValueError):
                raise SiamjaxError(
                    f"the pipeline ended, but {self._folder}/{name} is not there: give "
                    "Beam a --temp_location that its workers and this machine see"
                ) from None
            hashes[item.source.file] = result["sha256"]
            if result["failure"]:
                failure = reading.Failure(*result["failure"])
                self._failures[item.source.file] = failure
        kept.forget_others(hashes.values())
        return hashes

    def read_files(
        self,
        files: Sequence[Source],
        read: Callable[[Path], Any],
        hashes: dict[str, str],
        kept: KeptReadings,
        say: Callable[[str], None],
    ) -> list[Any]:
        """See `sources.Reader`; all files were read by `hash_files`."""
        results: list[Any] = []
        for file in files:
            sha256 = hashes[file.file]
            if failure := self._failures.get(file.file):
                results.append(failure)
                continue
            result = kept.load(sha256)
            if result is None:
                raise SiamjaxError(
                    f"{file.file}: its reading in {self._folder} is damaged: run the "
                    "same command again"
                )
            result = kept.deferred(sha256, result) if self._reusable else held(result)
            results.append(result)
        sources.remove_unfinished(hashes, files, results)
        kept.forget_others(hashes.values() if self._reusable else [])
        return results

    def _run(self, items, work):
        try:
            with beam.Pipeline(self._runner, self._options) as pipeline:
                _ = (
                    pipeline
                    | "List captures" >> beam.Create(items)
                    | "Spread" >> beam.Reshuffle()
                    | "Read captures" >> beam.Map(_read_item, self._folder, work)
                )
        except Exception as error:  # each runner has errors of its own
            reason = " ".join(f"{type(error).__name__}: {error}".split())[-400:]
            raise SiamjaxError(f"the pipeline failed: {reason}") from error


def _make_runner(name):
    """The runner of a name. Its module, imported here, may define its options."""
    if name is None:
        return None
    try:
        return create_runner(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--runner={name} cannot be used: {error}") from error


def _read_item(item: Item, folder: str, work: Work) -> None:
    """The step of the pipeline."""
    capture_step.read_capture(item, work, BeamFolder(folder), _copy)


def _list_files(pattern, table):
    """`(folder, {path below it: url})` of a folder, a file or a pattern."""
    folder = re.split(r"[*?[]", pattern)[0]
    if folder == pattern:
        folder = pattern.rstrip("/")
        metas = _match(folder + "/**")
        if not metas and (metas := _match(folder)):  # it is one file
            folder = posixpath.dirname(folder)
    else:
        folder, metas = posixpath.dirname(folder), _match(pattern)
    if not metas:
        raise UsageError(f"{pattern} does not exist, or has no file")
    urls = {meta.path.removeprefix(folder + "/"): meta.path for meta in metas}
    return folder, {
        file: url
        for file, url in sorted(urls.items())
        if not sources.is_hidden(file) and url != table
    }


def _match(pattern):
    try:
        return FileSystems.match([pattern])[0].metadata_list
    except (BeamIOError, OSError, ValueError) as error:
        raise UsageError(f"{pattern} cannot be listed: {error}") from error


def _split_scheme(url):
    scheme, mark, path = url.rpartition("://")
    return scheme + mark, path


def _copy(url, path):
    with FileSystems.open(url, compression_type=_AS_IT_IS) as remote:
        with open(path, "wb") as local:
            shutil.copyfileobj(remote, local)
