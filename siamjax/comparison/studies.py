"""All work as optuna studies in one database: who does what, done once, never lost.

A study is a loss on a data set in one stage; every loss gets exactly as many slots.
Workers, on one machine or on many, take slots out of the queue, which the database does
for one of them alone. Where a slot got into the queue twice, its first trial counts. A
slot whose worker was killed or interrupted is queued again with the setting that it
had.

A search goes in rounds: a slot is queued when all slots of earlier rounds are done, and
its setting is chosen by their results alone. So the settings do not depend on how many
workers there are, or how fast each is.
"""

import contextlib
import math
import re
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
BEAT = "beat"  # when its worker was last known to be alive, in seconds since 1970
CELLS = "cells"
ERROR = "error"

HEARTBEAT_S = 20.0
SILENT_S = 60.0  # a worker that gave no sign of life for so long is dead


def storage(url: str) -> optuna.storages.RDBStorage:
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
        store = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": waits})
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
def told() -> Iterator[None]:
    """Turns what a database says later into one line: a full disk, damage, no answer.

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
    """What the database itself said, without the statement that it was asked."""
    error = error.__cause__ or error
    return " ".join(str(getattr(error, "orig", None) or error).split())[:200]


def _shown(url):
    """A database URL without its password."""
    return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", url)


def _lock_on_begin(engine):
    """Locks SQLite from the beginning of a transaction.

    optuna reads that a trial waits and then takes it. Other databases lock the row that
    was read; SQLite would let two workers read it, and both take it.
    """
    engine.dispose()

    @sqlalchemy.event.listens_for(engine, "connect")
    def by_hand(connection, _):
        connection.isolation_level = None  # the driver begins none by itself

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class Opened(NamedTuple):
    """A study as it stands in the database."""

    study: optuna.Study
    trials: list[FrozenTrial]  # of it, when it was read


def open_study(
    store: optuna.storages.RDBStorage, study: Study, settings: Sequence[Any]
) -> Opened:
    """`Opened` of a `protocol.Study`, with a slot for each setting, see `queued`."""
    created = optuna.create_study(
        storage=store,
        study_name=study.name,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(),  # of nothing: see `suggest`
        load_if_exists=True,
    )
    return queued(read(created), settings)


def queued(opened: Opened, settings: Sequence[Any]) -> Opened:
    """`Opened` with one slot for each setting: those that have no trial are queued.

    Args:
      opened: `Opened`.
      settings: of each slot what its trial is given to begin with, or None where it is
        to be searched.
    """
    slots = {trial.user_attrs.get(SLOT) for trial in opened.trials}
    new = [slot for slot in range(len(settings)) if slot not in slots]
    for slot in new:
        attributes = {SLOT: slot, SETTING: settings[slot]}
        opened.study.enqueue_trial({}, user_attrs=attributes)
    return read(opened.study) if new else opened


def read(study: optuna.Study) -> Opened:
    """`Opened` of an optuna study, read anew."""
    return Opened(study, study.get_trials(deepcopy=False))


def done(opened: Opened) -> dict[int, FrozenTrial]:
    """{slot: finished trial}, with those that failed by themselves."""
    finished: dict[int, FrozenTrial] = {}
    for trial in opened.trials:
        if _counts(trial):
            finished.setdefault(trial.user_attrs[SLOT], trial)
    return finished


def waiting(opened: Opened) -> int | None:
    """The next slot in the queue, or None."""
    slots = [
        trial.user_attrs[SLOT]
        for trial in opened.trials
        if trial.state == TrialState.WAITING
    ]
    return min(slots, default=None)


def take(
    study: optuna.Study,
    work: Callable[[list[tuple[int, optuna.Trial]]], list[tuple[float, Any]]],
    many: int = 1,
    heartbeat_s: float = HEARTBEAT_S,
) -> int:
    """Does slots of the queue together, those that no other worker takes first.

    Args:
      study: of optuna.
      work: [(slot, trial)] -> for each (score, what is stored of it as JSON). An
        exception fails the slot and is stored; so does a score of NaN. Where slots fail
        together each is tried alone, so that none fails for another.
      many: how many slots at most. They do not learn from each other's scores.
      heartbeat_s: how often the trials are marked as alive, see `queue_stale`.
    Returns:
      How many slots were done.
    """
    taken = _asked(study, many)
    trials = [trial for _, trial in taken]
    with _beating(trials, heartbeat_s):
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


def _asked(study, many):
    """[(slot, trial)] out of the queue, without slots that another trial has."""
    trials = study.get_trials(deepcopy=False)
    queued = sum(trial.state == TrialState.WAITING for trial in trials)
    taken = []
    for trial in [study.ask() for _ in range(min(many, queued))]:
        slot = trial.user_attrs.get(SLOT)
        if slot is None or _has_another(study, trial):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            taken.append((slot, trial))
    return taken


@contextlib.contextmanager
def _beating(trials, heartbeat_s):
    """Marks trials as alive while the block runs, and once before it."""
    _beat(trials)
    over = threading.Event()

    def beat():
        while not over.wait(heartbeat_s):
            # One that is not written is as if late: the slot may be done twice.
            with contextlib.suppress(
                optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError
            ):
                _beat(trials)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _beat(trials):
    for trial in trials:
        with _unless_ended(trial):
            trial.set_user_attr(BEAT, time.time())


@contextlib.contextmanager
def _unless_ended(trial):
    """Passes over a trial that another worker ended, because it took us for dead."""
    try:
        yield
    except (RuntimeError, ValueError):  # which of them hangs on optuna's version
        trials = trial.study.get_trials(deepcopy=False)
        if not trials[trial.number].state.is_finished():
            raise


def queue_stale(opened: Opened, silent_s: float = SILENT_S) -> None:
    """Queues again what dead workers were at.

    Machines that share a database need clocks that agree to within half of `silent_s`.

    Args:
      opened: `Opened`; its trials at work are looked at.
      silent_s: a worker is dead that gave no sign of life for so long.
    """
    for trial in opened.trials:
        if trial.state != TrialState.RUNNING:
            continue
        begun_s = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        silence_s = time.time() - trial.user_attrs.get(BEAT, begun_s)
        if abs(silence_s) < silent_s:
            continue
        ended = opened.study.tell(
            trial.number, state=TrialState.FAIL, skip_if_finished=True
        )
        if not _counts(ended):
            queue_again(opened.study, ended)


def _outcomes(work, taken):
    """What `work` gave for each, or the exception that it failed by."""
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
            trial.set_user_attr(ERROR, "the training gave no number")
            study.tell(trial, state=TrialState.FAIL)


def begun(results: Mapping[int, Any], slots: int, in_round: int) -> int:
    """How many slots of a search can be done by now, those that are done among them.

    Args:
      results: see `done`.
      slots: of the whole search.
      in_round: slots of a round.
    """
    first_open = next(slot for slot in range(slots + 1) if slot not in results)
    return min((first_open // in_round + 1) * in_round, slots)


def suggest(
    trial: optuna.Trial, spec: str, *, seed: int, in_round: int
) -> dict[str, Any]:
    """Values for all that is free in the text of a loss; the trial keeps them.

    They are a function of the seed, the slot and the results of earlier rounds. The
    first round is random.

    Args:
      trial: slots of earlier rounds are done, see `begun`.
      spec: text of a loss.
      seed: of the sampler, beside the slot.
      in_round: slots of a round.
    """
    if VALUES in trial.user_attrs:
        return trial.user_attrs[VALUES]
    slot = trial.user_attrs[SLOT]
    spaces = {name: _distribution(x) for name, x in search.space(spec).items()}
    sampler = optuna.samplers.TPESampler(seed=seed + slot, n_startup_trials=in_round)
    # In memory, of the earlier rounds alone: the database's study has other trials.
    earlier = optuna.create_study(direction="maximize", sampler=sampler)
    for other, result in sorted(done(read(trial.study)).items()):
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
    """Another trial of the same slot and setting."""
    kept = (SLOT, SETTING, VALUES)
    attributes = {key: trial.user_attrs[key] for key in kept if key in trial.user_attrs}
    if SLOT in attributes:
        study.enqueue_trial({}, user_attrs=attributes)


def _distribution(space):
    if not isinstance(space, search.Range):
        return optuna.distributions.CategoricalDistribution(space)
    whole = isinstance(space.low, int) and isinstance(space.high, int)
    kinds = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution
    return kinds[whole](space.low, space.high, log=space.log)


def _counts(trial):
    """Whether a trial is a result, and not what a killed or late worker left."""
    return trial.state == TrialState.COMPLETE or (
        trial.state == TrialState.FAIL and ERROR in trial.user_attrs
    )


def _has_another(study, trial):
    """Whether an earlier trial has the slot, at work or done."""
    alive = (TrialState.WAITING, TrialState.RUNNING)
    return any(
        other.number < trial.number
        and other.user_attrs.get(SLOT) == trial.user_attrs[SLOT]
        and (other.state in alive or _counts(other))
        for other in study.get_trials(deepcopy=False)
    )
