"""Folders of captures with a table of labels, and their ingest."""

import hashlib

from siamjax.data import prepare
from siamjax.data.local_reading import LocalReader
from tests import packet_builder as build

HEAD = "file,condition,onset_s,clear_s\n"


def lay_out(folder, files, rows):
    folder.mkdir()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "labels.csv").write_text(HEAD + "".join(row + "\n" for row in rows))
    return folder


def run(folder, out, **options):
    lines = []
    options = {"reader": LocalReader(1), **options}
    prepare.prepare_packets(
        folder, folder / "labels.csv", out, say=lines.append, **options
    )
    return "\n".join(lines)


def good(index=0):
    return build.pcap(build.call(f"call-{index}", build.START_NS + index))


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
