"""Workers: each takes slots, trains their cells and stores the results."""

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
# How often all studies are read. Between, a worker reads only those that it works on.
REFRESH_S = 10.0


class Place(NamedTuple):
    """Where the work is kept."""

    workdir: pathlib.Path
    store: Any  # of optuna
    prefix: str = ""  # of the names of studies in the store


def open_place(workdir: pathlib.Path, url: str) -> Place:
    """`Place` of a workdir and the URL of its database."""
    store = studies.open_storage(url)
    return Place(workdir, store, protocol.study_prefix(workdir))


def work_until_done(
    config: CompareConfig,
    place: Place,
    *,
    say: Callable[[str], None] = _LOG.info,
    silent_s: float = studies.SILENT_S,
) -> None:
    """Trains slots until all are done, also those that other workers have taken.

    Args:
      config: of the comparison.
      place: where the work is kept.
      say: gets lines of progress.
      silent_s: see `studies.queue_stale`.
    """
    started_s, done_here = time.time(), 0
    opened: dict[Study, studies.Opened] = {}
    watched: studies.Watched = {}
    while True:
        opened = open_studies(config, place, opened)
        for record in opened.values():
            studies.queue_stale(record, watched, silent_s)
        done = _work_on_ready(config, place, opened)
        if done:
            done_here += done
            say(describe_progress(config, opened, started_s, done_here))
        elif all(is_complete(config, s, record) for s, record in opened.items()):
            return
        else:
            time.sleep(min(WAIT_S, silent_s))


def _work_on_ready(config, place, opened):
    """Trains waiting slots until none is left, or for REFRESH_S; returns how many.

    The study of each is read again, in `opened`.
    """
    begun_s, done = time.monotonic(), 0
    while ready := _ready_studies(config, opened):
        study = ready[0]
        done += work_on_study(config, place, study, opened[study].study)
        opened[study] = studies.read_study(opened[study].study)
        if time.monotonic() - begun_s > REFRESH_S:
            break
    return done


def _ready_studies(config, opened):
    """The studies with a waiting slot, the next one to work on first."""
    loss_order = {loss: i for i, loss in enumerate(config.losses)}
    data_set_order = {name: i for i, name in enumerate(config.data_sets)}
    ready = []
    for study, record in opened.items():
        slot = studies.next_slot(record)
        # A slot that waits in a complete study was queued twice.
        if slot is not None and not is_complete(config, study, record):
            order = (
                data_set_order[study.data_set],
                study.stage == REPEAT,
                slot,
                loss_order[study.loss],
            )
            ready.append((order, study))
    return [study for _, study in sorted(ready)]


def open_studies(
    config: CompareConfig, place: Place, before: Mapping[Study, studies.Opened]
) -> dict[Study, studies.Opened]:
    """`studies.Opened` of each study that can be worked on so far.

    A round of a search begins when the round before is done. Repeats begin when their
    search is done, unless every trial of it failed.

    Args:
      config: of the comparison.
      place: where the work is kept.
      before: what the last call returned; complete studies are not read again.
    """
    records = {}
    for study in protocol.list_studies(config, TUNE):
        record = _open_study(config, place, before, study)
        if not is_complete(config, study, record):
            results = studies.finished_trials(record)
            open_slots = studies.count_open_slots(
                results, config.trials, slots_in_round(config)
            )
            record = studies.queue_settings(record, [None] * open_slots)
        records[study] = record
        if not is_complete(config, study, record):
            continue
        setting = best_setting(config, study, studies.finished_trials(record))
        if setting:
            repeat = study._replace(stage=REPEAT)
            settings = [setting] * count_slots(config, REPEAT)
            record = _open_study(config, place, before, repeat)
            records[repeat] = studies.queue_settings(record, settings)
    return records


def _open_study(config, place, before, study):
    if study not in before:
        return studies.open_study(place.store, study, [], place.prefix)
    if is_complete(config, study, before[study]):
        return before[study]
    return studies.read_study(before[study].study)


def slots_in_round(config: CompareConfig) -> int:
    """How many slots of a search make a round: they do not use each other's results."""
    return max(config.random_trials, 1)


def is_complete(config: CompareConfig, study: Study, record: studies.Opened) -> bool:
    """Whether every slot of a study has a result."""
    return len(studies.finished_trials(record)) >= count_slots(config, study.stage)


def count_slots(config: CompareConfig, stage: str) -> int:
    """How many slots each study of a stage has."""
    if stage == TUNE:
        return config.trials
    return 1 if is_vmapped(config) else config.repeats


def best_setting(
    config: CompareConfig, study: Study, results: Mapping[int, FrozenTrial]
) -> dict[str, tuple[str, dict[str, Any]]] | None:
    """{head: (text of the loss, values)} with the best validation of each head.

    None if every trial failed.
    """
    setting = {}
    for head in config.train.active_heads:
        scores = {
            slot: np.mean([cell["best"][head]["score"] for cell in stored_cells(trial)])
            for slot, trial in results.items()
            if trial.value is not None
        }
        if not scores:
            return None
        best = max(scores, key=lambda slot: (scores[slot], -slot))
        setting[head] = (study.loss, results[best].user_attrs[studies.VALUES])
    return setting


def stored_cells(trial: FrozenTrial) -> list[dict[str, Any]]:
    """What a finished trial stored about its cells, see `describe_cell`."""
    return trial.user_attrs[studies.CELLS]


def work_on_study(
    config: CompareConfig, place: Place, study: Study, queue: studies.optuna.Study
) -> int:
    """Trains slots of a study and stores their results; returns how many slots.

    It takes one slot, or under `vmap` all slots of a round.
    """
    vmapped = is_vmapped(config)

    def run(taken):
        groups = [_members(config, study, slot, trial) for slot, trial in taken]
        members = [member for group in groups for member in group]
        outcomes = iter(
            trainer.train_cells(config, study.data_set, members, vmapped=vmapped)
        )
        return [_stored(config, place, study, group, outcomes) for group in groups]

    return studies.run_queued_slots(
        queue, run, slots_in_round(config) if vmapped else 1
    )


def _members(config, study, slot, trial):
    """The cells of a slot, with its stored setting or one that the search suggests."""
    setting = trial.user_attrs[studies.SETTING]
    if setting is None:
        values = studies.suggest_values(
            trial,
            study.loss,
            seed=protocol.derive_seed(config, "sampler"),
            in_round=slots_in_round(config),
        )
        setting = {head: (study.loss, values) for head in config.train.active_heads}
    together = is_vmapped(config) and study.stage == REPEAT
    slots = range(config.repeats) if together else [slot]
    return protocol.list_members(config, study.stage, slots, setting)


def _stored(config, place, study, members, outcomes):
    """(score, cells as JSON) of a slot; the weights of a repeat are saved."""
    trained = [(member, next(outcomes)) for member in members]
    if study.stage == REPEAT:
        for member, outcome in trained:
            weights = {head: best.weights for head, best in outcome.best.items()}
            save_weights(weights_path(place.workdir, study, member), weights)
    decide_with = config.train.deciding_head
    score = np.mean([outcome.best[decide_with].score for _, outcome in trained])
    return float(score), [describe_cell(member, outcome) for member, outcome in trained]


def describe_cell(member: protocol.Member, outcome: trainer.Outcome) -> dict[str, Any]:
    """A trained cell as JSON, without its weights."""
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


def save_weights(path: pathlib.Path, weights: Any) -> None:
    """Writes the weights of a cell."""
    files.write_bytes(path, flax.serialization.to_bytes(weights))


def load_weights(path: pathlib.Path, like: Any) -> Any:
    """The weights of a cell that `save_weights` wrote.

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


def count_workers(config: CompareConfig) -> int:
    """How many workers: one for each core, a single one on an accelerator."""
    if config.workers:
        return config.workers
    return len(os.sched_getaffinity(0)) if _on_cpu(config) else 1


def is_vmapped(config: CompareConfig) -> bool:
    """Whether the cells of a slot are trained in one program, under `vmap`.

    By default they are on an accelerator and not on a CPU.
    """
    if config.vmapped == "auto":
        return not _on_cpu(config)
    return config.vmapped == "yes"


def _on_cpu(config):
    mesh = trainer.single_device_mesh(config.train.platform)
    return mesh.devices[0].platform == "cpu"


def describe_progress(
    config: CompareConfig,
    opened: Mapping[Study, studies.Opened],
    started_s: float,
    done_here: int,
) -> str:
    """One line: how many slots are done, and the time left at the rate so far."""
    slots_per_loss = count_slots(config, TUNE) + count_slots(config, REPEAT)
    total = slots_per_loss * len(config.losses) * len(config.data_sets)
    times_s = [
        trial.datetime_complete.timestamp()
        for record in opened.values()
        for trial in studies.finished_trials(record).values()
        if trial.datetime_complete
    ]
    done_since_start = max(sum(time_s > started_s for time_s in times_s), 1)
    left_s = (total - len(times_s)) * (time.time() - started_s) / done_since_start
    return (
        f"{len(times_s)} of {total} slots done ({done_here} here), "
        f"about {left_s / 60:.0f} min left"
    )
