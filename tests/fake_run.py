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


def make_run(workdir):
    """A run of SIP with windows of 8 s; the mean feature replaces the encoder."""
    config = default.get_config()
    config.data.update(bin_s=0.5, bins=16, baseline_s=float(BASELINE_S))
    width = len(columns.SIP)
    trained = types.SimpleNamespace(
        workdir=workdir,
        step=3,
        deciding=deciding.Deciding(
            spaces.Space("", "whitened", 1.0),
            wccn.fit_whitening(np.zeros((2, 2 * width)), np.zeros(2, int)),
        ),
        config=config,
        columns=columns.SIP,
        ports={},
        scaler=features.make_scaler(columns.SIP, floor=0.3, clip=3.0),
        normal=Baseline(np.zeros((1, width)), np.zeros((1, width))),
    )

    def compared(counts, baseline, session=None):
        z = np.asarray(features.to_features(counts, baseline, trained.scaler))
        return z.mean(1)

    trained.compared = compared
    trained._replace = lambda **changed: types.SimpleNamespace(
        **{**vars(trained), **changed}
    )
    return trained


def examples_of(run):
    """One example, of normal traffic."""
    width = len(columns.SIP)
    none = np.zeros((1, run.config.data.bins, width), np.float32)
    return examples.Examples(
        (examples.Place("normal", "calm.pcap", 20.0),),
        none,
        Baseline(np.zeros((1, width)), np.zeros((1, width))),
    )
