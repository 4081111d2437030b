"""Draws what each kind of made-up condition does to a normal window of the test bed.

python -m scripts.tools.made_up_picture runs/testbed docs/made_up.png
"""

import argparse

import jax
import matplotlib
import numpy as np

from configs import default
from siamjax.config import from_dict
from siamjax.data import features, made_up, sampler, splits
from siamjax.types import NORMAL, TRAIN, Baseline

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Beside the kinds, how they come and go: name -> fields of MadeUp.
ENVELOPES = {
    "on and off": dict(kinds=("silenced",), on_off=1.0),
    "ramp": dict(kinds=("added",), ramp=1.0),
    "mixed": dict(kinds=("multiplied",), mixed=1.0),
}
SHARE = (0.3, 0.3)  # more columns than in training, to be seen
WIDTH_PX, DPI = 1100, 100


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the prepared test bed")
    parser.add_argument("path", help="the picture")
    options = parser.parse_args()
    draw(options.folder, options.path)


def draw(folder, path):
    """Draws one window as recorded, and with each kind of change."""
    config = default.get_config()
    config.data.dir = folder
    config = from_dict(config)
    opened = splits.open_splits(config.data)
    windows = opened.windows_of(TRAIN, [NORMAL])
    rows = np.array([len(windows.start) // 2])
    session = windows.session[rows]
    counts = sampler.gather_windows(opened.counts, windows, rows, config.data.bins)
    baseline = Baseline(*(np.asarray(x)[session] for x in opened.baseline))
    how = made_up.build_changes(config.made_up, opened.columns)
    how = how._replace(on_off=0.0, ramp=0.0, mixed=0.0, share=SHARE)
    pictures = {"as recorded": counts}
    changes = {kind: dict(kinds=(kind,)) for kind in made_up.KINDS} | ENVELOPES
    for i, (name, fields) in enumerate(changes.items()):
        pictures[name] = made_up.change_windows(
            jax.random.key(i + 1),
            counts,
            np.zeros(1, int),
            np.asarray(baseline.deviation) + config.data.floor,
            how._replace(**fields),
        )
    x = {
        name: np.asarray(features.to_features(c, baseline, opened.scaler))[0].T
        for name, c in pictures.items()
    }  # each [F, T]
    seen = np.any([np.abs(image).max(1) > 0.5 for image in x.values()], 0)
    _draw({name: image[seen] for name, image in x.items()}, config, path)


def _draw(images, config, path):
    size = dict(figsize=(WIDTH_PX / DPI, 6.2), dpi=DPI, layout="constrained")
    figure, axes = plt.subplots(2, 6, sharex=True, sharey=True, **size)
    limit, span_s = config.encoder.clip, config.data.bins * config.data.bin_s
    shades = dict(cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    for ax, (name, image) in zip(axes.flat, images.items()):
        extent = (0, span_s, len(image), 0)
        drawn = ax.imshow(image, aspect="auto", extent=extent, **shades)
        ax.set_title(name, fontsize=10)
        ax.set_yticks([])
    for ax in axes[-1]:
        ax.set_xlabel("s")
    for ax in axes[:, 0]:
        ax.set_ylabel("columns")
    figure.colorbar(drawn, ax=axes, label="deviations from the session's normal bins")
    figure.savefig(path)


if __name__ == "__main__":
    main()
