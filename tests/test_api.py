"""siamjax as a notebook uses it: light to import, typed, nothing printed."""

import logging
import pathlib
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import siamjax
from siamjax.assessment import page_data
from siamjax.config import from_dict
from siamjax.inference import runs
from siamjax.training import loop
from tests import small_data

CAPTURES = pathlib.Path(__file__).parent.parent / "data" / "testbed" / "captures"
BLOCKED = CAPTURES / "blocked_005.pcap.xz"

# Also defines flags that siamjax's commands have.
LIGHT = """
import sys
from absl import flags
flags.DEFINE_bool("debug", False, "")
flags.DEFINE_string("workdir", "", "")
before = set(flags.FLAGS)
import siamjax
assert not {"jax", "flax", "numpy", "ml_collections"} & set(sys.modules)
assert {"open_run", "evaluate_run"} <= set(dir(siamjax))
import siamjax.losses, siamjax.losses.check, siamjax.commands.train
siamjax.open_run, siamjax.evaluate_run, siamjax.Span
owners = map(flags.FLAGS.find_module_defining_flag, set(flags.FLAGS) - before)
assert not [owner for owner in owners if owner.startswith("siamjax")]
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    small_data.write(folder / "data")
    with small_data.one_device():
        loop.train(from_dict(small_data.config(folder / "data")), folder / "run")
        yield folder / "run"


def test_the_import_loads_nothing_heavy_and_defines_no_flag():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


def test_the_promise_is_there_and_no_more():
    for name in siamjax.__all__:
        assert getattr(siamjax, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = siamjax.nothing
    # Importing a module of the same name would replace the function.
    modules = {module.name for module in pkgutil.iter_modules(siamjax.__path__)}
    assert "evaluate" in modules and not modules & set(siamjax.__all__)


def test_a_run_evaluates_embeds_and_identifies(workdir, capsys, caplog):
    results = siamjax.evaluate_run(workdir)
    assert set(results["shots"]) == {"1", "5"}
    run = siamjax.open_run(workdir)
    assert run.conditions[0] == "normal" and run.known == 3
    assert str(workdir) in repr(run)

    points = run.embed(BLOCKED, hop_s=2.0)
    assert set(np.diff(points.start_s)) == {2.0}
    assert points.heads["view"].shape == (len(points.start_s), 3)
    last = siamjax.open_run(workdir, "last").embed(BLOCKED, hop_s=2.0)
    assert last.heads["match"].shape == points.heads["match"].shape

    spans = run.identify(BLOCKED, examples=[("mine", BLOCKED, 45)])
    assert "mine" in [span.condition for span in spans]
    assert "mine" not in [span.condition for span in run.identify(BLOCKED)]
    assert spans[0].start_s == 0 and spans[-1].end_s == pytest.approx(100, abs=1)
    with pytest.raises(siamjax.UsageError, match="the last begins at"):
        run.identify(BLOCKED, examples=[("mine", BLOCKED, 99)])
    odd = ("mine", BLOCKED), ("unknown", BLOCKED, 45), (3, BLOCKED, 45), "mine"
    for example in (*odd, ("mine", BLOCKED, float("nan")), ("", BLOCKED, 45)):
        with pytest.raises(siamjax.UsageError, match=r"^examples\[0\] "):
            run.identify(BLOCKED, examples=[example])
    with pytest.raises(siamjax.UsageError, match="checkpoint is 'bset'"):
        siamjax.open_run(workdir, "bset")
    arguments_that_do_not_fit(run)
    assert "".join(capsys.readouterr()) == ""


def arguments_that_do_not_fit(run):
    """Each is a line with the name of the argument and what it was given."""
    no_file, folder = "is 'none.pcap': there is no such file", str(CAPTURES)
    for method in (run.embed, run.identify):
        for capture, says in (
            ("none.pcap", f"^capture {no_file}"),
            (folder, "^capture is .* a folder: give a file"),
            ("", "^capture is '': give a path"),
            (None, "^capture is None: give a path"),
        ):
            with pytest.raises(siamjax.UsageError, match=says):
                method(capture)
        for baseline_s in (-1, 0.1, float("nan"), "3"):
            with pytest.raises(siamjax.UsageError, match=r"^baseline_s is"):
                method(BLOCKED, baseline_s=baseline_s)
    for hop_s in (0, -1, float("nan"), float("inf"), "1", None):
        with pytest.raises(siamjax.UsageError, match=r"^hop_s is"):
            run.embed(BLOCKED, hop_s=hop_s)
    with pytest.raises(siamjax.UsageError, match="no network 'site', it has none"):
        run.identify(BLOCKED, network="site")
    with pytest.raises(siamjax.UsageError, match="not both"):
        run.identify(BLOCKED, baseline_s=12, network="site")
    with pytest.raises(siamjax.UsageError, match=r"^library is '': give a path"):
        run.identify(BLOCKED, library="")
    with pytest.raises(siamjax.UsageError, match=rf"^the path of examples.*{no_file}"):
        run.identify(BLOCKED, examples=[("mine", "none.pcap", 45)])


def test_a_path_that_is_empty_is_not_the_current_folder():
    for function in (siamjax.open_run, siamjax.evaluate_run, siamjax.read_capture):
        with pytest.raises(siamjax.UsageError, match="is '': give a path"):
            function("")
    with pytest.raises(siamjax.UsageError, match=r"^data is ''"):
        siamjax.evaluate_run("run", "")


def test_a_run_finds_its_data_from_any_folder(tmp_path, monkeypatch):
    """Its data.dir is relative to the folder that the training began in."""
    (tmp_path / "made").mkdir()
    monkeypatch.chdir(tmp_path / "made")
    small_data.write(pathlib.Path("data"))
    config = small_data.config("data")
    config.trace_frames = 0
    with small_data.one_device():
        loop.train(from_dict(config), "runs/one")
    first = runs.open_run("runs/one")
    assert first.config.data.dir == "data"
    monkeypatch.chdir(tmp_path)
    opened = runs.open_run("made/runs/one")
    assert runs.read_data(opened).provenance.sha256 == first.trained.sha256
    facts = page_data.gather_data("made/runs/one")["facts"]
    assert facts["data"] == "data" and "data prepared by" in facts
    # Of the whole tree moved as well, and where other data has that name by chance.
    (tmp_path / "made").rename(tmp_path / "moved")
    small_data.write(tmp_path / "data", captures=2)
    opened = runs.open_run(tmp_path / "moved" / "runs" / "one")
    assert opened.config.data.dir == str(tmp_path / "moved" / "data")
    (tmp_path / "moved" / "data").rename(tmp_path / "moved" / "elsewhere")
    monkeypatch.chdir(tmp_path / "moved")
    with pytest.raises(siamjax.UsageError, match=r"not there: write .*--data DIR"):
        runs.read_data(runs.open_run("runs/one"))
    monkeypatch.chdir(tmp_path)
    # Whoever writes another place into config.json is believed.
    path = tmp_path / "moved" / "runs" / "one" / "config.json"
    path.write_text(path.read_text().replace('"dir": "data"', '"dir": "elsewhere"'))
    assert runs.open_run("moved/runs/one").config.data.dir == "elsewhere"


def test_a_capture_is_its_messages_and_a_report(monkeypatch, caplog):
    capture = siamjax.read_capture(BLOCKED)
    assert "sip:INVITE" in capture.kinds
    assert capture.report.messages == len(capture.events.time_ns) > 1000
    assert (np.diff(capture.events.time_ns) >= 0).all()
    monkeypatch.setattr(logging.getLogger("siamjax"), "propagate", True)
    other = siamjax.read_capture(BLOCKED, server="203.0.113.9")
    assert other.report.server == "absent"
    assert "no packet has the address 203.0.113.9 of server" in caplog.text
    for server in ("nobody", "", 5, b"\xc0\0\2\1"):
        with pytest.raises(siamjax.UsageError, match=r"^server is .*: give an IP"):
            siamjax.read_capture(BLOCKED, server=server)
    with pytest.raises(siamjax.UsageError, match=r"^path is .*there is no such file"):
        siamjax.read_capture("none.pcap")
