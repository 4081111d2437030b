"""Writes what torch's BatchNorm1d gives in three training steps.

  python -m scripts.benchmarks.peer_norm tests/norm_values.json

Needs torch, which the tests do not: they read the file.
"""

import argparse
import json

import numpy as np
import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="the file that is written")
    write(parser.parse_args().path)


def write(path):
    layer = torch.nn.BatchNorm1d(3, affine=False, momentum=0.1, eps=1e-5)
    rng = np.random.default_rng(0)
    batches = rng.normal(size=(3, 4, 5, 3)) * [1, 10, 0.1] + [0, 50, -2]
    batches = np.round(batches, 3)
    for batch in batches:
        x = torch.tensor(batch, dtype=torch.float32).transpose(1, 2)  # [B, F, T]
        output = layer(x).transpose(1, 2)
    values = dict(
        torch=torch.__version__,
        momentum=0.1,
        batches=batches.tolist(),
        last_output=output.tolist(),
        running_mean=layer.running_mean.tolist(),
        running_var=layer.running_var.tolist(),
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
