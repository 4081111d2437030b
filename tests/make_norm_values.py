"""Writes norm_values.json: three training steps of torch's BatchNorm1d.

Run once where torch is installed: python tests/make_norm_values.py
"""

import json
import pathlib

import numpy as np
import torch


def main():
    layer = torch.nn.BatchNorm1d(3, affine=False, momentum=0.1, eps=1e-5)
    rng = np.random.default_rng(0)
    batches = rng.normal(size=(3, 4, 5, 3)) * [1, 10, 0.1] + [0, 50, -2]
    batches = np.round(batches, 3)
    for batch in batches:
        x = torch.tensor(batch, dtype=torch.float32).transpose(1, 2)  # [B, F, T]
        out = layer(x).transpose(1, 2)
    values = dict(
        torch=torch.__version__,
        momentum=0.1,
        batches=batches.tolist(),
        last_output=out.tolist(),
        running_mean=layer.running_mean.tolist(),
        running_var=layer.running_var.tolist(),
    )
    path = pathlib.Path(__file__).with_name("norm_values.json")
    path.write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
