"""Damaged files of a run: one line that names the file and what to do, no traceback.

The files are made by what makes them in a run, then damaged in all ways that a disk, a
kill, an editor or a stranger has.
"""

import contextlib
import copy
import io
import itertools
import json
import logging
import types

import numpy as np
import pytest

from siamjax import files
from siamjax.assessment import page_data, tally
from siamjax.config import from_dict
from siamjax.evaluation import results
from siamjax.identification import enrol, examples, rules
from siamjax.inference import runs
from siamjax.reports import page, scalars, trace
from siamjax.training import provenance, run_config
from siamjax.types import Baseline, SiamjaxError, UsageError
from tests import small_data

STEPS, BINS, COLUMNS = 3, 16, 5
WRONG = [
    *(None, True, [], {}, "x", "\0", -1, 0, 1.5, 2**63, 10**400, float("nan")),
    *(1e308, [[]], [None], {"a": None}),
]
BYTES = [
    *(b"", b"\0", b"{", b"null", b"[]", b"{}", b"3", b"1e999", b'"text"', b"\xff\xfe"),
    *(b"[" * 100_000, b"x" * 200_000, b'{"a": "' + b"x" * 200_000 + b'"}'),
]
JSON = ["config.json", "results.json", "rule.json", "trace.json"]
FILES = [*JSON, "trace.bin", "scalars.csv", "examples.npz"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the files of a run, and what reads each of them."""
    folder, config = tmp_path_factory.mktemp("run"), small_data.config("data")
    provenance.claim_config(folder, from_dict(config))
    with scalars.open_writer(folder, 0) as write, traced(folder, 0) as add:
        for step in range(1, STEPS + 1):
            write.add(step, {"loss": 1 / step, "valid/known": float("nan")})
            add(step)
    run = types.SimpleNamespace(workdir=folder, config=config, columns=range(COLUMNS))
    counts = np.ones((2, BINS, COLUMNS), np.float32)
    places = tuple(examples.Place(name, "a", 4.0) for name in ("normal", "blocked"))
    normal = Baseline(counts[:, 0], counts[:, 0])
    examples.save_examples(
        folder / enrol.EXAMPLES, examples.Examples(places, counts, normal)
    )
    rule = rules.as_json(rules.Rule(1.0, 1.0, -0.5, 0.5))
    files.write_json(folder / enrol.RULE, rule)
    del rule["calibration"]  # results.json has it beside the numbers
    files.write_json(folder / results.FILE, judged(rule), allow_nan=False)
    return folder, run


@contextlib.contextmanager
def traced(folder, step):
    """Goes on with a trace after a step; gives what appends another one."""
    about = dict(
        head="view",
        dim=3,
        conditions=["normal", "delay"],
        captures=["a", "b"],
        times=[0.0, 4.0],
        roles=["train", "test"],
        novel=["delay"],
    )
    with trace.open_writer(folder, step, **about) as write:
        yield lambda step: write.append(step, np.full((2, 3), step / 9))


def judged(rule):
    """Results as an evaluation writes them."""
    rng = np.random.default_rng(0)
    conditions, captures = np.repeat([0, 1, 2], 8), np.repeat(np.arange(6), 4)
    points = {name: rng.normal(size=(24, 3)) for name in ("match head", "raw")}
    result = results.build_results(
        {"match head": lambda: points["match head"]},
        {"raw": lambda: points["raw"]},
        conditions,
        captures,
        names=["normal", "blocked", "delay"],
        groups=dict(known=["normal", "blocked"], novel=["delay"]),
        draws=3,
    )
    row = tally.Row("a", "blocked", tally.KNOWN, "blocked", 1.0, True)
    counts = tally.count_rows([row], 8.0)
    return result | dict(
        step=STEPS,
        version="1",
        losses={"match": {"margin": 0.4}},
        rule=rule,
        identification=counts,
        out_of_fold=dict(unknown=[0.5], identification=counts),
        data=dict(dir="data", sha256="0", new=[]),
    )


@pytest.fixture
def run(made, tmp_path):
    """A copy to damage: its folder, and what `enrol.read_enrolment` is given."""
    folder, opened = made
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path, types.SimpleNamespace(**{**vars(opened), "workdir": tmp_path})


def test_a_title_says_what_the_run_is():
    def config(**losses):
        heads = {head: dict(loss=loss) for head, loss in losses.items()}
        return dict(heads=dict(heads, off=None), data=dict(dir="runs/testbed"))

    same = config(match="triplet:mining=hard", view="triplet")
    assert page_data.make_title("first", same) == "first: triplet on testbed"
    other = config(match="triplet:mining=hard", view="nca")
    title = page_data.make_title("first", other)
    assert title == "first: match triplet, view nca on testbed"


def use(run, name):
    """Reads a file, and does with it what the commands do."""
    folder, opened = run
    if name == "config.json":
        data = dict(config=run_config.read_config(folder), curves={})
        assert page_data.make_subtitle(data) and page_data.list_facts(data, folder)
        assert page_data.make_title("x", data["config"]).startswith("x: ")
        provenance.claim_config(folder, from_dict(small_data.config("data")))
    elif name == "results.json":
        result = page_data.read_results(folder)
        if result["shots"]:
            results.format_results(result)
            page_data.make_subtitle(
                dict(results=result, config={"steps": 3}, curves={})
            )
            page.novel_conditions(dict(results=result))
    elif name == "scalars.csv":
        scalars.read_scalars(folder)
        scalars.drop_after(folder / name, 2)
    elif name in (trace.ABOUT, trace.FILE):
        if (seen := page_data.read_finite_trace(folder)) is not None:
            page.trace_data(seen)
        with traced(folder, 2):
            pass
    else:
        enrol.read_enrolment(opened)


def outcome(run, name):
    """The error of using a file, one line that ends in a remedy; "" without error."""
    try:
        use(run, name)
    except files.Damaged as error:
        line = str(error)
        assert str(run[0]) in line and name in line and "\n" not in line
        assert len(line) < 700 and (": move" in line or "siamjax evaluate" in line)
        return line
    except SiamjaxError as error:
        assert "belongs to another config" in str(error) or "another version" in str(
            error
        )
        return str(error)
    except OSError as error:
        assert "too long" in str(error)  # the folder of the data
        return str(error)
    return ""


def test_files_as_they_were_written_are_used(run):
    assert [outcome(run, name) for name in FILES] == [""] * len(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_other_bytes_is_one_line(run, name):
    path = run[0] / name
    good = path.read_bytes()
    cut = [good[: len(good) * share // 8] for share in (1, 3, 5, 7)]
    nothing = dict.fromkeys(["trace.bin", "scalars.csv"], b"")  # no step came yet
    for data in [*BYTES, *cut, good + b"\0", good[:9] + b"\xff\0" + good[11:]]:
        path.write_bytes(data)
        message = outcome(run, name)
        if data in BYTES and data != nothing.get(name):
            assert "is damaged" in message or name == "scalars.csv", data[:20]


@pytest.mark.parametrize("name", JSON)
def test_json_of_another_form_is_one_line_or_does_no_harm(run, name):
    path = run[0] / name
    good = json.loads(path.read_bytes())
    values, refused, tried = itertools.cycle([*WRONG, "gone"]), 0, 0
    for place in places(good):
        for value in itertools.islice(values, 6):
            path.write_text(json.dumps(changed(good, place, value)))
            refused += bool(outcome(run, name))
            tried += 1
    assert refused > tried / 3


def places(tree, above=()):
    """Paths to the values of a JSON tree, of a list the first and the last."""
    yield above
    keys = list(tree) if isinstance(tree, dict) else []
    if isinstance(tree, list) and tree:
        keys = sorted({0, len(tree) - 1})
    for key in keys:
        yield from places(tree[key], (*above, key))


def changed(tree, place, value):
    """A tree with another value at a place; "gone": without it."""
    if not place:
        return value
    tree = other = copy.deepcopy(tree)
    for key in place[:-1]:
        other = other[key]
    if value == "gone":
        del other[place[-1]]
    else:
        other[place[-1]] = value
    return tree


@pytest.mark.parametrize(
    "rows",
    [
        *("1,loss", "1,loss,2,3", "x,loss,2", "1,loss,x", "-1,loss,2", "1.5,loss,2"),
        *("5,loss,1\n4,loss,1", f"{10**30},loss,1", f"1,{'x' * 200_000},1", "1,a\0,x"),
        *('1,"loss,2\n3,loss,4', "", "\0", "1,lo\xff,2"),
    ],
)
def test_odd_rows_of_scalars_are_one_line(run, rows):
    text = f"step,name,value\n{rows}\n"
    (run[0] / "scalars.csv").write_bytes(text.encode("latin-1"))
    assert "scalars.csv is damaged" in outcome(run, "scalars.csv")


@pytest.mark.parametrize("change", ["swapped", "short", "other size"])
def test_records_of_a_trace_that_are_none_are_one_line(run, change):
    path = run[0] / "trace.bin"
    size = 8 + 2 * 3 * 4
    data = path.read_bytes()
    path.write_bytes(
        {
            "swapped": data[size : 2 * size] + data[:size],
            "short": data[: size - 1],
            "other size": data[:size] + data[size + 4 :],
        }[change]
    )
    assert "trace.bin is damaged" in outcome(run, "trace.bin")


def test_a_run_that_begins_anew_does_not_read_what_it_drops(run):
    folder = run[0]
    for name in ("trace.json", "trace.bin", "scalars.csv"):
        (folder / name).write_bytes(b"{")
    with traced(folder, 0) as add:
        add(0)
    scalars.drop_after(folder / "scalars.csv", 0)
    assert (
        trace.read_trace(folder).steps.tolist() == [0]
        and scalars.read_scalars(folder) == {}
    )


def test_a_trace_without_its_text_begins_anew_and_says_so(run, caplog):
    caplog.set_level(logging.WARNING)
    (run[0] / "trace.json").unlink()
    with traced(run[0], 2) as add:
        add(3)
    assert (
        trace.read_trace(run[0]).steps.tolist() == [3] and "starts again" in caplog.text
    )


def test_no_moment_has_records_of_another_text(run, monkeypatch):
    """A kill while other windows are begun leaves no records that say they are."""
    folder = run[0]

    def killed(path, value):
        raise KeyboardInterrupt

    about = json.loads((folder / "trace.json").read_bytes()) | {"roles": ["test"] * 2}
    (folder / "trace.json").write_text(json.dumps(about))
    monkeypatch.setattr(files, "write_json", killed)
    with pytest.raises(KeyboardInterrupt), traced(folder, 2):
        pass
    assert trace.read_trace(folder) is None


@pytest.mark.parametrize(
    ("array", "value"),
    [
        ("counts", np.ones((2, BINS), np.float32)),
        ("counts", np.ones((2, BINS, COLUMNS, 1), np.float32)),
        ("counts", np.ones((0, BINS, COLUMNS), np.float32)),
        ("counts", np.ones((2, BINS, COLUMNS + 1), np.float32)),
        ("counts", np.full((2, BINS, COLUMNS), "x")),
        ("mean", np.ones((2, COLUMNS - 1), np.float32)),
        ("deviation", np.ones(COLUMNS, np.float32)),
        ("start_s", np.array([0.0, np.nan])),
        ("start_s", np.array(["0", "1"])),
        ("condition", np.array([1.0, 2.0])),
        ("condition", np.array(["normal"])),
        ("capture", None),
    ],
)
def test_examples_of_another_form_are_one_line(run, array, value):
    path = run[0] / "examples.npz"
    with np.load(io.BytesIO(path.read_bytes())) as saved:
        arrays = dict(saved)
    arrays[array] = value
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    assert "examples.npz" in outcome(run, "examples.npz")


def test_a_config_that_is_not_of_the_checkpoint_is_named(run):
    folder = run[0]
    saved = run_config.read_config(folder)
    moved = changed(changed(saved, ("data", "dir"), "other"), ("platform",), "cpu")
    config = run_config.parse_config(folder, moved, saved)
    assert config.data.dir == "other" and config.encoder.hidden == (8,)
    for place, value in ((("data", "bins"), 17), (("encoder",), None), (("odd",), 1)):
        with pytest.raises(files.Damaged, match=f"config.{place[0]}.*siamjax train"):
            run_config.parse_config(folder, changed(saved, place, value), saved)


def test_a_lost_config_is_written_anew_but_not_another_one(run, monkeypatch):
    folder, config = run[0], small_data.config("data")
    saved = run_config.read_config(folder)
    monkeypatch.setattr(provenance, "_read_meta", lambda workdir: {"config": saved})
    (folder / "config.json").unlink()
    other = small_data.config("data", steps=99)
    with pytest.raises(UsageError, match=r"config\.steps was 8 and is 99"):
        provenance.claim_config(folder, from_dict(other))
    assert not (folder / "config.json").exists()
    provenance.claim_config(folder, from_dict(config))
    assert run_config.read_config(folder) == saved


def test_no_run_is_a_clear_line(tmp_path):
    with pytest.raises(SiamjaxError, match=r"holds no run.*siamjax train --workdir"):
        run_config.read_config(tmp_path)


@pytest.mark.parametrize(
    "change", [dict(columns=None), dict(columns=[dict(name="x", role="", new=1)])]
)
def test_a_checkpoint_of_a_version_that_is_not_read_is_named(change):
    meta = dict(version="9.9", conditions=["normal"], known=1, scaler={}, **change)
    with pytest.raises(
        SiamjaxError, match=r"of W is of siamjax 9\.9, this is"
    ) as error:
        runs._columns("W", meta)
    assert "\n" not in str(error.value)
