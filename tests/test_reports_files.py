"""Reports are written whole or not at all, and hold any name."""

import base64
import errno

import numpy as np
import pytest
from PIL import Image

from siamjax import files
from siamjax.identification import examples
from siamjax.identification.timeline import Span
from siamjax.reports import drawing, film, page, plots, projector
from siamjax.reports.trace import Trace
from siamjax.types import Baseline, Label, SiamjaxError

pytest.importorskip("matplotlib")

POINTS = np.random.default_rng(0).uniform(size=(6, 3)).astype(np.float32)
NAMES = ["normal", "blocked", "delay"] * 2


def some_film(folder):
    about = dict(head="view", dim=3, conditions=NAMES, novel=["delay"])
    film.write_film(folder, Trace(about, np.array([0]), POINTS[None]), {}, count=1)


def some_projector(folder):
    projector.write_projector(
        folder, POINTS, conditions=NAMES, captures=NAMES, times=np.arange(6.0)
    )


def some_examples(folder):
    place = examples.Place("normal", "calm", 4.0)
    saved = examples.Examples(
        (place,), np.zeros((1, 4, 2)), Baseline(np.zeros((1, 2)), np.zeros((1, 2)))
    )
    examples.save_examples(folder / "examples.npz", saved)
    examples.write_places(folder / "examples.csv", saved)


WRITERS = {
    "cube.png": lambda folder: plots.draw_cube(folder / "cube.png", POINTS, NAMES),
    "cube.svg": lambda folder: plots.draw_cube(folder / "cube.svg", POINTS, NAMES),
    "report.html": lambda folder: page.write_page(
        folder / "report.html", dict(title="x")
    ),
    "tensors.bytes": some_projector,
    "film.mp4": some_film,
    "examples.npz": some_examples,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_file(name, tmp_path, monkeypatch):
    if name == "film.mp4":
        pytest.importorskip("imageio_ffmpeg")
    (tmp_path / name).write_bytes(b"old")

    def full(path):
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(files, "_sync", full)
        WRITERS[name](tmp_path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(name, b"old")]
    WRITERS[name](tmp_path)
    first = (tmp_path / name).read_bytes()
    assert first != b"old"
    WRITERS[name](tmp_path)
    assert (tmp_path / name).read_bytes() == first  # the same bytes each time
    assert not list(tmp_path.glob(".new.*"))


def test_the_projector_never_mixes_old_files_with_new(tmp_path, monkeypatch):
    some_projector(tmp_path)
    write = files.write_text

    def full(path, text):
        if path.name == "metadata.tsv":
            raise OSError(errno.ENOSPC, "no space left on device")
        write(path, text)

    monkeypatch.setattr(files, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        some_projector(tmp_path)
    assert not (tmp_path / projector.CONFIG).exists()  # TensorBoard shows nothing


def test_a_film_that_cannot_be_encoded_says_what_ffmpeg_says(tmp_path, monkeypatch):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(broken))
    with pytest.raises(SiamjaxError, match="ffmpeg failed to write the film: no room"):
        some_film(tmp_path)
    assert not list(tmp_path.glob("*film*"))


@pytest.mark.parametrize("letter", ["x", "\n\udcff "])
def test_pictures_hold_names_of_any_length(letter, tmp_path):
    name = (letter * 3000)[:3000]
    names, path = ["normal", name], tmp_path / "x.png"
    z = base64.b64encode(bytes(4)).decode()
    window = dict(traffic=dict(largest=1.0, shape=[2, 2], data=z))
    row = page.timeline(
        name,
        [Span(0.0, 9.0, name, 0.1, 0.2, name)],
        [Label(name, 3.0, 9.0)],
        end_s=9.0,
        warning=name[:600],
    )
    units = {"window": dict(value=0.5, low=0.4, high=0.6)}
    part = dict(recall={name: {"known": units}}, chance=0.5)
    result = dict(methods={name: False}, main=name, shots={"1": part})
    for draw in (
        lambda: plots.draw_cube(path, POINTS[:2], names, novel=[name]),
        lambda: plots.draw_confusion(path, np.eye(2), names, novel=[name]),
        lambda: plots.draw_timelines(path, [row], [name]),
        lambda: plots.draw_traffic(
            path, [("x", window, [0, 1])], names, clip=3, bin_s=1.0
        ),
        lambda: plots.draw_recall(path, result),
    ):
        draw()
        assert max(Image.open(path).size) < 2500
    page.write_page(tmp_path / "x.html", dict(title=name, timelines=[row]))


def test_any_number_of_captures_makes_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "PIXELS", 1000)
    row = page.timeline("x", [Span(0.0, 9.0, "normal", 0.1, 0.2, "")], None, end_s=9)
    plots.draw_timelines(tmp_path / "x.png", [row] * 40)
    with Image.open(tmp_path / "x.png") as picture:
        assert 500 < max(picture.size) < 1200


def test_the_network_and_a_warning_stand_beside_a_timeline(tmp_path):
    def drawn(warning, network=""):
        spans = [Span(0.0, 9.0, "normal", 0.1, 0.2, "")]
        row = page.timeline(
            "calm", spans, None, end_s=9.0, network=network, warning=warning
        )
        plots.draw_timelines(tmp_path / "x.svg", [row])
        return (tmp_path / "x.svg").read_text()

    assert drawn("") != drawn("1 truncated") == drawn("1 truncated")
    plain, noted = drawn(""), drawn("14 pppoe (frames of PPPoE, not read)")
    assert "14 pppoe" in noted and "14 pppoe" not in plain
    both = drawn("14 pppoe", network="core_1")
    assert "network: core_1" in both and "14 pppoe" in both
    assert "network" not in noted
