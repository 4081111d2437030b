"""Workers: take a slot, train its cells, store what they gave, until all is done."""

import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import numpy as np

from siamjax import files
from siamjax.comparison import protocol, studies, trainer
from siamjax.comparison.config import CompareConfig
from siamjax.comparison.protocol import REPEAT, TUNE, Study
from siamjax.comparison.studies import FrozenTrial
from siamjax.experiments import runner
from siamjax.types import SiamjaxError

_LOG = logging.getLogger(__name__)

# How long to wait for the slots of other workers before looking again.
WAIT_S = 2.0


class Place(NamedTuple):
    """Where the work is kept."""

    workdir: pathlib.Path
    store: Any  # of optuna


def work(
    config: CompareConfig, place: Place, *, say: Callable[[str], None] = _LOG.info
) -> None:
    """Does what there is to do, and returns when every slot of everybody is done."""
    loss_order = {loss: i for i, loss in enumerate(config.losses)}
    data_set_order = {name: i for i, name in enumerate(config.data_sets)}
    started_s, done_here, said = time.time(), 0, 0
    opened: dict[Study, studies.Opened] = {}
    while True:
        opened = open_studies(config, place.store, opened)
        if done_here > said:
            say(progress(config, opened, started_s, done_here))
            said = done_here
        ready = []
        for study, record in opened.items():
            studies.queue_stale(record)
            slot = studies.waiting(record)
            # What still waits in a study that is done got into the queue twice.
            if slot is not None and not complete(config, study, record):
                order = (
                    data_set_order[study.data_set],
                    study.stage == REPEAT,
                    slot,
                    loss_order[study.loss],
                )
                ready.append((order, study))
        if ready:
            _, study = min(ready)
            done_here += do(config, place, study, opened[study].study)
        elif all(complete(config, s, record) for s, record in opened.items()):
            return
        else:
            time.sleep(WAIT_S)


def open_studies(
    config: CompareConfig,
    store: studies.optuna.storages.RDBStorage,
    before: Mapping[Study, studies.Opened],
) -> dict[Study, studies.Opened]:
    """`studies.Opened` of all that can be worked on by now.

    A round of a search follows the one before, and repeats follow their search, unless
    every trial of it failed.

    Args:
      config: of the comparison.
      store: of optuna.
      before: what the last call gave; what is complete is not read again.
    """
    records = {}
    for study in protocol.studies(config, TUNE):
        record = _open_study(config, store, before, study)
        if not complete(config, study, record):
            results = studies.done(record)
            begun = studies.begun(results, config.trials, in_round(config))
            record = studies.queued(record, [None] * begun)
        records[study] = record
        if not complete(config, study, record):
            continue
        setting = best_setting(config, study, studies.done(record))
        if setting:
            repeat = study._replace(stage=REPEAT)
            settings = [setting] * slots_of(config, REPEAT)
            record = _open_study(config, store, before, repeat)
            records[repeat] = studies.queued(record, settings)
    return records


def _open_study(config, store, before, study):
    if study not in before:
        return studies.open_study(store, study, [])
    if complete(config, study, before[study]):
        return before[study]
    return studies.read(before[study].study)


def in_round(config: CompareConfig) -> int:
    """How many slots of a search do not learn from each other."""
    return max(config.random_trials, 1)


def complete(config: CompareConfig, study: Study, record: studies.Opened) -> bool:
    """Whether every slot of a study has a result."""
    return len(studies.done(record)) >= slots_of(config, study.stage)


def slots_of(config: CompareConfig, stage: str) -> int:
    """How many slots each study of a stage has."""
    if stage == TUNE:
        return config.trials
    return 1 if vmapped(config) else config.repeats


def best_setting(
    config: CompareConfig, study: Study, results: Mapping[int, FrozenTrial]
) -> dict[str, tuple[str, dict[str, Any]]] | None:
    """{head: (text of the loss, values)} that did best in validation, for each head.

    None where every trial failed.
    """
    setting = {}
    for head in config.train.active_heads:
        scores = {
            slot: np.mean([cell["best"][head]["score"] for cell in cells(trial)])
            for slot, trial in results.items()
            if trial.value is not None
        }
        if not scores:
            return None
        best = max(scores, key=lambda slot: (scores[slot], -slot))
        setting[head] = (study.loss, results[best].user_attrs[studies.VALUES])
    return setting


def cells(trial: FrozenTrial) -> list[dict[str, Any]]:
    """What a finished trial stored of its cells, see `about`."""
    return trial.user_attrs[studies.CELLS]


def do(
    config: CompareConfig, place: Place, study: Study, queue: studies.optuna.Study
) -> int:
    """Slots of a study, one, or under `vmap` all that need not learn from each other:
    their cells are trained, and stored with the trials. Returns how many slots."""
    many = vmapped(config)

    def run(taken):
        groups = [_members(config, study, slot, trial) for slot, trial in taken]
        members = [member for group in groups for member in group]
        outcomes = iter(trainer.train(config, study.data_set, members, vmapped=many))
        return [_stored(config, place, study, group, outcomes) for group in groups]

    return studies.take(queue, run, in_round(config) if many else 1)


def _members(config, study, slot, trial):
    """The cells of a slot, with the setting that it has or that is searched now."""
    setting = trial.user_attrs[studies.SETTING]
    if setting is None:
        values = studies.suggest(
            trial,
            study.loss,
            seed=protocol.seed(config, "sampler"),
            in_round=in_round(config),
        )
        setting = {head: (study.loss, values) for head in config.train.active_heads}
    together = vmapped(config) and study.stage == REPEAT
    slots = range(config.repeats) if together else [slot]
    return protocol.members(config, study.stage, slots, setting)


def _stored(config, place, study, members, outcomes):
    """(score, what is stored of it) of a slot; the weights of a repeat are saved."""
    trained = [(member, next(outcomes)) for member in members]
    if study.stage == REPEAT:
        for member, outcome in trained:
            weights = {head: best.weights for head, best in outcome.best.items()}
            save(weights_path(place.workdir, study, member), weights)
    decide_with = config.train.decide_with
    score = np.mean([outcome.best[decide_with].score for _, outcome in trained])
    return float(score), [about(member, outcome) for member, outcome in trained]


def about(member: protocol.Member, outcome: trainer.Outcome) -> dict[str, Any]:
    """A cell as JSON, without its weights."""
    best = {head: best._asdict() for head, best in outcome.best.items()}
    for fields in best.values():
        del fields["weights"]
    return dict(**member._asdict(), train_s=outcome.train_s, best=best)


def weights_path(
    workdir: str | pathlib.Path, study: Study, member: protocol.Member
) -> pathlib.Path:
    """Where the weights of a cell are."""
    name = runner.digest(f"{study.name} {member.fold} {member.seed}")
    return pathlib.Path(workdir) / "weights" / f"{name}.msgpack"


def save(path: pathlib.Path, weights: Any) -> None:
    """Writes the weights of a cell."""
    files.write_bytes(path, flax.serialization.to_bytes(weights))


def load(path: pathlib.Path, like: Any) -> Any:
    """The weights of a cell that `save` wrote.

    Args:
      path: see `weights_path`.
      like: weights of the same form.
    Raises:
      SiamjaxError: the file is damaged or not there.
    """
    if not path.exists():
        raise SiamjaxError(
            f"{path}, the weights of a cell, is not there: {protocol.REMEDY}"
        )
    with files.parsing(path, protocol.REMEDY):
        return flax.serialization.from_bytes(like, path.read_bytes())


def processes(config: CompareConfig) -> int:
    """How many workers: one a core, one alone on an accelerator."""
    if config.workers:
        return config.workers
    on_cpu = trainer.mesh(config.train.platform).devices[0].platform == "cpu"
    return len(os.sched_getaffinity(0)) if on_cpu else 1


def vmapped(config: CompareConfig) -> bool:
    """Whether the cells of a slot are one program: on an accelerator, unless the config
    says."""
    if config.vmapped == "auto":
        return trainer.mesh(config.train.platform).devices[0].platform != "cpu"
    return config.vmapped == "yes"


def progress(
    config: CompareConfig,
    opened: Mapping[Study, studies.Opened],
    started_s: float,
    done_here: int,
) -> str:
    """One line: what is done of all, and an estimate from the rate since the start."""
    each = slots_of(config, TUNE) + slots_of(config, REPEAT)
    total = each * len(config.losses) * len(config.data_sets)
    times_s = [
        trial.datetime_complete.timestamp()
        for record in opened.values()
        for trial in studies.done(record).values()
        if trial.datetime_complete
    ]
    lately = max(sum(time_s > started_s for time_s in times_s), 1)
    left_s = (total - len(times_s)) * (time.time() - started_s) / lately
    return (
        f"{len(times_s)} of {total} slots done ({done_here} here), "
        f"about {left_s / 60:.0f} min left"
    )
