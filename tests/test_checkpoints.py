"""Checkpoints: which are kept, and what is said of those that cannot be used."""

import asyncio
import pathlib

import flax
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import siamjax
from siamjax.training import checkpoints
from siamjax.training.checkpoints import BEST, LAST
from siamjax.types import SiamjaxError


@flax.struct.dataclass
class State:
    step: jax.Array
    params: dict


def state(step, width=3, **more):
    params = dict(kernel=jnp.full((2, width), float(step)), **more)
    return State(jnp.asarray(step, jnp.int32), params)


def write(workdir, scores):
    """Saves {step: score}, as training does."""
    best = None
    with checkpoints.open_checkpoints(workdir, write=True) as saved:
        for step, score in scores.items():
            if score is not None and (best is None or score > best["score"]):
                best = dict(step=step, score=score)
            saved.save(state(step), dict(version="9.9", best=best), score)


def steps(workdir):
    folder = pathlib.Path(workdir) / checkpoints.FOLDER
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def read(workdir, which, like=None):
    with checkpoints.open_checkpoints(workdir) as saved:
        template = checkpoints.state_template(state(0) if like is None else like)
        return saved.restore(which, template)


def damage(workdir, step, part="state"):
    for path in (workdir / checkpoints.FOLDER / str(step) / part).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("scores", "kept", "best"),
    [
        ({4: 0.5, 8: 0.9, 12: 0.3, 16: 0.9, 20: 0.1}, [8, 16, 20], 8),
        ({4: 0.9, 8: 0.5, 10: None}, [4, 8, 10], 4),
        ({4: None, 8: None, 12: None}, [8, 12], 12),
        ({4: -0.5}, [4], 4),
    ],
)
def test_the_best_and_the_last_two_are_kept(tmp_path, scores, kept, best):
    write(tmp_path, scores)
    assert steps(tmp_path) == kept
    assert read(tmp_path, BEST).step == best
    last = read(tmp_path, LAST)
    assert last.step == max(scores)
    np.testing.assert_array_equal(last.state.params["kernel"], max(scores))


def test_a_run_that_goes_on_knows_the_best_of_before(tmp_path):
    write(tmp_path, {4: 0.9, 8: 0.1})
    write(tmp_path, {12: 0.2, 16: 0.3})
    assert steps(tmp_path) == [4, 12, 16]


def test_no_run_has_no_checkpoint_and_reading_makes_no_folder(tmp_path):
    assert read(tmp_path / "none", LAST) is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("part", ["state", "meta", "metrics"])
def test_a_damaged_one_is_named_and_the_next_good_one_is_used(tmp_path, caplog, part):
    write(tmp_path, {4: 0.5, 8: 0.9, 12: 0.3})
    damage(tmp_path, 8, part)
    assert read(tmp_path, LAST).step == 12
    assert read(tmp_path, BEST).step == 12
    assert "of step 8, is not there or damaged: using that of step 12" in caplog.text


def test_a_lost_best_is_said_and_the_last_is_used(tmp_path, caplog):
    write(tmp_path, {4: 0.9, 8: 0.1, 12: 0.3})
    (tmp_path / checkpoints.FOLDER / "4").rename(tmp_path / "elsewhere")
    assert read(tmp_path, BEST).step == 12
    assert "the best checkpoint, of step 4, is not there" in caplog.text


def test_training_goes_on_before_a_damaged_one_and_keeps_it_aside(tmp_path, caplog):
    write(tmp_path, {4: 0.9, 8: 0.1})
    damage(tmp_path, 8)
    with checkpoints.open_checkpoints(tmp_path, write=True) as saved:
        assert saved.restore(LAST, checkpoints.state_template(state(0))).step == 4
        saved.save(state(8), dict(best=None), 0.95)
    assert "checkpoints/8 is damaged" in caplog.text
    assert read(tmp_path, BEST).step == 8
    assert (tmp_path / checkpoints.FOLDER / "8.damaged").is_dir()


def test_where_none_can_be_read_nothing_is_deleted(tmp_path):
    write(tmp_path, {4: 0.9, 8: 0.1})
    damage(tmp_path, 4)
    damage(tmp_path, 8)
    with pytest.raises(SiamjaxError, match=r"\(steps 8, 4; .*put back a copy") as error:
        read(tmp_path, LAST)
    assert steps(tmp_path) == [4, 8] and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("like", "says"),
    [
        (state(0, width=5), r"params\.kernel is float32\[2, 3\] there and .*\[2, 5\]"),
        (
            state(0, bias=jnp.zeros(2)),
            r"params\.bias is nothing there and float32\[2\]",
        ),
        (State(jnp.zeros(()), state(0).params), r"step is int32\[\] there and float32"),
        (State(jnp.zeros((), jnp.int32), {}), "params.kernel is .* and nothing here"),
    ],
)
def test_one_that_does_not_fit_says_what_differs_and_who_wrote_it(tmp_path, like, says):
    write(tmp_path, {4: 0.9})
    with pytest.raises(SiamjaxError, match=says) as error:
        read(tmp_path, LAST, like)
    text = str(error.value)
    assert f"siamjax 9.9 wrote it, this is {siamjax.__version__}" in text
    assert "damaged" not in text and "remove" not in text and "\n" not in text


def test_a_full_disk_is_one_line_and_the_one_before_stays(tmp_path, monkeypatch):
    write(tmp_path, {4: 0.9})

    def full(*args, **options):
        raise ValueError("RESOURCE_EXHAUSTED: No space left\non device\n" * 50)

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "async_save", full)
    monkeypatch.setattr(ocp.StandardCheckpointHandler, "save", full)
    with pytest.raises(SiamjaxError, match="No space left on device") as error:
        write(tmp_path, {8: 0.5})
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    monkeypatch.undo()
    assert read(tmp_path, LAST).step == 4
    write(tmp_path, {8: 0.5})  # goes on, and what was half written is gone
    names = [p.name for p in (tmp_path / checkpoints.FOLDER).iterdir()]
    assert not [name for name in names if "tmp" in name]


def test_checkpoints_of_older_versions_are_read_and_not_written_beside(tmp_path):
    for which, step in ((LAST, 8), (BEST, 4)):
        folder = tmp_path / checkpoints.FOLDER / which
        with ocp.CheckpointManager(folder) as older:
            items = ocp.args.Composite(
                state=ocp.args.StandardSave(state(step)),
                meta=ocp.args.JsonSave(dict(version="0", best=dict(step=4, score=1.0))),
            )
            older.save(step, args=items)
    assert read(tmp_path, BEST).step == 4 and read(tmp_path, LAST).step == 8
    with pytest.raises(SiamjaxError, match="older version"):
        write(tmp_path, {12: 0.1})


@pytest.mark.parametrize("part", ["state", "meta"])
def test_a_flipped_bit_is_never_read_as_a_number(tmp_path, part):
    """orbax writes arrays without a checksum; a flip is seen or changes nothing."""
    with checkpoints.open_checkpoints(tmp_path, write=True) as saved:
        noise = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
        saved.save(state(4, noise=jnp.asarray(noise)), dict(scale=[0.125] * 9))
    folder, rng = tmp_path / checkpoints.FOLDER / "4" / part, np.random.default_rng(1)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    largest = max(paths, key=lambda path: path.stat().st_size)
    data, damaged = largest.read_bytes(), 0
    like = state(0, noise=jnp.zeros((40, 40)))
    for place in rng.integers(0, len(data), 8):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(0, 8))
        largest.write_bytes(flipped)
        try:
            got = read(tmp_path, LAST, like)
        except SiamjaxError as error:
            damaged += "no checkpoint" in str(error)
            continue
        np.testing.assert_array_equal(got.state.params["noise"], noise)
        assert got.meta == dict(scale=[0.125] * 9)
    assert damaged >= 6


def test_reads_beside_one_that_failed_end_before_their_loop_closes():
    ended = []

    async def read_one(name, wait_s):
        await asyncio.sleep(wait_s)
        ended.append(name)
        raise ValueError(name)

    async def read_all():
        await asyncio.gather(read_one("first", 0), read_one("late", 0.01))

    with checkpoints._closed_in_order():  # as orbax does it
        loop = asyncio.new_event_loop()
        with pytest.raises(ValueError, match="first"):
            loop.run_until_complete(read_all())
        loop.close()
    assert ended == ["first", "late"] and loop.is_closed()
