"""The work of a comparison as optuna studies in one database.

A study is one loss on one data set in one stage; each loss has the same number of
slots. Workers, on one machine or on several, take slots out of the queue; the database
gives a slot to one worker only. If a slot was queued twice, its first trial counts. If
the worker of a slot was killed or interrupted, the slot is queued again with the same
setting. optuna's own heartbeats are for `Study.optimize`, and they miss a worker that
died before its first one; here, other workers watch whether the heartbeat changes.

A search goes in rounds: a slot is queued when all slots of earlier rounds are done, and
its setting depends on their results alone. So the settings do not depend on the number
of workers or on their speed.
"""

import contextlib
import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from siamjax.comparison.protocol import Study
from siamjax.losses import search
from siamjax.types import SiamjaxError, UsageError

try:
    import optuna
    import sqlalchemy
except ImportError as error:
    raise SiamjaxError(
        "the search for settings needs optuna: pip install optuna"
    ) from error

from optuna.trial import FrozenTrial, TrialState

# User attributes of a trial.
SLOT = "slot"
SETTING = "setting"  # what a repeat is to train
VALUES = "values"  # what the search chose for a trial
WORKER = "worker"  # who works on it, see `describe_worker`
LOST = "lost"  # the worker that had the slot before and did not finish it
BEAT = "beat"  # changes as long as its worker is alive
CELLS = "cells"
ERROR = "error"

HEARTBEAT_S = 20.0
SILENT_S = 60.0  # a worker whose heartbeat is the same for so long counts as dead

# Pauses before a database is opened again whose tables others create just then.
CREATION_PAUSES_S = (0.2, 0.5, 1.0, 2.0)

# (study, number of the trial) -> (its heartbeat, when it was first seen), see
# `queue_stale`.
Watched = dict[tuple[str, int], tuple[Any, float]]


def _open_or_create(url, options):
    """optuna's storage; its tables may be created by several processes at once.

    Then all but one of them fail, and find the tables when they try again.
    """
    for pause_s in CREATION_PAUSES_S:
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except sqlalchemy.exc.DatabaseError as error:
            is_duplicate = isinstance(error, sqlalchemy.exc.IntegrityError)
            if not is_duplicate and "already exists" not in str(error.orig):
                raise
        time.sleep(pause_s)
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """optuna's storage behind a database URL.

    Args:
      url: as SQLAlchemy reads it: `sqlite:///FILE`, `postgresql+psycopg://...`, where
        what stands after the plus is the driver's module.
    Raises:
      UsageError: there is no such database.
      SiamjaxError: it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    waits = {"timeout": 60} if url.startswith("sqlite") else {}
    try:
        store = _open_or_create(url, {"connect_args": waits})
    except ImportError as error:
        reason = error.__cause__ or error
        raise UsageError(
            f"--storage={_shown(url)} needs the driver of its database: {reason}"
        ) from error
    except sqlalchemy.exc.DatabaseError as error:
        if isinstance(error, sqlalchemy.exc.OperationalError):
            raise UsageError(
                f"--storage={_shown(url)} does not open: {_reason(error)}"
            ) from error
        raise SiamjaxError(
            f"{_shown(url)} cannot be read ({_reason(error)}): put the file back from "
            "a copy, or compare in another --workdir"
        ) from error
    except Exception as error:  # SQLAlchemy's own kinds, and those of each driver
        raise UsageError(f"--storage={_shown(url)} does not open: {error}") from error
    if store.engine.dialect.name == "sqlite":
        _lock_on_begin(store.engine)
    return store


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    """Turns errors of the database into errors of one line: a full disk, damage.

    Raises:
      SiamjaxError: in place of the errors of optuna and of SQLAlchemy.
    """
    try:
        yield
    except (
        optuna.exceptions.StorageInternalError,
        sqlalchemy.exc.SQLAlchemyError,
    ) as error:
        raise SiamjaxError(
            f"the database of the settings failed ({_reason(error)}): what is done is "
            "kept, and the same command goes on once it can be written"
        ) from error


def _reason(error):
    """The message of the database itself, without the SQL statement."""
    error = error.__cause__ or error
    return " ".join(str(getattr(error, "orig", None) or error).split())[:200]


def _shown(url):
    """A database URL without its password."""
    return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", url)


def _lock_on_begin(engine):
    """Locks SQLite from the beginning of a transaction.

    optuna reads that a trial is waiting and then takes it. Other databases lock the row
    in between. SQLite does not: two workers could take the same trial.
    """
    engine.dispose()

    @sqlalchemy.event.listens_for(engine, "connect")
    def stop_driver_transactions(connection, _):
        connection.isolation_level = None  # `begin` below starts them instead

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class Opened(NamedTuple):
    """A study, and its trials when they were read from the database."""

    study: optuna.Study
    trials: list[FrozenTrial]


def open_study(
    store: optuna.storages.RDBStorage,
    study: Study,
    settings: Sequence[Any],
    prefix: str = "",
) -> Opened:
    """`Opened` of a `protocol.Study`, with a slot for each setting.

    Args:
      store: of optuna.
      study: what to open; it is created if it is not there.
      settings: see `queue_settings`.
      prefix: of its name in the database, which other comparisons may share.
    """
    created = optuna.create_study(
        storage=store,
        study_name=prefix + study.name,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(),  # not used: see `suggest_values`
        load_if_exists=True,
    )
    return queue_settings(read_study(created), settings)


def queue_settings(opened: Opened, settings: Sequence[Any]) -> Opened:
    """`Opened` with one slot for each setting: slots without a trial are queued.

    Args:
      opened: `Opened`.
      settings: the setting of each slot; None: the search suggests one.
    """
    slots = {trial.user_attrs.get(SLOT) for trial in opened.trials}
    new = [slot for slot in range(len(settings)) if slot not in slots]
    for slot in new:
        attributes = {SLOT: slot, SETTING: settings[slot]}
        opened.study.enqueue_trial({}, user_attrs=attributes)
    return read_study(opened.study) if new else opened


def read_study(study: optuna.Study) -> Opened:
    """Reads an optuna study from the database."""
    return Opened(study, study.get_trials(deepcopy=False))


def finished_trials(opened: Opened) -> dict[int, FrozenTrial]:
    """{slot: finished trial}; also trials that failed with an error of their own."""
    finished: dict[int, FrozenTrial] = {}
    for trial in opened.trials:
        if _counts(trial):
            finished.setdefault(trial.user_attrs[SLOT], trial)
    return finished


def next_slot(opened: Opened) -> int | None:
    """The next slot in the queue, or None."""
    slots = [
        trial.user_attrs[SLOT]
        for trial in opened.trials
        if trial.state == TrialState.WAITING
    ]
    return min(slots, default=None)


def run_queued_slots(
    study: optuna.Study,
    work: Callable[[list[tuple[int, optuna.Trial]]], list[tuple[float, Any]]],
    max_slots: int = 1,
    heartbeat_s: float = HEARTBEAT_S,
) -> int:
    """Takes slots out of the queue and works on them together.

    Args:
      study: of optuna.
      work: [(slot, trial)] -> [(score, JSON to store)], one for each slot. If it raises
        an exception, or the score is NaN, the slot failed and the error is stored. If
        several slots were worked on together, each is then tried alone: only those fail
        that cause the error.
      max_slots: the largest number of slots. They do not use each other's scores.
      heartbeat_s: how often the trials are marked as alive, see `queue_stale`.
    Returns:
      How many slots were done.
    """
    taken = _take_slots(study, max_slots)
    trials = [trial for _, trial in taken]
    with _heartbeats(trials, heartbeat_s):
        try:
            outcomes = _outcomes(work, taken)
        except KeyboardInterrupt:
            for trial in trials:
                study.tell(trial, state=TrialState.FAIL)
                queue_again(study, trial)
            raise
    for trial, outcome in zip(trials, outcomes):
        _tell(study, trial, outcome)
    return len(taken)


def _take_slots(study, max_slots):
    """[(slot, trial)] from the queue, without slots that another trial already has."""
    trials = study.get_trials(deepcopy=False)
    queued = sum(trial.state == TrialState.WAITING for trial in trials)
    asked = [study.ask() for _ in range(min(max_slots, queued))]
    trials = study.get_trials(deepcopy=False)
    taken = []
    for trial in asked:
        slot = trials[trial.number].user_attrs.get(SLOT)
        if slot is None or _has_another(trials, trial.number):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            with _unless_ended(trial):
                trial.set_user_attr(WORKER, describe_worker())
            taken.append((slot, trial))
    return taken


def describe_worker() -> list[Any]:
    """The host and the id of this process, as JSON."""
    return [socket.gethostname(), os.getpid()]


@contextlib.contextmanager
def _heartbeats(trials, heartbeat_s):
    """Writes heartbeats of trials regularly while the block runs."""
    stopped = threading.Event()

    def beat():
        while not stopped.wait(heartbeat_s):
            # A missing heartbeat does no harm: at worst the slot is done twice.
            with contextlib.suppress(
                optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError
            ):
                _write_heartbeat(trials)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _write_heartbeat(trials):
    for trial in trials:
        with _unless_ended(trial):
            trial.set_user_attr(BEAT, time.time())


@contextlib.contextmanager
def _unless_ended(trial):
    """Ignores errors of a trial that another worker ended, taking this one for dead."""
    try:
        yield
    except (RuntimeError, ValueError):  # which one depends on the version of optuna
        trials = trial.study.get_trials(deepcopy=False)
        if not trials[trial.number].state.is_finished():
            raise


def queue_stale(opened: Opened, watched: Watched, silent_s: float = SILENT_S) -> None:
    """Queues the slots of dead workers again.

    Only the clock of this process counts, so the clocks of hosts may differ.

    Args:
      opened: the study, whose running trials are checked.
      watched: what earlier calls of this process saw; it is updated.
      silent_s: a worker whose heartbeat is the same for so long counts as dead.
    """
    for trial in opened.trials:
        if trial.state != TrialState.RUNNING:
            continue
        name = opened.study.study_name, trial.number
        beat, time_s = trial.user_attrs.get(BEAT), time.monotonic()
        seen, since_s = watched.get(name, (None, time_s))
        if beat != seen:
            since_s = time_s
        watched[name] = beat, since_s
        if time_s - since_s < silent_s:
            continue
        ended = opened.study.tell(
            trial.number, state=TrialState.FAIL, skip_if_finished=True
        )
        if not _counts(ended):
            queue_again(opened.study, ended)


def _outcomes(work, taken):
    """For each slot what `work` returned, or the exception that it raised."""
    try:
        return work(taken)
    except Exception as error:
        if len(taken) == 1:
            return [error]
        return [_outcomes(work, [single])[0] for single in taken]


def _tell(study, trial, outcome):
    with _unless_ended(trial):
        if isinstance(outcome, Exception):
            text = " ".join(str(outcome).split())[:500]
            trial.set_user_attr(ERROR, f"{type(outcome).__name__}: {text}")
            study.tell(trial, state=TrialState.FAIL)
            return
        score, cells = outcome
        trial.set_user_attr(CELLS, cells)
        if math.isfinite(score):
            study.tell(trial, score)
        else:
            trial.set_user_attr(ERROR, "the score is not finite: the training diverged")
            study.tell(trial, state=TrialState.FAIL)


def count_open_slots(results: Mapping[int, Any], slots: int, in_round: int) -> int:
    """How many slots of a search may be queued: those of all rounds begun so far.

    Args:
      results: see `finished_trials`.
      slots: of the whole search.
      in_round: slots of a round.
    """
    first_open = next(slot for slot in range(slots + 1) if slot not in results)
    return min((first_open // in_round + 1) * in_round, slots)


def suggest_values(
    trial: optuna.Trial, spec: str, *, seed: int, in_round: int
) -> dict[str, Any]:
    """Values for the free hyper-parameters of a loss; they are stored in the trial.

    They depend only on the seed, the slot and the results of earlier rounds. The first
    round is random.

    Args:
      trial: of a slot whose earlier rounds are done, see `count_open_slots`.
      spec: text of a loss.
      seed: of the sampler; the slot is added.
      in_round: slots of a round.
    """
    if VALUES in trial.user_attrs:
        return trial.user_attrs[VALUES]
    slot = trial.user_attrs[SLOT]
    spaces = {name: _distribution(x) for name, x in search.space(spec).items()}
    sampler = optuna.samplers.TPESampler(seed=seed + slot, n_startup_trials=in_round)
    # In memory, of the earlier rounds alone: the database's study has other trials.
    earlier = optuna.create_study(direction="maximize", sampler=sampler)
    for other, result in sorted(finished_trials(read_study(trial.study)).items()):
        if other < slot - slot % in_round and result.value is not None:
            earlier.add_trial(
                optuna.trial.create_trial(
                    value=result.value,
                    params=result.user_attrs[VALUES],
                    distributions=spaces,
                )
            )
    values = earlier.ask(spaces).params
    trial.set_user_attr(VALUES, values)
    return values


def queue_again(study: optuna.Study, trial: optuna.Trial | FrozenTrial) -> None:
    """Queues another trial of the same slot and setting."""
    kept = (SLOT, SETTING, VALUES)
    attributes = {key: trial.user_attrs[key] for key in kept if key in trial.user_attrs}
    attributes[LOST] = trial.user_attrs.get(WORKER)
    if SLOT in attributes:
        study.enqueue_trial({}, user_attrs=attributes)


def _distribution(space):
    if not isinstance(space, search.Range):
        return optuna.distributions.CategoricalDistribution(space)
    is_integer = isinstance(space.low, int) and isinstance(space.high, int)
    kinds = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution
    return kinds[is_integer](space.low, space.high, log=space.log)


def _counts(trial):
    """Whether a trial is a result; a trial that a killed or late worker left is not."""
    return trial.state == TrialState.COMPLETE or (
        trial.state == TrialState.FAIL and ERROR in trial.user_attrs
    )


def _has_another(trials, number):
    """Whether an earlier trial has the same slot and is waiting, running or done."""
    alive = (TrialState.WAITING, TrialState.RUNNING)
    slot = trials[number].user_attrs[SLOT]
    return any(
        other.user_attrs.get(SLOT) == slot and (other.state in alive or _counts(other))
        for other in trials[:number]
    )
