"""Captures that many machines read: the same data set, to the byte."""

import contextlib
import functools
import ipaddress
import json
import os
import pathlib
import shutil

import pytest

from siamjax.capture import events
from siamjax.data import capture_step, prepare, sources
from siamjax.data.kept_readings import FolderBeside, KeptReadings
from siamjax.data.local_reading import LocalReader
from siamjax.types import SiamjaxError, UsageError
from tests import packet_builder as build
from tests.capture_folders import digests, good, lay_out

FILES = {
    "day1/a.pcap": good(),
    "day2/b.pcap": good(1),
    "day2/notes.pcap": b"no capture",
    "ring/x_1.pcap": good(2),
    "ring/x_2.pcap": build.pcap(build.call("later", build.START_NS + 10**10)),
}
ROWS = [
    "day1/a.pcap,normal,,",
    "day2/b.pcap,delay,0,",
    "day2/notes.pcap,normal,,",
    "ring,delay,0,",
    "gone.pcap,normal,,",
]
SESSIONS = {"ring": "ring/*.pcap"}


class StepReader:
    """A reader that does the step of each capture here, without a cluster."""

    def __init__(self, folder):
        self.folder, self.copied = folder, []

    def list_inputs(self, captures, labels_path):
        inputs = sources.list_inputs(captures, labels_path)
        return [
            x._replace(files={file: pathlib.Path(file) for file in x.files})
            for x in inputs
        ]

    def open_readings(self, folder, options, *, reusable):
        self.options = options
        return KeptReadings(FolderBeside(folder), options)

    def hash_files(self, files, read, kept):
        work = capture_step.Work(self.options, kept.key, "token", read)
        hashes, self.failures = {}, []
        for i, file in enumerate(files):
            paths = getattr(file.path, "paths", (file.path,))
            urls = {str(path): str(self.folder / path) for path in paths}
            item = capture_step.Item(i, file, urls)
            capture_step.read_capture(item, work, kept.storage, self._copy)
            name = capture_step.result_name("token", i)
            result = json.loads(kept.storage.read(name))
            hashes[file.file] = result["sha256"]
            self.failures.append(result["failure"])
        return hashes

    def read_files(self, files, read, hashes, kept, say):
        return [
            prepare.reading.Failure(*failure)
            if failure
            else kept.deferred(hashes[f.file], kept.load(hashes[f.file]))
            for f, failure in zip(files, self.failures)
        ]

    def _copy(self, url, path):
        self.copied.append(url)
        shutil.copyfile(url, path)


def ingest(folder, out, reader):
    said = []
    prepare.prepare_packets(
        folder,
        os.path.join(folder, "labels.csv"),
        out,
        sessions=SESSIONS,
        reader=reader,
        say=said.append,
    )
    return [line.replace(str(out), "OUT") for line in said]


def test_the_step_of_each_capture_gives_the_data_set_of_one_machine(tmp_path):
    folder = lay_out(tmp_path / "in", FILES, ROWS)
    here = ingest(folder, tmp_path / "here", LocalReader(1))
    reader = StepReader(folder)
    assert ingest(folder, tmp_path / "there", reader) == here
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    assert len(reader.copied) == 5
    assert any("notes.pcap: not a capture" in line for line in here)


def test_a_capture_that_cannot_be_copied_is_left_out_and_read_the_next_time(tmp_path):
    folder = lay_out(tmp_path / "in", FILES, ROWS)
    reader = StepReader(folder)
    copy = reader._copy

    def refuse(url, path):
        if url.endswith("b.pcap"):
            raise PermissionError(13, "Permission denied", url)
        copy(url, path)

    reader._copy = refuse
    said = ingest(folder, tmp_path / "out", reader)
    assert "day2/b.pcap: Permission denied, left out" in said
    meta = json.loads((tmp_path / "out/meta.json").read_bytes())
    assert meta["captures_sha256"]["day2/b.pcap"] == ""
    reader._copy = copy
    ingest(folder, tmp_path / "out", reader)
    ingest(folder, tmp_path / "here", LocalReader(1))
    assert digests(tmp_path / "out") == digests(tmp_path / "here")


def test_a_worker_with_another_version_is_refused(tmp_path):
    kept = KeptReadings(FolderBeside(tmp_path / "out"), {"format": "packets"})
    work = capture_step.Work({"format": "packets"}, "other", "t", events.read_events)
    source = sources.Source("a", "a.pcap", pathlib.Path("a.pcap"), (), 0)
    item = capture_step.Item(0, source, {"a.pcap": str(tmp_path / "a.pcap")})
    with pytest.raises(SiamjaxError, match="another siamjax or tshark"):
        capture_step.read_capture(item, work, kept.storage, shutil.copyfile)


@functools.cache
def beam_reading():
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    from siamjax.data import beam_reading

    return beam_reading


def test_a_pipeline_gives_the_data_set_of_one_machine(tmp_path):
    BeamReader = beam_reading().BeamReader
    folder = lay_out(tmp_path / "in", FILES, ROWS)
    here = ingest(folder, tmp_path / "here", LocalReader(1))
    assert ingest(str(folder), tmp_path / "there", BeamReader([])) == here
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    again = ingest(str(folder), tmp_path / "there", BeamReader([]))
    assert "notes.pcap" not in again[-1]  # all but the failures are kept
    names = {path.suffix for path in (tmp_path / ".there.read").iterdir()}
    assert names == {".npz"}
    # Several inputs, one of them a pattern, have the names of several folders.
    for day in ("day1", "day2"):
        (folder / f"{day}.csv").write_text(
            "file,condition,onset_s,clear_s\n"
            + {"day1": "a.pcap,normal,,\n", "day2": "b.pcap,delay,0,\n"}[day]
        )
    tables = [str(folder / "day1.csv"), str(folder / "day2.csv")]
    for reader, captures, out in (
        (LocalReader(1), [folder / "day1", folder / "day2"], tmp_path / "two"),
        (BeamReader([]), [f"{folder}/day1", f"{folder}/day2/*.pcap"], tmp_path / "by"),
    ):
        prepare.prepare_packets(captures, tables, out, reader=reader, say=str)
    assert digests(tmp_path / "by") == digests(tmp_path / "two")


def test_a_given_server_leaves_no_readings(tmp_path):
    folder = lay_out(tmp_path / "in", FILES, ROWS[:2])
    for reader, out in (
        (LocalReader(1), tmp_path / "here"),
        (beam_reading().BeamReader([]), tmp_path / "there"),
    ):
        prepare.prepare_packets(
            str(folder),
            str(folder / "labels.csv"),
            out,
            server_address=ipaddress.ip_address(build.SERVER).packed,
            reader=reader,
            say=str,
        )
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    assert not (tmp_path / ".there.read").exists()


def test_wrong_use_of_a_pipeline_is_named(tmp_path):
    BeamReader = beam_reading().BeamReader
    with pytest.raises(UsageError, match="Beam has no option --sunner"):
        BeamReader(["--sunner=DirectRunner"])
    with pytest.raises(UsageError, match="--runner=SunRunner cannot be used: Unexp"):
        BeamReader(["--runner=SunRunner"])
    with pytest.raises(UsageError, match="does not exist"):
        BeamReader([]).list_inputs(str(tmp_path / "gone"), str(tmp_path / "l.csv"))


def test_the_options_of_a_runner_are_those_of_its_module(tmp_path, monkeypatch):
    BeamReader = beam_reading().BeamReader
    (tmp_path / "sun_runner.py").write_text(
        "from apache_beam.options.pipeline_options import PipelineOptions\n"
        "from apache_beam.runners import DirectRunner\n"
        "class SunOptions(PipelineOptions):\n"
        "    @classmethod\n"
        "    def _add_argparse_args(cls, parser):\n"
        "        parser.add_argument('--sun_address')\n"
        "class SunRunner(DirectRunner):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["--runner=sun_runner.SunRunner", "--sun_address=localhost:1"]
    with contextlib.closing(BeamReader(arguments)):
        pass
