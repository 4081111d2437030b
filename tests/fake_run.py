"""What identification needs of a run, without training: it takes milliseconds."""

import types

import numpy as np

from configs import default
from siamjax.data import columns, features
from siamjax.evaluation import spaces, wccn
from siamjax.identification import examples
from siamjax.inference import deciding
from siamjax.types import Baseline

BASELINE_S = 12


def make_run(workdir, of=columns.SIP, **data):
    """A run of SIP with windows of 8 s; the mean feature replaces the encoder.

    Args:
      workdir: of the run.
      of: its columns.
      **data: changed fields of config.data.
    """
    config = default.get_config()
    config.data.update(dict(bin_s=0.5, bins=16, baseline_s=float(BASELINE_S)) | data)
    width = len(of)
    trained = types.SimpleNamespace(
        workdir=workdir,
        step=3,
        deciding=deciding.Deciding(
            spaces.Space("", "whitened", 1.0),
            wccn.fit_whitening(np.zeros((2, 2 * width)), np.zeros(2, int)),
        ),
        config=config,
        columns=of,
        ports={},
        scaler=features.make_scaler(of, floor=0.3, clip=3.0),
        normal=Baseline(np.zeros((1, width)), np.zeros((1, width))),
    )

    trained.embed = lambda counts, baseline, session=None: {}
    trained.to_points = lambda heads, windows: windows.mean(1)

    def compared(counts, baseline, session=None):
        windows = np.asarray(features.to_features(counts, baseline, trained.scaler))
        return trained.to_points({}, windows)

    trained.compared = compared
    trained._replace = lambda **changed: types.SimpleNamespace(
        **{**vars(trained), **changed}
    )
    return trained


def examples_of(run):
    """One example, of normal traffic."""
    width = len(run.columns)
    none = np.zeros((1, run.config.data.bins, width), np.float32)
    return examples.Examples(
        (examples.Place("normal", "calm.pcap", 20.0),),
        none,
        Baseline(np.zeros((1, width)), np.zeros((1, width))),
    )
