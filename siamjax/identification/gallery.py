"""Gathers what there is to see of a run, as plain data for `reports.page`."""

import base64
import json
import pathlib
import time

import numpy as np

from siamjax.data import features
from siamjax.data.splits import open_splits
from siamjax.evaluation import results as evaluation_results
from siamjax.identification import decide, enrol
from siamjax.identification.timeline import UNKNOWN
from siamjax.reports import board, film, page, plots, scalars, trace
from siamjax.training import checkpoints, restored
from siamjax.types import TEST, SiamjaxError

REPORT = "report.html"

# Mistakes shown, the worst first.
MISTAKES = 12


def visualize(workdir, *, frames=300):
    """Writes report.html, figures/ (PNG and SVG) and the film of a run.

    Args:
      workdir: of siamjax-train; what it has not come to yet is left out.
      frames: of the film; 0: none.
    Raises:
      SiamjaxError: workdir holds no run.
    """
    workdir = pathlib.Path(workdir)
    data = gather(workdir)
    page.write(workdir / REPORT, data)
    drawn, traced = figures(workdir / "figures", data), trace.read(workdir)
    written = [workdir / REPORT, *drawn]
    board.write(
        workdir / "board",
        config=data["config"],
        traced=traced,
        results=data.get("results"),
        text=data.get("results_text", ""),
        pictures=[path for path in drawn if path.name == "confusion.png"],
    )
    if frames and traced is not None:
        written += film.write(workdir / "film", traced, data["curves"], count=frames)
    for path in written:
        print(path)


def follow(workdir, every_s=3.0):
    """Writes report.html anew as training goes on, until its evaluation is there."""
    workdir, before = pathlib.Path(workdir), None
    while not evaluated(workdir):
        now = [
            path.stat().st_mtime_ns
            for path in (workdir / trace.FILE, workdir / scalars.FILE)
            if path.exists()
        ]
        if now != before:
            page.write(workdir / REPORT, gather(workdir), follow=every_s)
            if before is None:
                print(f"open {workdir / REPORT}: it follows the training", flush=True)
            before = now
        time.sleep(every_s)


def evaluated(workdir):
    """Whether the results are those of the run as it is now."""
    results, traced = workdir / "results.json", workdir / trace.FILE
    return results.exists() and (
        not traced.exists() or results.stat().st_mtime_ns >= traced.stat().st_mtime_ns
    )


def figures(folder, data):
    """Draws what `data` has as PNG and SVG; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    novel, drawn = page.novel_conditions(data), {}
    if data["curves"]:
        drawn["curves"] = lambda path: plots.curves(path, data["curves"])
    if "results" in data:
        found = data["results"]
        shots, part = next(iter(found["shots"].items()))
        title = f"{found['main']}, {shots} example of each condition"
        drawn["confusion"] = lambda path: plots.confusion(
            path, part["confusion"], list(found["conditions"]), novel=novel, title=title
        )
    if "timelines" in data:
        drawn["timelines"] = lambda path: plots.timelines(
            path, data["timelines"], novel
        )
    if (traced := trace.read(folder.parent)) is not None:
        drawn["embedding"] = lambda path: plots.cube(
            path, traced.points[-1], traced.about["conditions"], novel=novel,
            title=f"Windows of traffic at step {traced.steps[-1]}",
        )  # fmt: skip
    paths = [folder / f"{name}.{kind}" for name in drawn for kind in ("png", "svg")]
    for path in paths:
        drawn[path.stem](path)
    return paths


def gather(workdir):
    """Page data of a run, as far as it has come: see `reports.page`.

    Raises:
      SiamjaxError: workdir holds no run.
    """
    workdir = pathlib.Path(workdir)
    if not (workdir / "config.json").exists():
        raise SiamjaxError(
            f"{workdir} holds no run: make one with siamjax-train --workdir {workdir}"
        )
    config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    data = dict(
        title=workdir.resolve().name, config=config, curves=scalars.read(workdir)
    )
    if (traced := trace.read(workdir)) is not None:
        data["trace"] = page.trace_data(traced)
    if evaluated(workdir):
        found = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
        data["results"] = found
        data["results_text"] = evaluation_results.table(found)
        data |= look(workdir, found)
    data["facts"] = facts(data)
    return data


def facts(data):
    """What a reader asks first: version, step, data, losses."""
    config, found = data["config"], data.get("results", {})
    out = {"version": found.get("version", "")}
    if found:
        out["best checkpoint"] = f"step {found['step']}"
        out["test"] = f"{found['windows']} windows of {found['captures']} captures"
    out["data"] = config["data"]["dir"]
    out["seed"] = config["seed"]
    for name, head in config["heads"].items():
        if head:
            out[f"head {name}"] = f"{head['dim']} dimensions, {head['loss']}"
    return {name: value for name, value in out.items() if value != ""}


def look(workdir, found):
    """Timelines of the test captures and pictures of their traffic."""
    run = restored.open_run(workdir, checkpoints.BEST)
    splits = open_splits(run.config.data)
    chosen, rule = enrol.stored(run)
    right = {row["capture"]: row["right"] for row in found["identification"]}
    return dict(
        timelines=timelines(run, splits, chosen, rule, right),
        **pictures(run, splits, chosen, rule),
    )


def timelines(run, splits, chosen, rule, right):
    """For each test capture what was, and what `identify` says by default."""
    origins = [f"{place.capture}@{place.start_s:g}" for place in chosen.places]
    out = []
    for i in np.flatnonzero(splits.role == TEST):
        seen, order = enrol.session_evidence(run, splits, i, chosen)
        spans = decide.timeline(seen, order, origins, rule)
        name = splits.sessions[i]
        out.append(
            page.timeline(
                name, spans, splits.labels[i], end_s=float(seen.end_s),
                right=right.get(name),
            )
        )  # fmt: skip
    return out


def pictures(run, splits, chosen, rule):
    """Traffic of each condition, and of the worst mistakes beside their examples."""
    windows = splits.of(TEST)
    counts, baseline = enrol.inputs(splits, windows, run.config.data.bins)
    points = run.embed(counts, baseline)[run.config.decide_with]
    z = np.asarray(features.features(counts, baseline, run.scaler))
    of_examples = run.embed(chosen.counts, chosen.baseline)[run.config.decide_with]
    z_examples = np.asarray(
        features.features(chosen.counts, chosen.baseline, run.scaler)
    )
    gap = np.sqrt(((points[:, None] - of_examples[None]) ** 2).sum(-1))  # [N, X]
    names = [splits.conditions[c] for c in windows.condition]

    def window(i):
        return dict(
            condition=names[i],
            capture=splits.sessions[windows.session[i]],
            start_s=float(windows.start[i] * run.config.data.bin_s),
            traffic=_bytes(z[i]),
        )

    def example(j):
        place = chosen.places[j]
        return dict(place._asdict(), traffic=_bytes(z_examples[j]))

    shown = [example(j) for j in range(len(chosen.places))]
    for name in dict.fromkeys(names):
        if name not in chosen.names:  # novel: its most typical window
            rows = np.flatnonzero(np.array(names) == name)
            among = np.linalg.norm(points[rows][:, None] - points[rows], axis=-1)
            shown.append(window(rows[among.sum(1).argmin()]))
    mistakes = [
        dict(
            window=window(i),
            named=named,
            distance=float(gap[i].min()),
            example=example(int(gap[i].argmin())),
        )
        for i, named in worst(gap, names, windows.session, chosen.names, rule.unknown)
    ]
    return dict(
        columns=[column.name for column in splits.columns],
        clip=float(run.scaler.clip),
        bin_s=float(run.config.data.bin_s),
        pictures=shown,
        mistakes=mistakes,
    )


def worst(gap, names, sessions, of_examples, unknown):
    """`[(window, what it was named)]` of wrong decisions, the most confident first.

    Of one session and one wrong name only the worst is given.

    A window of a condition with an example is wrong when it is named otherwise, one of
    another condition when it is not named unknown.

    Args:
      gap: `[N, X]` distances of windows to examples.
      names: N true conditions.
      sessions: `[N]` int.
      of_examples: X conditions.
      unknown: the distance beyond which a window is named unknown.
    """
    found = []
    for i, row in enumerate(gap):
        nearest = row.min()
        named = of_examples[int(row.argmin())] if nearest <= unknown else UNKNOWN
        true = names[i] if names[i] in of_examples else UNKNOWN
        if named != true:
            own = [d for d, name in zip(row, of_examples) if name == true] or [unknown]
            margin = min(*own, np.inf) - min(nearest, unknown)
            found.append((-float(margin), i, named))
    first = {}
    for _, i, named in sorted(found):
        first.setdefault((sessions[i], named), (i, named))
    return list(first.values())[:MISTAKES]


def _bytes(z):
    """Features `[T, F]` of at most some deviations as signed bytes, 127 the largest."""
    largest = max(float(np.abs(z).max()), 1e-9)
    scaled = np.round(z / largest * 127).astype(np.int8)
    return dict(
        largest=largest,
        shape=list(z.shape),
        data=base64.b64encode(scaled.tobytes()).decode(),
    )
