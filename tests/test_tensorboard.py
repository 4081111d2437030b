"""What TensorBoard reads of the pictures, histograms, config and results."""

import io

import numpy as np
from PIL import Image, ImageColor
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from siamjax.reports import colours, tensorboard
from siamjax.reports.trace import Trace

CONFIG = {"seed": 3, "data": {"novel": ["a", "b"], "bin_s": 0.5}, "platform": ""}
RESULTS = dict(
    main="match",
    step=40,
    shots={
        "1": {
            "recall": {
                "match": {
                    "known": {"window": {"value": 0.75}},
                    "novel": {"window": {"value": None}},
                }
            }
        }
    },
)


def traced(steps=30):
    points = np.random.default_rng(0).uniform(size=(steps, 8, 3)).astype(np.float32)
    about = dict(
        head="view", dim=3, conditions=["normal", "delay"] * 4, novel=["delay"]
    )
    return Trace(about, np.arange(steps), points)


def test_all_of_it_is_there_once(tmp_path):
    Image.new("RGB", (30, 20), "#d62728").save(tmp_path / "confusion.png")
    for _ in range(2):
        tensorboard.write_summaries(
            tmp_path / tensorboard.RUN,
            config=CONFIG,
            traced=traced(),
            results=RESULTS,
            text="a  table",
            pictures=[tmp_path / "confusion.png"],
        )
    events = event_accumulator.EventAccumulator(
        str(tmp_path / tensorboard.RUN), {"images": 0, "tensors": 0}
    )
    events.Reload()
    tags = events.Tags()
    assert set(tags["images"]) == {"embedding", "confusion"}
    steps = [image.step for image in events.Images("embedding")]
    assert len(steps) == 10 and steps[0] == 0 and steps[-1] == 29
    assert len(events.Tensors("view/coordinates")) == 30
    image = Image.open(io.BytesIO(events.Images("confusion")[0].encoded_image_string))
    assert events.Images("confusion")[0].step == 40  # of the results, not of the start
    assert image.size == (30, 20) and image.getpixel((3, 3)) == (214, 39, 40)
    text = events.Tensors("results")[0].tensor_proto.string_val[0]
    assert text == b"    a  table"
    assert [(e.step, e.value) for e in events.Scalars("one_shot/known")] == [(40, 0.75)]
    assert "one_shot/novel" not in tags["scalars"]
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["seed"].number_value == 3
    assert start.hparams["data.bin_s"].number_value == 0.5
    assert start.hparams["data.novel"].string_value == '["a", "b"]'


def test_the_pictures_have_a_legend(tmp_path):
    tensorboard.write_summaries(tmp_path, config=CONFIG, traced=traced(steps=1))
    events = event_accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    png = events.Images("embedding")[0].encoded_image_string
    legend = np.asarray(Image.open(io.BytesIO(png)))[:, tensorboard.SIDE :]
    line = tensorboard.LINE
    for i, name in enumerate(["normal", "delay"], 1):
        colour = ImageColor.getrgb(colours.assign_colours(["normal", "delay"])[name])
        row = legend[i * line : (i + 1) * line].astype(int)
        assert (np.abs(row[:, :line] - colour).max(-1) < 12).sum() > 50
        assert (row[:, line:].max(-1) < 100).sum() > 20  # letters
    assert (legend[3 * line :] == 255).all()


def test_a_run_that_has_only_a_config(tmp_path):
    tensorboard.write_summaries(tmp_path / tensorboard.RUN, config=CONFIG)
    events = event_accumulator.EventAccumulator(str(tmp_path / tensorboard.RUN))
    events.Reload()
    assert events.Tags()["images"] == []
    assert events.Tags()["tensors"] == ["config"]
