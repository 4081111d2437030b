"""Counts on disk: the same counts, the same batches and the same training."""

import concurrent.futures
import dataclasses
import json
import threading

import jax
import numpy as np
import pytest

from siamjax import config as config_module
from siamjax import files
from siamjax.data import counts, counts_on_disk, sampler, windows
from siamjax.data import splits as splits_module
from siamjax.data.splits import open_splits
from siamjax.training import devices, loop, run_config, step
from siamjax.types import TEST, TRAIN, VALID, UsageError
from tests import small_data


def on_disk(config, folder):
    data = dataclasses.replace(config.data, counts_dir=str(folder))
    return dataclasses.replace(config, data=data)


@pytest.fixture(scope="module", autouse=True)
def one_device():
    with small_data.one_device():
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "set"
    small_data.write(folder)
    return config_module.from_dict(small_data.config(folder, steps=20))


@pytest.fixture
def small_shards(monkeypatch):
    """Files of 50 bins, so that sessions of 140 bins are in several of them."""
    monkeypatch.setattr(counts_on_disk, "SHARD_BYTES", 50 * 4 * 66)


def test_counts_on_disk_are_those_in_memory(config, tmp_path, small_shards):
    here = open_splits(config.data)
    there = open_splits(on_disk(config, tmp_path).data)
    np.testing.assert_array_equal(np.asarray(there.counts), here.counts)
    for field in ("baseline", "windows", "scaler"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(there, field), getattr(here, field)
        )
    jax.tree.map(
        np.testing.assert_array_equal,
        there.inputs(there.windows_of(TRAIN)),
        here.inputs(here.windows_of(TRAIN)),
    )
    (shard, *others) = tmp_path.glob("*/*.f32")
    assert len(others) > 10
    written = shard.stat().st_mtime_ns
    open_splits(on_disk(config, tmp_path).data)
    assert shard.stat().st_mtime_ns == written
    shard.write_bytes(b"cut")
    with pytest.raises(files.Damaged, match="missing or was cut"):
        open_splits(on_disk(config, tmp_path).data)


def test_only_training_sees_more_windows_than_fit_in_memory(
    config, tmp_path, monkeypatch
):
    monkeypatch.setattr(splits_module, "JUDGED_BYTES", 40 * 4 * 66 * config.data.bins)
    here = open_splits(config.data)
    there = open_splits(on_disk(config, tmp_path).data)
    np.testing.assert_array_equal(there.training_mask(), here.training_mask())
    for role in (TRAIN, VALID, TEST):
        judged = there.windows_of(role)
        assert 0 < len(judged.start) <= 40 < len(here.windows_of(role).start)
        assert set(judged.condition) == set(here.windows_of(role).condition)


def test_blocks_of_bins_are_the_counts_of_the_session(config):
    session, kinds = small_data.session("a", "overload", 3), small_data.KINDS
    session = session._replace(span_s=60.2)
    asked = session, kinds, 0.5, ("sip",)
    blocks = list(counts.bin_in_blocks(*asked, block=32))
    assert [len(block) for block in blocks] == [32, 32, 32, 24]
    np.testing.assert_array_equal(np.concatenate(blocks), counts.bin_session(*asked))


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 16 steps, so that a short training needs several."""
    monkeypatch.setattr(counts_on_disk, "CHUNK_STEPS", 16)


@pytest.mark.parametrize("number", [1, 8])
def test_windows_that_are_read_ahead_are_those_of_the_batches(
    config, tmp_path, small_shards, small_chunks, monkeypatch, number
):
    splits = open_splits(on_disk(config, tmp_path).data)
    everything = np.asarray(splits.counts)
    table = sampler.sampling_table(
        splits.windows,
        splits.window_mask(TRAIN, splits.conditions.known),
        conditions=len(splits.conditions.names),
        batch_from="all",
    )
    shape, sizes = sampler.BatchShape(3, 1, 4), []
    read_windows = counts_on_disk.StoredCounts.read_windows

    def record_size(counts, windows, length):
        sizes.append(windows.start.size)
        cut = read_windows(counts, windows, length)
        # JAX does not copy such an array on a CPU.
        assert cut.ctypes.data % counts_on_disk.ALIGNMENT == 0
        return cut

    monkeypatch.setattr(counts_on_disk.StoredCounts, "read_windows", record_size)
    reader = counts_on_disk.make_chunk_reader(
        splits.counts,
        splits.windows,
        3,
        table,
        shape=shape,
        length=splits.length,
        sharding=devices.chunk_sharding(
            devices.make_mesh(jax.local_devices()[:number])
        ),
    )
    with counts_on_disk.reading_ahead(reader, 41) as chunk_of:
        for step in (0, 1, 15, 16, 40, 5):
            rows, _ = sampler.batch_rows(3, step, table, shape)
            batch_of_step = windows.take(splits.windows, np.asarray(rows))
            expected = windows.cut_counts(everything, batch_of_step, splits.length)
            chunk = chunk_of(step)
            np.testing.assert_array_equal(chunk.windows[step - chunk.first], expected)
    # Each device's windows are read by themselves: a process reads only those it needs.
    assert set(sizes) == {16 * shape.size // number}


def test_several_open_counts_at_once_in_a_folder_that_is_not_there(tmp_path):
    start = threading.Barrier(6)

    def open_one(number):
        start.wait()
        folder, count = tmp_path / str(number) / "counts", [np.ones((4, 2))]
        return counts_on_disk.open_counts(folder, {}, [4], 2, lambda i: count)[0, :]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for number in range(20):
            for values in pool.map(open_one, [number] * 6):
                np.testing.assert_array_equal(values, np.ones((4, 2)))


@pytest.mark.parametrize("end, chunks", [(10, 1), (16, 1), (17, 2), (100, 7)])
def test_no_chunk_behind_the_last_step_is_read(end, chunks):
    numbers = []
    reader = counts_on_disk.ChunkReader(16, draw=None, read=numbers.append)
    with counts_on_disk.reading_ahead(reader, end) as chunk_of:
        for number in range(end):
            chunk_of(number)
    assert sorted(numbers) == list(range(chunks))


@pytest.mark.parametrize("batches, steps", [(0.5, 1), (3.5, 3), (1000, 128)])
def test_a_chunk_has_a_limited_size(config, tmp_path, monkeypatch, batches, steps):
    splits = open_splits(on_disk(config, tmp_path).data)
    parts = step.build_parts(
        config,
        columns=splits.columns,
        classes=len(splits.conditions.known),
        mesh=devices.make_mesh(jax.local_devices()[:1]),
    )
    data = loop.place_data(splits, "all", parts, 0, streamed=True)
    size = 4 * parts.sampling.shape.size * splits.length * len(splits.columns)
    monkeypatch.setattr(counts_on_disk, "CHUNK_BYTES", int(batches * size))
    assert loop.make_chunk_reader(splits, data, parts).steps == steps


def test_training_from_disk_is_that_from_memory_also_when_it_was_cut(
    config, tmp_path, small_chunks
):
    config = dataclasses.replace(config, trace_frames=0)
    here = loop.train(config, tmp_path / "here")
    streamed = on_disk(config, tmp_path / "counts")
    loop.train(streamed, tmp_path / "there", until=9)
    there = loop.train(streamed, tmp_path / "there")
    assert int(there.step) == 20
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        there.params,
        here.params,
    )


def test_a_folder_that_cannot_be_written_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="counts_dir"):
        open_splits(on_disk(config, tmp_path / "file" / "counts").data)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "{",
        lambda text: "{}",
        lambda text: text.replace("140", "139", 1),
        lambda text: text.replace('"rows_of_shard": ', '"rows_of_shard": -'),
        None,
    ],
)
def test_a_damaged_or_missing_index_is_one_line_with_a_remedy(config, tmp_path, change):
    open_splits(on_disk(config, tmp_path).data)
    (index,) = tmp_path.glob("*/index.json")
    if change is None:
        index.unlink()
    else:
        index.write_text(change(index.read_text()))
    with pytest.raises(files.Damaged, match=r"index.json is .*remove the folder"):
        open_splits(on_disk(config, tmp_path).data)


def test_a_full_disk_is_named_and_leaves_nothing(config, tmp_path, monkeypatch):
    def fail(path, mode):
        # This device has no room left.
        return open_file("/dev/full", mode)

    open_file = files.open_file
    monkeypatch.setattr(files, "open_file", fail)
    monkeypatch.setattr(counts_on_disk, "SHARD_BYTES", 1 << 14)
    with pytest.raises(OSError, match="No space left") as raised:
        open_splits(on_disk(config, tmp_path / "counts").data)
    assert raised.value.filename.endswith("00000.f32")
    assert not list(tmp_path.iterdir())


def test_a_run_of_a_version_without_counts_on_disk_goes_on(config, tmp_path):
    config = dataclasses.replace(config, trace_frames=0)
    loop.train(config, tmp_path, until=4)
    path = tmp_path / run_config.FILE
    plain = json.loads(path.read_text())
    del plain["data"]["counts_dir"]
    path.write_text(json.dumps(plain))
    assert int(loop.train(config, tmp_path, until=8).step) == 8
