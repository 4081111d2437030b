"""A small prepared data set of made-up events; a config that trains in seconds."""

import contextlib

import jax
import numpy as np
import pytest

from configs import default
from siamjax.data import prepared
from siamjax.types import NORMAL, DataSet, Events, Label, Session

KINDS = tuple(
    f"sip:{kind}"
    for kind in (
        *("INVITE", "INVITE/200", "REGISTER", "REGISTER/401"),
        *("INVITE/503", "INVITE/486"),
    )
)
# Rates per second of the kinds, when all is well and what a fault changes.
NORMAL_RATES = (10.0, 10.0, 4.0, 4.0, 0.0, 0.0)
FAULTS = {
    "blocked": (20.0, 0.0, 8.0, 0.0, 0.0, 0.0),
    "overload": (10.0, 3.0, 4.0, 4.0, 7.0, 0.0),
    "slow": (10.0, 5.0, 1.0, 1.0, 0.0, 0.0),
    "busy": (10.0, 4.0, 4.0, 4.0, 0.0, 6.0),
}
ONSET_S, SPAN_S = 30.0, 70.0


def session(name, condition, seed):
    """70 s of Poisson events; the fault begins at 30 s and lasts."""
    rng = np.random.default_rng(seed)
    times, kinds = [], []
    for kind, (normal_rate, fault_rate) in enumerate(
        zip(NORMAL_RATES, FAULTS.get(condition, NORMAL_RATES))
    ):
        for rate, begin_s, end_s in (
            (normal_rate, 0, ONSET_S),
            (fault_rate, ONSET_S, SPAN_S),
        ):
            count = rng.poisson(rate * (end_s - begin_s))
            times.append(rng.uniform(begin_s, end_s, count))
            kinds.append(np.full(count, kind, np.int32))
    times, kinds = np.concatenate(times), np.concatenate(kinds)
    order = np.argsort(times)
    n = len(times)
    events = Events(
        (times[order] * 1e9).astype(np.int64),
        np.zeros(n, np.int8),
        kinds[order],
        np.zeros(n, bool),
        np.full(n, -1, np.int64),
    )
    labels = () if condition == NORMAL else (Label(condition, ONSET_S, np.inf),)
    return Session(name, SPAN_S, labels, events, None)


@contextlib.contextmanager
def one_device():
    """Lets training see one of the eight devices.

    Trainings by `config` with the same steps and heads share one compiled program in
    all files and both workers.
    """
    all_devices = jax.devices
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda *kind: all_devices(*kind)[:1])
        yield


def write(folder, captures=4):
    """Writes the data set into a folder."""
    sessions = [
        session(f"{condition}_{i}", condition, 100 * c + i)
        for c, condition in enumerate((NORMAL, *FAULTS))
        for i in range(captures)
    ]
    prepared.write_data_set(folder, DataSet(tuple(sessions), KINDS, {}), {})


def config(folder, steps=8):
    """The default config, small: known normal, blocked, overload; B = (2 + 2) * 4."""
    config = default.get_config()
    config.steps = steps
    config.data.update(dir=str(folder), bins=16, bin_s=0.5, hop_s=4.0, baseline_s=12.0)
    config.data.update(novel=("busy",), novel_valid=("slow",))
    config.batch.update(conditions=2, made_up=2, per_condition=4)
    config.encoder.hidden = (8,)
    config.heads.match.dim = 4
    # It decays, but training past `steps` still learns.
    config.optimizer.warmup, config.optimizer.final = 2, 0.5
    config.log_every, config.evaluate_every, config.draws = 2, 4, 5
    return config


def overrides(folder, steps=8):
    """The same config as flags of `siamjax train`."""
    small, flags = config(folder, steps), []
    for name in (
        "steps",
        "data.dir",
        "data.bins",
        "data.baseline_s",
        "data.novel",
        "data.novel_valid",
        "batch.conditions",
        "batch.made_up",
        "batch.per_condition",
        "encoder.hidden",
        "heads.match.dim",
        "optimizer.warmup",
        "optimizer.final",
        "log_every",
        "evaluate_every",
        "draws",
    ):
        value = small
        for part in name.split("."):
            value = value[part]
        flags.append(f"--config.{name}={value}")
    return flags
