"""Made-up conditions: groups of windows changed alike, classes like any other.

A network trained on few conditions forgets whatever it did not need, and a new fault is
just that. These teach it that any change matters. They work on counts, before the
features, inside the compiled step; labels of theirs live for one batch.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from siamjax import checks
from siamjax.config import MadeUpConfig
from siamjax.types import Column

# Below the least uniform number above 0: the normal quantile of 0 is infinite.
TINY = 2.0**-25
# Period in bins of what goes on and off, by how much windows of a group differ in it,
# and for what part of the period it is on: the first and up to the second more.
PERIOD, VARIED, SHARE_ON = (3.0, 20.0), 1.3, (0.2, 0.6)
# An echo comes so many bins late at the most; a storm is this strong, in log counts.
LAG, STORM = 8, (1.5, 4.5)
# Columns that one message may change between: the status of an answer, not its method.
EXCHANGED = ("class", "code")


class MadeUp(NamedTuple):
    """How windows are changed, from a config and the table of columns."""

    kinds: tuple  # names in KINDS, one is drawn for each changed column
    share: tuple  # a column is changed with a probability between these
    strength: float  # deviation of the change in log counts: 1.5 is a factor 4.5
    severity: tuple  # a window carries its group's change between these strengths
    on_off: float  # share of the groups whose change goes on and off
    ramp: float  # share of the groups whose change grows through the window
    mixed: float  # share of the groups with a second change on top
    empty: Any  # [F] counts of a bin that saw nothing
    heavy: Any  # [F] bool, columns that are counts; the others are shifted
    first: Any  # [F] of the columns that it may turn into, the first ...
    size: Any  # [F] ... and their number; 1: none but itself


def build_changes(config: MadeUpConfig, columns: Sequence[Column]) -> MadeUp:
    """`MadeUp` of `config.made_up` for a table of `types.Column`s."""
    unknown = sorted(set(config.kinds) - set(KINDS))
    checks.require(
        not unknown and config.kinds,
        f"config.made_up.kinds has {unknown or 'nothing'}: they are of {sorted(KINDS)}",
    )
    first, size = np.arange(len(columns)), np.ones(len(columns), int)
    group = [(c.role, c.method) if c.role in EXCHANGED else None for c in columns]
    for i, own in enumerate(group):
        if own is not None:
            first[i], size[i] = group.index(own), group.count(own)
    return MadeUp(
        **dataclasses.asdict(config),
        empty=np.array([column.empty for column in columns], np.float32),
        heavy=np.array([column.heavy for column in columns]),
        first=first.astype(np.int32),
        size=size.astype(np.int32),
    )


def change_windows(
    key: jax.Array, counts: Any, groups: Any, deviation: Any, how: MadeUp
) -> jax.Array:
    """Changes the windows of each made-up group in one random way.

    Every row is worked out by itself, so that a batch split over devices stays so.

    Args:
      key: of the batch; a change depends on it and the group alone.
      counts: `[B, T, F]` of recorded windows, NaN where nothing was measured.
      groups: `[B]` int, the made-up group of each; below 0: it stays as recorded.
      deviation: `[B, F]` of a column in normal times with its floor, for columns that
        are no counts: they are shifted by so many of it.
      how: `MadeUp`.
    Returns:
      Counts of the same shape; what was a count stays at or above 0.
    """

    def one(window, group, row, unit):
        bins, width = window.shape
        changes = 2 if how.mixed else 1
        # Few draws for all: each one is a tenth of a second of compilation.
        of_group, of_rows = jax.random.split(jax.random.fold_in(key, group))
        chance = jax.random.uniform(of_group, (changes, 8 + 3 * width))
        of_row = jax.random.fold_in(of_rows, row)
        noise = jax.random.uniform(of_row, (changes, 3 + bins + width))
        changed = _change(chance[0], noise[0], window, unit, how)
        if how.mixed:
            twice = _change(chance[1], noise[1], changed, unit, how)
            changed = jnp.where(chance[1, 7] < how.mixed, twice, changed)
        return jnp.where(group >= 0, changed, window)

    return jax.vmap(one)(counts, groups, jnp.arange(counts.shape[0]), deviation)


def _change(chance, noise, counts, unit, how):
    """One window `[T, F]` of a group; only strength and noise are the window's own.

    Args:
      chance: `[8 + 3 F]` uniform in 0..1, the same for all windows of the group.
      noise: `[3 + T + F]` uniform in 0..1, of the window.
    """
    bins, width = counts.shape
    of_column, of_kind, of_shift = chance[8:].reshape(3, width)
    share = how.share[0] + (how.share[1] - how.share[0]) * chance[0]
    # A change of nothing would be a class like its origin: one column at least.
    one = jnp.arange(width) == (chance[1] * width).astype(jnp.int32)
    chosen = one | (of_column < share)
    kind = jnp.minimum((of_kind * len(how.kinds)).astype(jnp.int32), len(how.kinds) - 1)
    severity = how.severity[0] + (how.severity[1] - how.severity[0]) * noise[0]
    drawn = Draw(
        shift=severity * how.strength * ndtri(jnp.maximum(of_shift, TINY))[None],
        amount=jnp.clip(severity * of_shift, 0.0, 1.0)[None],
        lag=1 + (chance[5] * LAG).astype(jnp.int32),
        turn=chance[6],
        # Uniform and independent in pairs, for far fewer random numbers.
        noise=(noise[3 : 3 + bins, None] + noise[None, 3 + bins :]) % 1.0,
    )
    changed = counts
    for i, name in enumerate(how.kinds):
        this = jnp.broadcast_to((kind == i) & chosen, counts.shape)
        changed = KINDS[name](counts, changed, this, drawn, how)
    gauge = jnp.where(chosen[None], counts + drawn.shift * unit[None], counts)
    changed = jnp.where(jnp.broadcast_to(how.heavy, counts.shape), changed, gauge)
    part = _envelope(chance[2:5], noise[1:3], bins, how)[:, None]  # [T, 1]
    return jnp.where(part > 0, counts + part * (changed - counts), counts)


class Draw(NamedTuple):
    """The random numbers of one change."""

    shift: jax.Array  # [1, F] normal, in log counts
    amount: jax.Array  # [1, F] uniform in 0..1
    lag: jax.Array  # [] bins
    turn: jax.Array  # [] uniform in 0..1
    noise: jax.Array  # [T, F] uniform in 0..1


def _silenced(counts, changed, this, drawn, how):
    return jnp.where(this, jnp.broadcast_to(how.empty, counts.shape), changed)


def _multiplied(counts, changed, this, drawn, how):
    return jnp.where(this, counts * jnp.exp(drawn.shift), changed)


def _added(counts, changed, this, drawn, how):
    return jnp.where(this, counts + jnp.expm1(jnp.abs(drawn.shift)), changed)


def _echoed(counts, changed, this, drawn, how):
    """What was sent comes again some bins later, as repeated requests do."""
    bins = jnp.arange(counts.shape[0])
    # A product with ones is far quicker than a gather, also below.
    later = (bins[:, None] - drawn.lag == bins[None]).astype(counts.dtype)
    late = later @ jnp.nan_to_num(counts)
    return jnp.where(this, counts + drawn.amount * late, changed)


def _turned(counts, changed, this, drawn, how):
    """A share of one kind of answer becomes another: 200 into 503."""
    place = jnp.arange(counts.shape[1])
    offset = 1 + (drawn.turn * jnp.maximum(how.size - 1, 1)).astype(jnp.int32)
    origin = how.first + (place - how.first - offset) % how.size
    moved = jnp.where(this & (how.size > 1)[None], drawn.amount * counts, 0.0)
    return (
        changed - moved + moved @ (place[:, None] == origin[None]).astype(moved.dtype)
    )


def _thinned(counts, changed, this, drawn, how):
    """Each message is lost at random: mean and deviation of a binomial draw."""
    kept = 1.0 - drawn.amount
    spread = jnp.sqrt(12 * jnp.maximum(counts * kept * drawn.amount, 0.0))
    noisy = counts * kept + spread * (drawn.noise - 0.5)
    return jnp.where(this, jnp.clip(jnp.round(noisy), 0.0, counts), changed)


def _stormed(counts, changed, this, drawn, how):
    """Far more of one kind than there ever is."""
    more = jnp.expm1(STORM[0] + (STORM[1] - STORM[0]) * drawn.amount)
    first = this & (jnp.cumsum(this, 1) == 1)
    return jnp.where(first, counts + more, changed)


def _capped(counts, changed, this, drawn, how):
    """A limit that the traffic runs into."""
    cap = (1.0 - drawn.amount) * jnp.nanmax(counts, 0, keepdims=True)
    return jnp.where(this, jnp.minimum(counts, cap), changed)


KINDS = dict(
    silenced=_silenced,
    multiplied=_multiplied,
    added=_added,
    echoed=_echoed,
    turned=_turned,
    thinned=_thinned,
    stormed=_stormed,
    capped=_capped,
)


def _envelope(chance, own, bins, how):
    """`[T]` in 0..1, the part of the change per bin: steady, on and off, or growing.

    The group has its period; the phase, and some of the period, is the window's own,
    for a link that flaps is the same fault whenever one looks.
    """
    time = jnp.arange(bins) / bins
    period = (
        PERIOD[0] * (PERIOD[1] / PERIOD[0]) ** chance[0] * VARIED ** (2 * own[1] - 1)
    )
    wave = (time * bins / period + own[0]) % 1.0 < SHARE_ON[0] + SHARE_ON[1] * chance[1]
    ramp = jnp.clip((time - 0.5 * chance[0]) / 0.5, 0.0, 1.0)
    part = jnp.where(chance[2] < how.on_off + how.ramp, ramp, 1.0)
    return jnp.where(chance[2] < how.on_off, wave.astype(part.dtype), part)
