"""Which names the windows of novel conditions get.

    python -m scripts.experiments.confusions runs/final

Reads the cells of the setting `default` that quality.py --novalid wrote into the
folder. Prints for each novel condition the names that its test windows get.
"""

import argparse

import numpy as np

from scripts.experiments import quality_cells
from siamjax.evaluation import one_shot

TOLD = 0.01  # a name with a smaller share of the windows is not listed


def main(workdir):
    by_condition = {}
    for cell in quality_cells.read_final(workdir):
        if cell["conditions"] == quality_cells.ALL:
            for condition, named in confusions(cell, workdir).items():
                by_condition.setdefault(condition, []).append(named)
    for condition, cells in sorted(by_condition.items()):
        mean = {name: np.mean([named[name] for named in cells]) for name in cells[0]}
        told = sorted(mean.items(), key=lambda pair: -pair[1])
        shares = ", ".join(f"{n} {share:.2f}" for n, share in told if share >= TOLD)
        print(f"{condition} ({len(cells)} cells): {shares}")


def confusions(cell, workdir):
    """`{novel condition: {name: share of its windows}}` of a cell, one example each."""
    embed, config, splits = quality_cells.trained(cell, workdir)
    windows = splits.windows_of("test", splits.conditions.names)
    inputs = splits.inputs(windows)
    judged = one_shot.recognise(
        embed(*inputs)[config.deciding_head],
        windows.condition,
        windows.session,
        draws=config.draws,
    )
    names = [splits.conditions.names[c] for c in judged.classes]
    return {
        name: dict(zip(names, judged.confusion[names.index(name)]))
        for name in splits.conditions.novel
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", help="the folder that quality.py wrote")
    main(parser.parse_args().workdir)
