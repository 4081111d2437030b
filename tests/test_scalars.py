"""Scalars of a run that was cut are those of a quiet one, in both places."""

import errno
import io
import math
import os
import threading
import time

import pytest
from tensorboard.backend.event_processing import event_accumulator

from siamjax.reports import scalars


def write(workdir, first, last, *, tag=0.0, killed=False):
    with scalars.open_writer(workdir, first) as writer:
        for step in range(first + 1, last + 1):
            writer.add(step, {"loss": 1 / step + tag, "valid/known": step / 3 + tag})
        writer.flush()
        if killed:  # no close, a half-written last row
            with open(workdir / scalars.FILE, "a") as file:
                file.write("99,lo")


def tensorboard(workdir):
    events = event_accumulator.EventAccumulator(str(workdir))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_a_cut_run_has_the_scalars_of_a_quiet_one(tmp_path):
    write(tmp_path / "quiet", 0, 9)
    write(tmp_path / "cut", 0, 6, killed=True)  # the checkpoint was at step 4
    write(tmp_path / "cut", 4, 9)
    quiet, cut = tmp_path / "quiet", tmp_path / "cut"
    assert (quiet / scalars.FILE).read_bytes() == (cut / scalars.FILE).read_bytes()
    assert tensorboard(quiet / scalars.RUN) == tensorboard(cut / scalars.RUN)
    assert [step for step, _ in tensorboard(cut / scalars.RUN)["loss"]] == list(
        range(1, 10)
    )


def test_killed_before_the_first_checkpoint(tmp_path):
    write(tmp_path, 0, 5, tag=7.0, killed=True)
    write(tmp_path, 0, 3)
    assert scalars.read_scalars(tmp_path)["loss"][0] == [1, 2, 3]
    got = [value for _, value in tensorboard(tmp_path / scalars.RUN)["loss"]]
    assert got == pytest.approx([1, 1 / 2, 1 / 3])


def test_values_come_back_as_they_were(tmp_path):
    values = [0.1, 1e-300, math.inf, math.nan, 3]
    with scalars.open_writer(tmp_path, 0) as writer:
        for step, value in enumerate(values):
            writer.add(step, {'odd, "name"': value})
    steps, got = scalars.read_scalars(tmp_path)['odd, "name"']
    assert steps == [0, 1, 2, 3, 4]
    assert got[:3] == values[:3] and math.isnan(got[3]) and got[4] == 3.0


def test_a_clock_that_was_set_back_brings_no_dropped_step_back(tmp_path, monkeypatch):
    write(tmp_path, 0, 5, tag=7.0, killed=True)  # the checkpoint was at step 2
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s - 86_400)
    write(tmp_path, 2, 4)
    steps = [step for step, _ in tensorboard(tmp_path / scalars.RUN)["loss"]]
    values = [value for _, value in tensorboard(tmp_path / scalars.RUN)["loss"]]
    assert steps == [1, 2, 3, 4]
    assert values == pytest.approx([8, 7.5, 1 / 3, 1 / 4])


def test_every_scalar_is_in_the_file_at_once(tmp_path):
    with scalars.open_writer(tmp_path, 0) as writer:
        writer.add(1, {"loss": 2.0})
        assert tensorboard(tmp_path / scalars.RUN) == {"loss": [(1, 2.0)]}


def test_a_full_disk_raises_and_does_not_hang(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = threading.active_count()
    with pytest.raises(OSError, match="No space left"):
        with scalars.open_writer(tmp_path, 0) as writer:
            monkeypatch.setattr(writer._event_file._records, "_writer", Full())
            for step in range(100):
                writer.add(step, {"loss": 1.0})
    assert threading.active_count() == before


def test_an_error_in_training_keeps_what_was_written(tmp_path):
    with pytest.raises(RuntimeError), scalars.open_writer(tmp_path, 0) as writer:
        writer.add(1, {"loss": 2.0})
        raise RuntimeError
    assert scalars.read_scalars(tmp_path) == {"loss": ([1], [2.0])}


def test_an_older_run_goes_on_where_its_events_are(tmp_path):
    write(tmp_path, 0, 4)
    for path in (tmp_path / scalars.RUN).iterdir():
        path.rename(tmp_path / path.name)
    write(tmp_path, 2, 3)
    assert [step for step, _ in tensorboard(tmp_path)["loss"]] == [1, 2, 3]
    assert not any((tmp_path / scalars.RUN).iterdir())


def test_no_run_has_no_scalars(tmp_path):
    assert scalars.read_scalars(tmp_path / "none") == {}
