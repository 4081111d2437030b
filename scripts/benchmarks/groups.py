"""Times the training of groups of cells of `siamjax compare` as one program.

  siamjax ingest --captures data/testbed/captures --labels data/testbed/labels.csv \\
    --out runs/testbed
  python -m scripts.benchmarks.groups

Each cell is a training of the default config of a comparison on fold 0 with a seed of
its own. A group of one runs as on a CPU, the others under vmap. The time is that of the
steps; compilation and validation are not in it.
"""

import argparse
import time

import jax
import ml_collections

from configs import compare
from siamjax.comparison import config, protocol, trainer

LOSSES = "triplet", "supcon", "smooth_ap"
SIZES = 1, 4, 16, 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", nargs="+", default=LOSSES)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    given = config.from_dict(short(compare.get_config("testbed"), arguments.steps))
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}\n")
    print("| loss | cells | ms a step of the group | ms a step and cell | all (s) |")
    print("|---|--:|--:|--:|--:|")
    for loss in arguments.losses:
        for size in arguments.sizes:
            begin = time.perf_counter()
            step_ms = 1e3 * seconds(given, loss, size) / arguments.steps
            row = f"{step_ms:.2f} | {step_ms / size:.3f}"
            print(
                f"| `{loss}` | {size} | {row} | {time.perf_counter() - begin:.1f} |",
                flush=True,
            )


def short(full: ml_collections.ConfigDict, steps: int) -> dict:
    """A config of a comparison with few steps, validated once at their end."""
    plain = full.to_dict()
    plain["train"].update(steps=steps, evaluate_every=steps)
    return plain


def seconds(given: config.CompareConfig, loss: str, size: int) -> float:
    """Seconds that the steps of a group take."""
    setting = {head: (loss, {}) for head in given.train.active_heads}
    members = [protocol.Member(0, seed, setting) for seed in range(size)]
    outcomes = trainer.train_cells(given, "testbed", members, vmapped=size > 1)
    return outcomes[0].train_s


if __name__ == "__main__":
    main()
