"""Made-up conditions: each is a group of windows that are changed in the same way.

A network trained on few conditions learns to ignore what does not separate them, and a
new fault may show only there. Made-up conditions teach it that any change matters.
Windows are changed as counts, before they become features, inside the compiled step.
The label of a made-up condition is used in one batch only.
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

# Smaller than the least uniform number above 0. Replaces 0, of which the normal
# quantile is infinite.
TINY = 2.0**-25
# Of a change that goes on and off: the shortest and longest period of a group in bins;
# the largest factor between a window's period and that of its group; and the least
# share of the period in which the change is on, and how much is added to it at most.
PERIOD, VARIED, SHARE_ON = (3.0, 20.0), 1.3, (0.2, 0.6)
# The longest delay of an echo in bins; the least and largest storm in log counts.
LAG, STORM = 8, (1.5, 4.5)
# Roles of columns between which a message may move: an answer may have another status,
# but not another method.
EXCHANGED = ("class", "code")


class MadeUp(NamedTuple):
    """How windows are changed, from a config and the table of columns."""

    kinds: tuple[str, ...]  # names in KINDS; one is drawn for each changed column
    share: tuple[float, float]  # limits of the probability that a column is changed
    strength: float  # deviation of the change in log counts: 1.5 is a factor of 4.5
    severity: tuple[float, float]  # limits of a window's strength, 1: that of its group
    on_off: float  # share of the groups whose change goes on and off
    ramp: float  # share of the groups whose change grows through the window
    mixed: float  # share of the groups with a second change on top of the first
    empty: Any  # [F] counts of a bin in which nothing was sent
    heavy: Any  # [F] bool, columns that are counts; the others are shifted
    first: Any  # [F] first of the columns into which a message of it may move
    size: Any  # [F] number of these columns; 1: only itself


def build_changes(config: MadeUpConfig, columns: Sequence[Column]) -> MadeUp:
    """`MadeUp` of `config.made_up` for a table of `types.Column`s."""
    unknown = sorted(set(config.kinds) - set(KINDS))
    checks.require(
        not unknown and config.kinds,
        f"config.made_up.kinds has {unknown or 'nothing'}: choose of {sorted(KINDS)}",
    )
    first, size = np.arange(len(columns)), np.ones(len(columns), int)
    group = [(c.role, c.method) if c.role in EXCHANGED else None for c in columns]
    for i, name in enumerate(group):
        if name is not None:
            first[i], size[i] = group.index(name), group.count(name)
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

    No row depends on another one, so that a batch can be divided among devices.

    Args:
      key: of the batch. The change of a group depends on the key and its number alone.
      counts: `[B, T, F]` of recorded windows, NaN where nothing was measured.
      groups: `[B]` int, the made-up group of each; below 0: it stays as recorded.
      deviation: `[B, F]` of each column in normal times, with its floor. It is the unit
        by which columns that are not counts are shifted.
      how: `MadeUp`.
    Returns:
      `[B, T, F]` changed counts; columns that are counts stay at or above 0.
    """

    def change_window(window, group, row, unit):
        bins, width = window.shape
        changes = 2 if how.mixed else 1
        # Few draws for all random numbers: each draw adds 0.1 s of compilation.
        of_group, of_rows = jax.random.split(jax.random.fold_in(key, group))
        chance = jax.random.uniform(of_group, (changes, 8 + 3 * width))
        of_row = jax.random.fold_in(of_rows, row)
        noise = jax.random.uniform(of_row, (changes, 3 + bins + width))
        changed = _change(chance[0], noise[0], window, unit, how)
        if how.mixed:
            twice = _change(chance[1], noise[1], changed, unit, how)
            changed = jnp.where(chance[1, 7] < how.mixed, twice, changed)
        return jnp.where(group >= 0, changed, window)

    return jax.vmap(change_window)(
        counts, groups, jnp.arange(counts.shape[0]), deviation
    )


def _change(chance, noise, counts, unit, how):
    """Changes one window `[T, F]`; its group decides all but the strength and noise.

    Args:
      chance: `[8 + 3 F]` uniform in 0..1, the same for all windows of the group.
      noise: `[3 + T + F]` uniform in 0..1, of the window.
    """
    bins, width = counts.shape
    of_column, of_kind, of_shift = chance[8:].reshape(3, width)
    share = how.share[0] + (how.share[1] - how.share[0]) * chance[0]
    # At least one column changes: otherwise two classes would be the same.
    always = jnp.arange(width) == (chance[1] * width).astype(jnp.int32)
    chosen = always | (of_column < share)
    kind = jnp.minimum((of_kind * len(how.kinds)).astype(jnp.int32), len(how.kinds) - 1)
    severity = how.severity[0] + (how.severity[1] - how.severity[0]) * noise[0]
    drawn = Draw(
        shift=severity * how.strength * ndtri(jnp.maximum(of_shift, TINY))[None],
        amount=jnp.clip(severity * of_shift, 0.0, 1.0)[None],
        lag=1 + (chance[5] * LAG).astype(jnp.int32),
        turn=chance[6],
        # A sum modulo 1: T + F random numbers give T * F that are uniform and
        # independent in pairs.
        noise=(noise[3 : 3 + bins, None] + noise[None, 3 + bins :]) % 1.0,
    )
    changed = counts
    for i, name in enumerate(how.kinds):
        mask = jnp.broadcast_to((kind == i) & chosen, counts.shape)
        changed = KINDS[name](counts, changed, mask, drawn, how)
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


def _silenced(counts, changed, mask, drawn, how):
    return jnp.where(mask, jnp.broadcast_to(how.empty, counts.shape), changed)


def _multiplied(counts, changed, mask, drawn, how):
    return jnp.where(mask, counts * jnp.exp(drawn.shift), changed)


def _added(counts, changed, mask, drawn, how):
    return jnp.where(mask, counts + jnp.expm1(jnp.abs(drawn.shift)), changed)


def _echoed(counts, changed, mask, drawn, how):
    """Messages are sent again some bins later, as repeated requests are."""
    bins = jnp.arange(counts.shape[0])
    # A product with a matrix of 0 and 1 is much faster than a gather.
    later = (bins[:, None] - drawn.lag == bins[None]).astype(counts.dtype)
    late = later @ jnp.nan_to_num(counts)
    return jnp.where(mask, counts + drawn.amount * late, changed)


def _turned(counts, changed, mask, drawn, how):
    """A share of the answers of one kind becomes another kind, such as 503 for 200."""
    place = jnp.arange(counts.shape[1])
    offset = 1 + (drawn.turn * jnp.maximum(how.size - 1, 1)).astype(jnp.int32)
    origin = how.first + (place - how.first - offset) % how.size
    moved = jnp.where(mask & (how.size > 1)[None], drawn.amount * counts, 0.0)
    return (
        changed - moved + moved @ (place[:, None] == origin[None]).astype(moved.dtype)
    )


def _thinned(counts, changed, mask, drawn, how):
    """Messages are lost at random: mean and deviation are those of a binomial draw."""
    kept = 1.0 - drawn.amount
    spread = jnp.sqrt(12 * jnp.maximum(counts * kept * drawn.amount, 0.0))
    noisy = counts * kept + spread * (drawn.noise - 0.5)
    return jnp.where(mask, jnp.clip(jnp.round(noisy), 0.0, counts), changed)


def _stormed(counts, changed, mask, drawn, how):
    """Far more messages of one kind than usual, in the first of the chosen columns."""
    more = jnp.expm1(STORM[0] + (STORM[1] - STORM[0]) * drawn.amount)
    first = mask & (jnp.cumsum(mask, 1) == 1)
    return jnp.where(first, counts + more, changed)


def _capped(counts, changed, mask, drawn, how):
    """The counts of a bin cannot exceed a limit."""
    cap = (1.0 - drawn.amount) * jnp.nanmax(counts, 0, keepdims=True)
    return jnp.where(mask, jnp.minimum(counts, cap), changed)


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


def _envelope(chance, noise, bins, how):
    """`[T]` in 0..1, which part of the change each bin has: steady, on-off or growing.

    The period is that of the group, up to a factor. The phase is random in each window:
    a link that goes down and up is the same fault at whatever time one looks.
    """
    time = jnp.arange(bins) / bins
    period = (
        PERIOD[0] * (PERIOD[1] / PERIOD[0]) ** chance[0] * VARIED ** (2 * noise[1] - 1)
    )
    wave = (time * bins / period + noise[0]) % 1.0 < SHARE_ON[0] + SHARE_ON[1] * chance[
        1
    ]
    ramp = jnp.clip((time - 0.5 * chance[0]) / 0.5, 0.0, 1.0)
    part = jnp.where(chance[2] < how.on_off + how.ramp, ramp, 1.0)
    return jnp.where(chance[2] < how.on_off, wave.astype(part.dtype), part)
