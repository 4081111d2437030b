"""Workers: take a slot, train its cells, store what they gave, until all is done."""

import hashlib
import logging
import os
import pathlib
import time
from typing import Any, NamedTuple

import flax
import numpy as np

from siamjax.comparison import cell, protocol, studies
from siamjax.comparison.protocol import REPEAT, TUNE

_LOG = logging.getLogger(__name__)

# How long to wait for the slots of other workers before looking again.
WAIT_S = 2.0


class Place(NamedTuple):
    """Where the work is kept."""

    workdir: pathlib.Path
    store: Any  # of optuna


def work(config, place, *, say=_LOG.info):
    """Does what there is to do, and returns when every slot of everybody is done."""
    started, mine = time.time(), 0
    while True:
        open_studies = available(config, place.store)
        left = [(s, found, studies.waiting(found)) for s, found in open_studies]
        order = {loss: i for i, loss in enumerate(config.losses)}
        ready = [
            (list(config.data_sets).index(s.data_set), s.stage == REPEAT, slot,
             order[s.loss], s, found)
            for s, found, slot in left
            if slot is not None
        ]  # fmt: skip
        if not ready:
            if finished(config, open_studies):
                return
            for _, found, _ in left:
                studies.fail_stale(found)
            time.sleep(WAIT_S)
            continue
        *_, study, found = min(ready, key=lambda row: row[:4])
        do(config, place, study, found)
        mine += 1
        say(progress(config, open_studies, started, mine))


def available(config, store):
    """[(Study, optuna study)] that can be worked on: repeats follow their search."""
    out = []
    for study in protocol.studies(config, TUNE):
        found = studies.open_study(store, study, [None] * config.trials)
        out.append((study, found))
        results = studies.done(found)
        if len(results) < config.trials:
            continue
        setting = best_setting(config, study, results)
        if setting:
            repeat = study._replace(stage=REPEAT)
            slots = [setting] * (1 if vmapped(config) else config.repeats)
            out.append((repeat, studies.open_study(store, repeat, slots)))
    return out


def finished(config, open_studies):
    """Whether every slot has a result, and every search its repeats."""
    done = {study: len(studies.done(found)) for study, found in open_studies}
    many = {TUNE: config.trials, REPEAT: 1 if vmapped(config) else config.repeats}
    return all(done[study] >= many[study.stage] for study in done) and len(
        {s for s in done if s.stage == TUNE}
    ) == len(protocol.studies(config, TUNE))


def best_setting(config, study, results):
    """{head: (text of the loss, values)} that did best in validation, for each head.

    None where every trial failed.
    """
    out = {}
    for head in heads(config):
        scored = [
            (
                np.mean(
                    [c["best"][head]["score"] for c in trial.user_attrs[studies.CELLS]]
                ),
                slot,
            )
            for slot, trial in results.items()
            if trial.value is not None
        ]
        if not scored:
            return None
        _, slot = max(scored, key=lambda row: (row[0], -row[1]))
        out[head] = (study.loss, results[slot].params)
    return out


def cells(trial):
    """What a finished trial stored of its cells, see `about`."""
    return trial.user_attrs[studies.CELLS]


def heads(config):
    """Names of the heads that the config trains."""
    return [name for name, head in config.train.heads.items() if head]


def do(config, place, study, found):
    """One slot of a study: its cells are trained, and stored with the trial."""
    together = range(config.repeats) if vmapped(config) else None

    def run(slot, trial):
        setting = trial.user_attrs[studies.SETTING]
        if setting is None:
            values = studies.suggest(trial, study.loss)
            setting = {head: (study.loss, values) for head in heads(config)}
        slots = together if together and study.stage == REPEAT else [slot]
        members = protocol.members(config, study.stage, slots, setting)
        outcomes = cell.train(config, study.data_set, members, vmapped=vmapped(config))
        if study.stage == REPEAT:
            for member, outcome in zip(members, outcomes):
                weights = {head: best.weights for head, best in outcome.best.items()}
                save(weights_path(place.workdir, study, member), weights)
        score = np.mean([o.best[config.train.decide_with].score for o in outcomes])
        return float(score), [about(m, o) for m, o in zip(members, outcomes)]

    studies.take(
        found, run,
        seed=protocol.seed(config, "sampler"), random_trials=config.random_trials,
    )  # fmt: skip


def about(member, outcome):
    """A cell as JSON, without its weights."""
    best = {head: found._asdict() for head, found in outcome.best.items()}
    for found in best.values():
        del found["weights"]
    return dict(**member._asdict(), train_s=outcome.train_s, best=best)


def weights_path(workdir, study, member):
    """Where the weights of a cell are."""
    name = f"{study.name} {member.fold} {member.seed}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:20]
    return pathlib.Path(workdir) / "weights" / f"{digest}.msgpack"


def save(path, weights):
    """Writes weights as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_bytes(flax.serialization.to_bytes(weights))
    os.replace(beside, path)


def vmapped(config):
    """Whether the cells of a slot are one program: on an accelerator, unless the config
    says."""
    if config.vmapped == "auto":
        return cell.mesh(config.train.platform).devices[0].platform != "cpu"
    return config.vmapped == "yes"


def progress(config, open_studies, started, mine):
    """One line: what is done of all, and an estimate from the rate since the start."""
    each = config.trials + (1 if vmapped(config) else config.repeats)
    total = each * len(config.losses) * len(config.data_sets)
    finished_at = [
        trial.datetime_complete.timestamp()
        for _, found in open_studies
        for trial in studies.done(found).values()
    ]
    lately = max(sum(at > started for at in finished_at), 1)
    left = (total - len(finished_at)) * (time.time() - started) / lately
    return (
        f"{len(finished_at)} of {total} slots done ({mine} here), "
        f"about {left / 60:.0f} min left"
    )
