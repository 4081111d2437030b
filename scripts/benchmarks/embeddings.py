"""Compares losses on two public sets that a package brings along; downloads nothing.

  python -m scripts.benchmarks.embeddings --out docs/embedding_benchmarks.md \
      --losses triplet,supcon,my_module.my_loss

digits (scikit-learn): 1797 pictures of 8 x 8 pixels, 10 digits. vowels (JapaneseVowels,
in aeon): 640 utterances of 12 cepstral channels, 9 speakers. As in other papers on
metric learning, half of the classes are for training and the other half for the test.
Nothing is chosen: every loss has its defaults, and all have the same encoder, batches
and number of steps. So the table says how a loss does as it is, not how well it can do.
Needs scikit-learn and aeon.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from siamjax import losses, metrics, samplers
from siamjax.experiments.settings import split_list

LOSSES = (
    "contrastive",
    "triplet",
    "triplet:margin=soft,mining=hard",
    "ntxent",
    "supcon",
    "multi_similarity",
    "circle",
    "proxy_anchor",
    "normalized_softmax",
    "arcface",
)
SCORES = ("hit_rate@1", "map@r", "precision@r")
HIDDEN, DIM, STEPS, RATE, SEEDS = 128, 32, 300, 1e-3, 5
CLASSES, PER_CLASS = 4, 8
FRAMES = 8  # of an utterance, whose length differs


def read_digits():
    """Pixels `[N, 64]` in [0, 1], digits `[N]`; 0 to 4 are for training."""
    from sklearn import datasets

    x, labels = datasets.load_digits(return_X_y=True)
    return x / 16, labels, np.arange(5)


def read_vowels():
    """Cepstra `[N, 12 * FRAMES]` of utterances, speakers `[N]`; 1 to 5 are for
    training. Each utterance is stretched to `FRAMES` frames."""
    from aeon.datasets import load_japanese_vowels

    series, labels = load_japanese_vowels(split=None)
    rows = [
        np.concatenate(
            [
                np.interp(np.linspace(0, len(c) - 1, FRAMES), np.arange(len(c)), c)
                for c in channels
            ]
        )
        for channels in series
    ]
    return np.array(rows), labels.astype(int), np.arange(1, 6)


SETS = {"digits": read_digits, "vowels": read_vowels}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", help="texts of losses, in place of the shared ones")
    parser.add_argument("--add", help="texts of losses, beside the shared ones")
    parser.add_argument("--sets", default=",".join(SETS), help="digits, vowels or both")
    parser.add_argument("--out", help="the page that is written; else it is printed")
    flags = parser.parse_args()
    specs = list(LOSSES) if flags.losses is None else [*split_list(flags.losses)]
    specs += [*split_list(flags.add)] if flags.add else []
    for spec in specs:
        losses.resolve(spec)  # before anything is trained
    page = format_page({name: run_set(name, specs) for name in flags.sets.split(",")})
    if flags.out:
        pathlib.Path(flags.out).write_text(page, encoding="utf-8")
    else:
        print(page)


def run_set(name, specs):
    """{loss or baseline: {score: [SEEDS]}} on the classes that training never saw."""
    x, labels, known = SETS[name]()
    is_train = np.isin(labels, known)
    mean, deviation = x[is_train].mean(0), x[is_train].std(0)
    x = ((x - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    train = x[is_train], np.unique(labels[is_train], return_inverse=True)[1]
    test = x[~is_train], labels[~is_train]
    rows = {"input": [score(*test)]}
    untrained = [encode(make_weights(s, x.shape[1]), test[0]) for s in range(SEEDS)]
    rows["untrained encoder"] = [score(points, test[1]) for points in untrained]
    for spec in specs:
        encoders = train_encoders(spec, *train)
        points = np.asarray(jax.vmap(encode, (0, None))(encoders, test[0]))
        rows[f"`{spec}`"] = [score(of_seed, test[1]) for of_seed in points]
        print(name, spec, rows[f"`{spec}`"][0], flush=True)
    return rows


def score(points, labels):
    """The scores of a test set, with the cosine of points."""
    by_query = metrics.score_queries(points, labels, SCORES, distance="cosine")
    scores = {name: metrics.average(values) for name, values in by_query.items()}
    clusters = metrics.k_means(unit(points), len(np.unique(labels)))
    scores["AMI"] = metrics.adjusted_mutual_information(labels, clusters)
    return scores


def unit(points):
    points = np.asarray(points, np.float64)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def make_weights(seed, width):
    keys = jax.random.split(jax.random.key(seed))
    return dict(
        hidden=jax.random.normal(keys[0], (width, HIDDEN)) * np.sqrt(2 / width),
        bias=jnp.zeros(HIDDEN),
        out=jax.random.normal(keys[1], (HIDDEN, DIM)) / np.sqrt(HIDDEN),
    )


@jax.jit
def encode(weights, x):
    """Points `[N, DIM]` of length 1, by a network with one hidden layer."""
    hidden = jax.nn.relu(x @ weights["hidden"] + weights["bias"][None])
    points = hidden @ weights["out"]
    return points / jnp.maximum(jnp.linalg.norm(points, axis=1, keepdims=True), 1e-6)


def train_encoders(spec, x, labels):
    """The encoder's weights after `STEPS` steps of Adam on balanced batches, stacked by
    seed: one program trains all."""
    loss, table = losses.resolve(spec), samplers.class_table(labels)
    optimiser, classes = optax.adam(RATE), int(labels.max()) + 1

    def train(seed):
        state = loss.init(jax.random.key(seed), classes, DIM)
        encoder = make_weights(seed, x.shape[1])
        weights = dict(encoder=encoder, loss=state.get("params", {}))
        step = functools.partial(train_step, loss, optimiser, seed, table, x)
        carry = weights, state.get("memory", {}), optimiser.init(weights)
        (weights, _, _), _ = jax.lax.scan(step, carry, jnp.arange(STEPS))
        return weights["encoder"]

    return jax.jit(jax.vmap(train))(jnp.arange(SEEDS))


def train_step(loss, optimiser, seed, table, x, carry, number):
    """A step of `lax.scan`; carry: weights, memory of the loss, optimiser's state."""
    weights, memory, opt_state = carry
    rows, labels = samplers.balanced_rows(
        seed, number, table, classes=CLASSES, per_class=PER_CLASS
    )

    def value_of(weights):
        state = dict(params=weights["loss"], memory=memory)
        key = jax.random.fold_in(jax.random.key(seed), number)
        given = dict(key=key) if "key" in loss.uses else {}
        points = encode(weights["encoder"], jnp.asarray(x)[rows])
        value, after = loss.apply(state, points, labels, **given)
        return value, after.get("memory", {})

    (_, memory), slope = jax.value_and_grad(value_of, has_aux=True)(weights)
    updates, opt_state = optimiser.update(slope, opt_state)
    return (optax.apply_updates(weights, updates), memory, opt_state), None


def format_page(results):
    parts = [HEAD]
    for name, rows in results.items():
        head = [*SCORES, "AMI"]
        parts += [f"\n## {name}\n", f"| loss | {' | '.join(head)} |"]
        parts += ["|---" * (len(head) + 1) + "|"]
        for loss, scores in rows.items():
            cells = []
            for key in head:
                values = np.array([s[key] for s in scores])
                spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
                cells.append(f"{values.mean():.3f}{spread}")
            parts.append(f"| {loss} | {' | '.join(cells)} |")
    return "\n".join(parts) + "\n"


HEAD = f"""\
# Two embedding benchmarks without a download

*Written by `python -m scripts.benchmarks.embeddings --out
docs/embedding_benchmarks.md`. Do not edit.*

Your own loss beside the shared ones, in one command (a module of your own on the Python
path, `pip install scikit-learn aeon`):

```
python -m scripts.benchmarks.embeddings --add my_module.my_loss
```

**digits**: 1797 pictures of 8 x 8 pixels from scikit-learn; trained on the digits 0 to
4, tested on 5 to 9. **vowels**: 640 utterances of 9 speakers (JapaneseVowels) from
aeon, 12 cepstral channels stretched to {FRAMES} frames; trained on speakers 1 to 5,
tested on 6 to 9. So every class of the test is one that training never saw, as on CUB,
Cars and SOP in other papers.

All losses have the same encoder ({HIDDEN} hidden units, {DIM} coordinates, length 1),
the same batches ({CLASSES} classes of {PER_CLASS} rows) and {STEPS} steps of Adam at
{RATE:g}. Nothing is chosen: a loss has its default settings, so the table says how it
does as it is, not how well it can do. `siamjax compare` tunes under equal budgets. Mean
and standard deviation over {SEEDS} seeds, cosine of points, [metrics](metrics.md) of
siamjax, k-means with as many clusters as classes for AMI; *input* is the standardised
input itself.

With few classes to train on, an encoder learns what tells these apart and loses the
rest: compare a loss with *input* and with the untrained encoder before anything else.
"""


if __name__ == "__main__":
    main()
