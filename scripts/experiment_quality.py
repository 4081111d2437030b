"""Cross-fitted one-shot recall of every condition, novel and known, of any setting.

    python scripts/experiment_quality.py --workdir=runs/quality \
        --setting default --setting wide:encoder.hidden=(128,)

Each capture is in a test fold once; each fault is novel equally often. A cell is one
training: setting x fold x choice of novel conditions x seed. A cell that is done is not
done again.
"""

import ast
import functools
import hashlib
import itertools
import json
import os
import pathlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from siamjax import cli

_WORKDIR = flags.DEFINE_string("workdir", "runs/quality", "Where cells are kept.")
_CONFIG = flags.DEFINE_string("base", "default", "Module of configs/ to start from.")
_SETTINGS = flags.DEFINE_multi_string(
    "setting", ["default"], "NAME or NAME:field=value;field=value, of the config."
)
_CHOICES = flags.DEFINE_integer("choices", 6, "Choices of novel conditions, of 6.")
_FOLDS = flags.DEFINE_integer("folds", 4, "Folds to take as test, of 4.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count(), "Processes of one thread.")
_STEPS = flags.DEFINE_list("at", [], "Also judge after so many steps.")
_VALID = flags.DEFINE_bool("valid", True, "Judge on validation; else on test captures.")

CELLS = "cells.jsonl"
# What is no Siamese network.
SIMPLE = ("whole windows", "mean and deviation", "untrained match", "untrained view")

# Three faults a choice; over the six each of the eleven is novel once or twice.
CHOICES = (
    ("busy_reject", "delay", "packet_loss"),
    ("auth_failure", "callee_down", "link_flap"),
    ("blocked", "registration_storm", "server_overload"),
    ("capacity_limit", "delay", "invite_flood"),
    ("auth_failure", "busy_reject", "link_flap"),
    ("callee_down", "packet_loss", "server_overload"),
)
# Beside each, two others that choose steps and settings; none is novel in its choice.
VALID = (
    ("link_flap", "server_overload"),
    ("delay", "registration_storm"),
    ("packet_loss", "callee_down"),
    ("busy_reject", "auth_failure"),
    ("blocked", "capacity_limit"),
    ("invite_flood", "delay"),
)


def main(argv):
    cli.no_arguments(argv)
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    cells = [
        dict(
            setting=setting, base=_CONFIG.value, fold=fold, choice=choice, seed=seed,
            valid=_VALID.value, at=[int(a) for a in _STEPS.value],
        )
        for setting, choice, seed, fold in itertools.product(
            _SETTINGS.value,
            range(_CHOICES.value),
            range(_SEEDS.value),
            range(_FOLDS.value),
        )
    ]  # fmt: skip
    path = workdir / CELLS
    done = _read(path)
    todo = [cell for cell in cells if _key(cell) not in done]
    print(
        f"{len(cells)} cells, {len(todo)} to do with {_WORKERS.value} workers",
        flush=True,
    )
    _run(todo, workdir)
    done = _read(path)
    table = [summary(setting, [done[_key(c)] for c in cells if c["setting"] == setting])
             for setting in _SETTINGS.value]  # fmt: skip
    for line in (line for part in table for line in part):
        print(line)


def _run(todo, workdir):
    """Does the cells, `_WORKERS` at a time, and appends each result to the file."""
    flags_now = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags_now} --xla_cpu_multi_thread_eigen=false"
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.time()
    with ProcessPoolExecutor(_WORKERS.value) as pool, (
        workdir / CELLS
    ).open("a") as file:
        jobs = [pool.submit(run_cell, cell, workdir) for cell in todo]
        for i, job in enumerate(as_completed(jobs), 1):
            file.write(json.dumps(job.result()) + "\n")
            file.flush()
            left = (time.time() - start) / i * (len(todo) - i)
            print(
                f"\r{i}/{len(todo)}, {left / 60:.0f} min left ", end="", file=sys.stderr
            )


def run_cell(cell, workdir):
    """Trains one cell, keeps its weights and judges it: the cell with its rows."""
    import flax
    import jax

    from siamjax.training import devices, loop, state

    config = configure(cell)
    splits = _splits(_frozen(config.data))
    parts, run, judge = _programs(
        _frozen(config, without=("seed", "data")), config, splits
    )
    data = loop.place(splits, config.batch.batch_from, parts, config.seed)
    now = jax.device_put(state.create(config.seed, parts), devices.whole(parts.mesh))
    role = "valid" if cell["valid"] else "test"
    first = judge(now, splits, role, 0, config)
    rows = [row._replace(method=f"untrained {row.method}") for row in first]
    at = 0
    for stop in sorted({*cell["at"], config.steps}):
        now, _ = run(now, stop - at, data)
        at = stop
        rows += judge(now, splits, role, at, config)
    weights = dict(params=now.params["encoder"], stats=now.batch_stats)
    path = workdir / "weights" / f"{digest(cell)}.msgpack"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(flax.serialization.to_bytes(jax.device_get(weights)))
    return dict(cell, rows=rows)


def configure(cell):
    """The config of a cell."""
    import importlib

    config = importlib.import_module(f"configs.{cell['base']}").get_config()
    _, _, changes = cell["setting"].partition(":")
    for change in filter(None, changes.split(";")):
        name, _, value = change.partition("=")
        *path, last = name.split(".")
        target = functools.reduce(lambda c, key: c[key], path, config)
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            pass
        if last not in target:
            raise KeyError(f"config has no {name}")
        target[last] = value
    config.seed = cell["seed"]
    folds = config.data.folds
    config.data.test_fold = cell["fold"]
    config.data.valid_fold = (cell["fold"] + 1) % folds
    config.data.novel = CHOICES[cell["choice"]]
    # The runs behind the final table train on those that chose the settings, too.
    config.data.novel_valid = VALID[cell["choice"]] if cell["valid"] else ()
    return config


@functools.lru_cache(4)
def _splits(frozen):
    from ml_collections import ConfigDict

    from siamjax.data.splits import open_splits
    from siamjax.training.restored import _tuples

    return open_splits(ConfigDict(_tuples(json.loads(frozen))))


_CACHE = {}


def _programs(frozen, config, splits):
    """Parts, compiled run and judge, for cells that differ in seed and split alone."""
    from siamjax.training import devices, embed, step

    if frozen not in _CACHE:
        mesh = devices.mesh(devices.prepare("cpu")[:1])
        parts = step.build(
            config, columns=splits.columns, classes=splits.known, mesh=mesh
        )
        run = step.compile_run(parts)
        embedder = embed.embedder(parts.encoder, splits.scaler)
        _CACHE[frozen] = parts, run, functools.partial(_judge, parts, embedder)
    return _CACHE[frozen]


def _judge(parts, embedder, now, splits, role, at, config):
    """Rows of all heads; after the last step also of other readings and baselines."""
    import numpy as np

    from siamjax.data import features
    from siamjax.evaluation import baselines, cross_fit, one_shot
    from siamjax.identification import enrol

    novel = splits.novel_valid if role == "valid" else splits.novel
    windows = splits.of(role, splits.conditions[: splits.known] + novel)
    counts, baseline = enrol.inputs(splits, windows, config.data.bins)
    final = parts.encoder.finalise(now.batch_stats)
    embed = functools.partial(embedder, now.params["encoder"], final)
    points, shots = dict(embed(counts, baseline)), (1,)
    if at == config.steps:
        x = np.asarray(features.features(counts, baseline, splits.scaler))
        simple = {name: point(x) for name, point in baselines.BASELINES.items()}
        main = points[config.decide_with]
        points["beside moments"] = _beside(main, simple["mean and deviation"])
        points["from normal"] = main - _normal(splits, windows, embed, config)
        points, shots = points | simple, (1, 5)
    return [
        row
        for many in shots
        for method, of in points.items()
        for row in cross_fit.rows(
            one_shot.one_shot(
                of, windows.condition, windows.session, draws=config.draws, shots=many
            ),
            windows=windows, names=splits.conditions, sessions=splits.sessions,
            novel=novel, step=at, shots=many, method=method,
        )
    ]  # fmt: skip


def _beside(points, moments, weight=0.5):
    """The learnt point with the simple one beside it, both of about length 1."""
    import numpy as np

    length = np.sqrt((moments**2).sum(-1).mean())
    return np.concatenate([points, weight * moments / length], -1)


def _normal(splits, windows, embed, config):
    """`[N, E]` where each window's session lies in its own normal time."""
    import numpy as np

    from siamjax.identification import enrol
    from siamjax.types import Windows

    first = round(config.data.baseline_s / config.data.bin_s)
    starts = np.arange(0, first - config.data.bins + 1, 4)
    own, place = np.unique(windows.session, return_inverse=True)
    early = Windows(np.repeat(own, len(starts)), np.tile(starts, len(own)), None)
    points = embed(*enrol.inputs(splits, early, config.data.bins))[config.decide_with]
    return points.reshape(len(own), len(starts), -1).mean(1)[place.reshape(-1)]


def summary(setting, cells):
    """Lines: recall as known and as novel of each method, beside each baseline."""
    from siamjax.evaluation import cross_fit, statistics

    yield f"{setting} ({len(cells)} cells)"
    rows = [cross_fit.Row(*row) for cell in cells for row in cell["rows"]]
    last = max(row.step for row in rows)
    for step, shots in sorted({(row.step, row.shots) for row in rows}):
        if step == 0:
            continue
        # What is judged at the end alone, and untrained at the start alone, stands
        # beside the end.
        here = [
            row for row in rows
            if row.shots == shots and (row.step == step or row.step == 0)
        ]  # fmt: skip
        yield f" after {step} steps, {shots} examples of each condition"
        for role, of in cross_fit.tables(here).items():
            names = sorted({row.condition for row in here if row.role == role})
            for method, table in of.items():
                value, low, high, captures = statistics.interval(table)
                each = cross_fit.by_condition(table)
                told = " ".join(
                    f"{n} {r:.2f}" for r, n in sorted(zip(each, names)) if r < 0.98
                )
                yield (
                    f"  {role} {method:20s} {value:.3f} [{low:.3f}, {high:.3f}]"
                    f"  {told}"
                )
            if step == last:
                yield from _differences(role, of)


def _differences(role, of):
    from siamjax.evaluation import cross_fit

    simple = [name for name in of if name in SIMPLE]
    for method in (name for name in of if name not in SIMPLE):
        for baseline in simple:
            d = cross_fit.less(of[method], of[baseline])
            yield (
                f"   {role} {method} less {baseline}: "
                f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
            )


def _frozen(config, without=()):
    value = {k: v for k, v in config.to_dict().items() if k not in without}
    return json.dumps(value, sort_keys=True, default=list)


def digest(cell):
    """Names the weights of a cell."""
    return hashlib.sha1(_key(cell).encode()).hexdigest()[:16]


def _key(cell):
    return json.dumps({k: v for k, v in cell.items() if k != "rows"}, sort_keys=True)


def _read(path):
    if not path.exists():
        return {}
    cells = [
        json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")
    ]
    return {_key(cell): cell for cell in cells}


if __name__ == "__main__":
    cli.run(main)
