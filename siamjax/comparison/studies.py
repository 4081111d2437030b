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
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from siamjax.losses import search
from siamjax.types import SiamjaxError, UsageError

try:
    import optuna
    import sqlalchemy
except ImportError as error:
    raise SiamjaxError(
        "the search for settings needs optuna: pip install optuna"
    ) from error

from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import TrialState

_LOG = logging.getLogger(__name__)

SLOT, SETTING, CELLS, ERROR = "slot", "setting", "cells", "error"


def storage(url, heartbeat_s):
    """optuna's storage behind a database URL.

    Args:
      url: as SQLAlchemy reads it: `sqlite:///FILE`, `postgresql+psycopg://...`, where
        what stands after the plus is the driver's module.
      heartbeat_s: a worker that was silent for three times so long is dead.
    Raises:
      UsageError: there is no such database.
      SiamjaxError: it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    # `take` asks for several trials, and sends the heartbeat of each itself.
    warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
    # Newer versions have another name for the callback, and warn.
    warnings.simplefilter("ignore", FutureWarning)
    waits = {"timeout": 60} if url.startswith("sqlite") else {}
    try:
        store = optuna.storages.RDBStorage(
            url,
            engine_kwargs={"connect_args": waits},
            heartbeat_interval=heartbeat_s,
            grace_period=3 * heartbeat_s,
            failed_trial_callback=queue_again,
        )
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

    study: Any  # of optuna
    trials: list  # of it, when it was read


def open_study(store, study, settings):
    """`Opened` of a `protocol.Study`, with slots `queued`.

    Args:
      store: see `storage`.
      study: `protocol.Study`.
      settings: see `queued`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optuna.create_study(
            storage=store, study_name=study.name, direction="maximize",
            load_if_exists=True,
        )  # fmt: skip
    return queued(read(found), settings)


def queued(opened: Opened, settings: Sequence[Any]) -> Opened:
    """`Opened` with one slot for each setting: those that have no trial are queued.

    Args:
      opened: `Opened`.
      settings: of each slot what its trial is given to begin with, or None where the
        sampler is to choose.
    """
    there = {trial.user_attrs.get(SLOT) for trial in opened.trials}
    new = [slot for slot in range(len(settings)) if slot not in there]
    for slot in new:
        attributes = {SLOT: slot, SETTING: settings[slot]}
        opened.study.enqueue_trial({}, user_attrs=attributes)
    return read(opened.study) if new else opened


def read(study):
    """`Opened` of an optuna study, read anew."""
    return Opened(study, _trials(study))


def done(opened):
    """{slot: finished trial}, with those that failed by themselves."""
    out = {}
    for trial in opened.trials:
        if _counts(trial):
            out.setdefault(trial.user_attrs[SLOT], trial)
    return out


def waiting(opened):
    """The next slot in the queue, or None."""
    slots = [
        trial.user_attrs[SLOT]
        for trial in opened.trials
        if trial.state == TrialState.WAITING
    ]
    return min(slots, default=None)


def at_work(opened):
    """Whether a worker has a slot of it, or had when it died."""
    return any(trial.state == TrialState.RUNNING for trial in opened.trials)


def take(study, work, many=1):
    """Does slots of the queue together, those that no other worker takes first.

    Args:
      study: of optuna.
      work: [(slot, trial)] -> for each (score, what is stored of it as JSON). An
        exception fails the slot and is stored; so does a score of NaN. Where slots fail
        together each is tried alone, so that none fails for another.
      many: how many slots at most. They do not learn from each other's scores.
    Returns:
      How many slots were done.
    """
    taken = _asked(study, many)
    with contextlib.ExitStack() as beats:
        for _, trial in taken:
            beats.enter_context(get_heartbeat_thread(trial._trial_id, study._storage))
        try:
            found = _outcomes(work, taken)
        except KeyboardInterrupt:
            for _, trial in taken:
                study.tell(trial, state=TrialState.FAIL)
                queue_again(study, trial)
            raise
        for (_, trial), outcome in zip(taken, found):
            _tell(study, trial, outcome)
    return len(taken)


def _asked(study, many):
    """[(slot, trial)] out of the queue, without slots that another trial has."""
    queued = sum(trial.state == TrialState.WAITING for trial in _trials(study))
    out = []
    for trial in [study.ask() for _ in range(min(many, queued))]:
        slot = trial.user_attrs.get(SLOT)
        if slot is None or _has_another(study, trial):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            out.append((slot, trial))
    return out


def _outcomes(work, taken):
    """What `work` gave for each, or the exception that it failed by."""
    try:
        return work(taken)
    except Exception as error:
        if len(taken) == 1:
            return [error]
        return [_outcomes(work, [one])[0] for one in taken]


def _tell(study, trial, outcome):
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


def suggest(trial: Any, spec: str, *, seed: int, in_round: int) -> dict[str, Any]:
    """Values for all that is free in the text of a loss.

    They are a function of the seed, the slot and the results of earlier rounds. The
    first round is random.

    Args:
      trial: of optuna; slots of earlier rounds are done, see `begun`.
      spec: text of a loss.
      seed: of the sampler, beside the slot.
      in_round: slots of a round.
    """
    slot = trial.user_attrs[SLOT]
    sampler = optuna.samplers.TPESampler(seed=seed + slot, n_startup_trials=in_round)
    earlier = optuna.create_study(direction="maximize", sampler=sampler)
    for other, result in sorted(done(read(trial.study)).items()):
        if other < slot - slot % in_round and result.value is not None:
            earlier.add_trial(result)
    spaces = {name: _distribution(x) for name, x in search.free(spec).items()}
    values = earlier.ask(spaces).params
    random = optuna.samplers.RandomSampler()  # of nothing: all values are there
    trial.study.sampler = optuna.samplers.PartialFixedSampler(values, random)
    return {name: trial._suggest(name, space) for name, space in spaces.items()}


def fail_stale(study):
    """Queues again what dead workers were at."""
    optuna.storages.fail_stale_trials(study)


def queue_again(study, trial):
    """Another trial of the same slot and setting."""
    if SLOT in trial.user_attrs:
        kept = {key: trial.user_attrs[key] for key in (SLOT, SETTING)}
        study.enqueue_trial(trial.params, user_attrs=kept)


def _distribution(space):
    if not isinstance(space, search.Range):
        return optuna.distributions.CategoricalDistribution(space)
    whole = isinstance(space.low, int) and isinstance(space.high, int)
    kinds = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution
    return kinds[whole](space.low, space.high, log=space.log)


def _trials(study):
    return study.get_trials(deepcopy=False)


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
        for other in _trials(study)
    )
