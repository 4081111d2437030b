"""From captures to results in one go: ingest, counts in shards, train, evaluate."""

import json

import numpy as np

from siamjax.data import counts_on_disk
from tests import commands, small_data
from tests import packet_builder as build

CAPTURES, SPAN_S, ONSET_S = 4, 60, 30
# Seconds between calls after the onset; before it, those of normal. What `small_data`
# trains without are `busy` and `slow`.
EVERY_S = {"normal": 0.5, "overload": 0.1, "busy": 0.2, "slow": 2.0}


def capture(condition, number):
    """A pcap of calls, of which a fault changes the rate."""
    rng = np.random.default_rng(number)
    before = np.arange(0, ONSET_S, EVERY_S["normal"])
    starts_s = np.append(before, np.arange(ONSET_S, SPAN_S, EVERY_S[condition]))
    packets = []
    for i, start_s in enumerate(starts_s + rng.uniform(0, 0.05, len(starts_s))):
        start_ns = build.START_NS + int(start_s * 1e9)
        packets += build.call(f"{condition}-{number}-{i}", start_ns)
    return build.pcap(sorted(packets))


def test_captures_become_results_of_a_run_that_reads_shards(tmp_path, monkeypatch):
    folder = tmp_path / "captures"
    folder.mkdir()
    rows = ["file,condition,onset_s,clear_s"]
    for condition in EVERY_S:
        for number in range(CAPTURES):
            name = f"{condition}_{number}.pcap"
            (folder / name).write_bytes(capture(condition, number))
            onset_s = "" if condition == "normal" else ONSET_S
            rows.append(f"{name},{condition},{onset_s},")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    prepared, workdir, shards = (tmp_path / name for name in ("set", "run", "shards"))
    done = commands.run(
        "ingest",
        f"--captures={folder}",
        f"--labels={folder}/labels.csv",
        f"--out={prepared}",
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(counts_on_disk, "SHARD_BYTES", 1 << 16)
    with small_data.one_device():
        done = commands.run(
            "train",
            f"--workdir={workdir}",
            *small_data.overrides(prepared),
            "--config.batch.made_up=0",
            "--config.trace_frames=0",
            f"--config.data.counts_dir={shards}",
        )
        assert done.returncode == 0, done.stderr
        assert len(list(shards.glob("*/*.f32"))) > 1
        results = workdir / "results.json"
        trained = results.read_bytes()
        results.unlink()
        done = commands.run("evaluate", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    # Evaluation after the training and by itself say the same.
    assert results.read_bytes() == trained
    report = json.loads(trained)
    assert report["step"] == 8
    assert report["identification"]["known"]["captures"] > 0
