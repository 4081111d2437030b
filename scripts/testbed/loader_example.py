"""Load the networks with NumPy alone, and name faults from one example.

    python scripts/testbed/loader_example.py data

An example to copy from. It reads labels.csv, counts.csv.xz and split.csv, cuts windows
of 16 s, and names those of the test captures by the nearest of one example of each
condition, which comes from the training captures of the same network.
"""

import csv
import lzma
import sys
from pathlib import Path

import numpy as np

BIN_S = 0.5  # of counts.csv.xz
WINDOW = 32  # bins of a window: 16 s
HOP = 8  # bins from one window to the next: 4 s
BASELINE = 48  # bins at the beginning of a capture without a fault: 24 s
DRAWS = 50  # of the examples


def load_counts(folder):
    """{file: counts `[bins, columns]`} of a network, and the names of the columns."""
    with lzma.open(folder / "counts.csv.xz", "rt") as table:
        header = next(table).strip().split(",")[2:]
        rows, files = [], []
        for line in table:
            file, _, *cells = line.rstrip("\n").split(",")
            files.append(file)
            rows.append([float(cell) if cell else np.nan for cell in cells])
    rows, files = np.array(rows, np.float32), np.array(files)
    return {file: rows[files == file] for file in dict.fromkeys(files)}, header


def load_labels(folder):
    """{file: [(condition, onset_s, clear_s)]}; of a normal capture an empty list."""
    labels = {}
    with open(folder / "labels.csv", newline="") as table:
        for row in csv.DictReader(table):
            faults = labels.setdefault(row["file"], [])
            if row["condition"] != "normal":
                clear_s = float(row["clear_s"] or "inf")
                faults.append((row["condition"], float(row["onset_s"]), clear_s))
    return labels


def load_split(data):
    """{(network, file): (part, novel)}; split.py says what they mean."""
    with open(data / "split.csv", newline="") as table:
        return {
            (row["network"], row["file"]): (row["part"], row["novel"])
            for row in csv.DictReader(table)
        }


def make_features(counts):
    """`[bins, columns]`: log counts, against the capture's own normal beginning."""
    features = np.log1p(np.nan_to_num(counts))
    normal = features[:BASELINE]
    return (features - normal.mean(0)) / (normal.std(0) + 0.3)


def cut_windows(features, faults):
    """Windows `[N, WINDOW, columns]` behind the baseline, and their conditions.

    A window that is partly inside a fault, or after one, has no condition and is
    left out.
    """
    windows, conditions = [], []
    for first in range(BASELINE, len(features) - WINDOW + 1, HOP):
        begin_s, end_s = first * BIN_S, (first + WINDOW) * BIN_S
        condition = "normal" if all(end_s <= fault[1] for fault in faults) else ""
        for name, onset_s, clear_s in faults:
            if onset_s <= begin_s and end_s <= clear_s:
                condition = name
        if condition:
            windows.append(features[first : first + WINDOW])
            conditions.append(condition)
    return windows, conditions


def load_network(data, network):
    """Windows `[N, WINDOW, columns]`, conditions `[N]`, parts `[N]` of a network."""
    counts, _ = load_counts(data / network)
    labels, split = load_labels(data / network), load_split(data)
    windows, conditions, parts = [], [], []
    for file, faults in labels.items():
        part, _ = split[network, file]
        if part == "stream":
            continue
        of_file = cut_windows(make_features(counts[file]), faults)
        windows += of_file[0]
        conditions += of_file[1]
        parts += [part] * len(of_file[1])
    return np.array(windows), np.array(conditions), np.array(parts)


def one_shot_recall(windows, conditions, parts, draws=DRAWS):
    """Mean recall of the test windows, by the nearest of one example of each condition.

    A window is described by the mean and the deviation of each column; the nearest has
    the largest cosine.
    """
    points = np.concatenate([windows.mean(1), windows.std(1)], axis=1)
    points /= np.linalg.norm(points, axis=1, keepdims=True) + 1e-9
    names, rng = np.unique(conditions), np.random.default_rng(0)
    asked = np.flatnonzero(parts == "test")
    recalls = []
    for _ in range(draws):
        examples = [
            rng.choice(np.flatnonzero((parts == "train") & (conditions == name)))
            for name in names
        ]
        nearest = names[np.argmax(points[asked] @ points[examples].T, axis=1)]
        right = nearest == conditions[asked]
        recalls.append(
            np.mean([right[conditions[asked] == name].mean() for name in names])
        )
    return float(np.mean(recalls)), len(names)


def main():
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "data")
    for folder in sorted(path.parent for path in data.glob("*/counts.csv.xz")):
        windows, conditions, parts = load_network(data, folder.name)
        recall, ways = one_shot_recall(windows, conditions, parts)
        print(
            f"{folder.name}: {len(windows)} windows, {ways} conditions, recall of "
            f"the test captures from one example each {recall:.3f}"
        )


if __name__ == "__main__":
    main()
