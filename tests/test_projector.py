"""What the projector's files say, read back as TensorBoard reads them."""

import io
import json
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image, ImageColor
from tensorboard.plugins.projector import ProjectorConfig

from siamjax.reports import colours, projector
from siamjax.types import UsageError
from tests.browser import set_size

NAMES = ["normal", "normal", "blocked", "capacity_limit", "delay", "normal", "delay"]


def write(folder, points, **more):
    n = len(points)
    projector.write_projector(
        folder,
        points,
        conditions=NAMES[:n],
        captures=["a.pcap"] * n,
        times=4.0 * np.arange(n),
        **more,
    )
    config = text_format.Parse(
        (folder / "projector_config.pbtxt").read_text(), ProjectorConfig()
    )
    return config.embeddings[0]


def metadata(folder):
    lines = (folder / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]


def test_points_and_their_rows_come_back(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 5))
    right = [1.0, 0.0, np.nan, 0.5, 0.51, 1.0, 1.0]
    written = write(tmp_path / "match", points, roles=["test"] * 7, right=right)
    assert written.tensor_name == "match" and list(written.tensor_shape) == [7, 5]
    raw = np.fromfile(tmp_path / "match" / written.tensor_path, "<f4").reshape(7, 5)
    np.testing.assert_array_equal(raw, points.astype(np.float32))
    rows = metadata(tmp_path / "match")
    assert rows[0] == ["condition", "capture", "time_s", "role", "recognised"]
    assert [row[0] for row in rows[1:]] == NAMES
    assert rows[2] == ["normal", "a.pcap", "4", "test", "no"]
    assert [row[4] for row in rows[1:]] == [
        "yes",
        "no",
        "not judged",
        "no",
        "yes",
        "yes",
        "yes",
    ]
    assert not written.bookmarks_path
    assert list((tmp_path / "match").glob("events.out.tfevents.*"))


def test_the_name_says_which_dimensions_are_learnt(tmp_path):
    for learnt, name in ((3, "match: 3 learnt, 2 statistics"), (5, "match")):
        written = write(tmp_path / "match", np.eye(5), learnt=learnt)
        assert written.tensor_name == name


def test_each_point_has_the_colour_of_its_condition(tmp_path):
    written = write(tmp_path, np.eye(7), novel=["delay"])
    tile = written.sprite.single_image_dim[0]
    sheet = Image.open(tmp_path / written.sprite.image_path)
    assert sheet.width == sheet.height  # else TensorBoard takes wrong tiles
    across, colour_of = sheet.width // tile, colours.assign_colours(NAMES)
    for i, name in enumerate(NAMES):
        middle = (i % across * tile + tile // 2, i // across * tile + tile // 2)
        assert sheet.getpixel(middle) == (*ImageColor.getrgb(colour_of[name]), 255)
    assert sheet.getpixel((0, 0))[3] == 0  # outside the disc nothing is drawn


def test_tiles_shrink_and_end_where_tensorboard_does(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "SHEET", 96)
    assert projector.write_sprite(tmp_path / "s.png", ["normal"] * 9) == 32
    assert projector.write_sprite(tmp_path / "s.png", ["normal"] * 10) == 16
    assert projector.write_sprite(tmp_path / "s.png", ["normal"] * 37) == 0
    folder = tmp_path / "many"
    projector.write_projector(
        folder,
        np.ones((37, 2)),
        conditions=["a"] * 37,
        captures=["a"] * 37,
        times=np.ones(37),
    )
    assert "sprite" not in (folder / "projector_config.pbtxt").read_text()


def test_three_dimensions_have_their_true_axes(tmp_path):
    points = np.random.default_rng(0).uniform(size=(7, 3))
    written = write(tmp_path, points)
    (state,) = json.loads((tmp_path / written.bookmarks_path).read_text())
    got = [[p["pca-0"], p["pca-1"], p["pca-2"]] for p in state["projections"]]
    np.testing.assert_allclose(got, points, atol=1e-5)
    assert state["dataSetDimensions"] == [7, 3] and state["customXLeftText"] == ""


def test_hostile_names_stay_in_their_field(tmp_path):
    names = ["a\tb\nc", "", "<script>alert(1)</script>", "\u202e\x00x", "é " * 300]
    projector.write_projector(
        tmp_path, np.ones((5, 2)), conditions=names, captures=names, times=range(5)
    )
    rows = metadata(tmp_path)
    assert len(rows) == 6 and all(len(row) == 3 for row in rows)
    assert rows[1][0] == "a b c" and rows[2][0] == "-" and rows[3][0] == names[2]


def test_writing_again_replaces(tmp_path):
    write(tmp_path, np.ones((5, 2)))
    written = write(tmp_path, np.zeros((3, 2)))
    assert list(written.tensor_shape) == [3, 2] and len(metadata(tmp_path)) == 4
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1


def test_wrong_input_is_a_clear_line(tmp_path):
    with pytest.raises(UsageError, match="finite points"):
        write(tmp_path, np.full((2, 2), np.nan))
    with pytest.raises(UsageError, match="finite points"):
        write(tmp_path, np.ones((0, 2)))
    with pytest.raises(UsageError, match="1 values of role, 2 points"):
        write(tmp_path, np.ones((2, 2)), roles=["test"])


def near(picture, colour):
    """How many pixels have a colour."""
    gap = np.abs(np.asarray(picture, int) - ImageColor.getrgb(colour)).max(-1)
    return int((gap < 12).sum())


def test_a_browser_shows_the_points_in_their_colours(chromium, tmp_path):
    names = ["normal", "blocked", "capacity_limit"] * 20
    points = np.random.default_rng(0).uniform(size=(60, 3))
    projector.write_projector(
        tmp_path / "projector" / "view",
        points,
        conditions=names,
        captures=names,
        times=range(60),
        learnt=2,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    set_size(chromium, 1200, 900)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path)]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--host", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wanted = (colours.NORMAL, colours.BLOCKED, colours.CAPACITY_LIMIT)
        for _ in range(60):
            time.sleep(1)
            if "projector" not in chromium.current_url:
                visit(chromium, f"http://127.0.0.1:{port}/#projector")
            shot = Image.open(io.BytesIO(chromium.get_screenshot_as_png()))
            counts = [near(shot.convert("RGB"), colour) for colour in wanted]
            if min(counts) > 200:
                break
        assert min(counts) > 200
    finally:
        chromium.get("about:blank")
        server.terminate()
        server.wait()


def visit(browser, url):
    """Opens a page; one that does not answer yet is tried again by the caller."""
    from selenium.common.exceptions import WebDriverException

    try:
        browser.get(url)
    except WebDriverException:
        browser.get("about:blank")
