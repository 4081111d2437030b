"""Write the counts of all captures of a network as one table, DATA/counts.csv.xz.

    python scripts/testbed/export_counts.py data/access

A row is one bin of one capture: its file, its begin in seconds, and the columns of its
protocol (see siamjax/data/columns.py). An empty cell is a latency without an answer in
the bin. Who reads the table needs no siamjax: see loader_example.py. Needs siamjax, and
tshark for other protocols than SIP.
"""

import argparse
import csv
import io
import lzma
from pathlib import Path

import numpy as np
from networks import NETWORKS

from siamjax.capture.events import read_events
from siamjax.data import columns, counts

BIN_S = 0.5


def count_capture(path, protocol):
    """Counts `[bins, columns]` of one capture."""
    events, kinds, report = read_events(path, protocols=[protocol])
    return counts.bin_events(events, kinds, report.span_s, BIN_S, [protocol])


def write_counts(folder):
    files = sorted(path.name for path in (folder / "captures").glob("*.pcap.xz"))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    protocol = NETWORKS[folder.name].protocol
    names = [column.name for column in columns.event_columns([protocol])]
    writer.writerow(["file", "start_s", *names])
    for file in files:
        for i, row in enumerate(count_capture(folder / "captures" / file, protocol)):
            cells = ["" if np.isnan(value) else f"{value:.5g}" for value in row]
            writer.writerow([file, f"{i * BIN_S:g}", *cells])
    data = lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME)
    (folder / "counts.csv.xz").write_bytes(data)
    print(f"{folder / 'counts.csv.xz'}: {len(files)} captures, {len(data)} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="such as data/access")
    for folder in parser.parse_args().folders:
        write_counts(folder)


if __name__ == "__main__":
    main()
