"""What a comparison writes and says: damage in one line, no interval from too few."""

import dataclasses
import logging
import types

import numpy as np
import pytest
import sqlalchemy

from configs import compare
from siamjax.comparison import (
    analysis,
    final_readout,
    page,
    protocol,
    report,
    run,
    shares,
    studies,
    tables,
    workers,
)
from siamjax.comparison import config as configs
from siamjax.comparison.readouts import NOVEL
from siamjax.data import prepared
from siamjax.experiments import sources
from siamjax.reports import trace
from siamjax.types import DataSet, SiamjaxError, UsageError
from tests import small_data

GARBAGE = b"\x00\xff{not what it was"


@pytest.fixture
def config(tmp_path):
    """On a data set of two sessions, which nothing is trained on."""
    config = compare.get_config()
    write_data(tmp_path, seed=0)
    data = dict(dir=str(tmp_path / "data"))
    config.data_sets = dict(small=dict(data=data, test_conditions=1))
    return configs.from_dict(config)


def write_data(tmp_path, seed, conditions=("blocked", "busy")):
    sessions = tuple(small_data.session(c, c, seed) for c in conditions)
    prepared.write_data_set(
        tmp_path / "data", DataSet(sessions, small_data.KINDS, {}), {}
    )


def read_mark(config, folder):
    final_readout.read_test(config, workers.Place(folder, None), [])


def read_rows(config, folder):
    config = dataclasses.replace(config, folds=1, workers=1)
    cell = final_readout.Cell("small", "whole windows", 0, 0, {}, None)
    final_readout.read_test(config, workers.Place(folder, None), [cell])


@pytest.mark.parametrize(
    "name, read, remedy",
    [
        ("config.json", lambda c, f: protocol.claim_workdir(f, c), "another --workdir"),
        ("data.json", lambda c, f: protocol.claim_workdir(f, c), "another --workdir"),
        ("test_was_read.json", read_mark, "put it back"),
        ("readouts.jsonl", read_rows, "delete the damaged line"),
        (
            "w.msgpack",
            lambda c, f: workers.load_weights(f / "w.msgpack", {}),
            "from a copy",
        ),
        ("rows.csv", lambda c, f: tables.read_csv(f / "rows.csv"), "writes it anew"),
        (
            "s.db",
            lambda c, f: studies.open_storage(f"sqlite:///{f / 's.db'}"),
            "a copy",
        ),
    ],
)
def test_a_damaged_file_is_one_line_with_a_remedy(config, tmp_path, name, read, remedy):
    other = b"a,b\n1\n" if name == "rows.csv" else b"[1]\n"
    for content in (GARBAGE * 100 + b"\n", other):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SiamjaxError, match=remedy) as raised:
            read(config, tmp_path)
        assert not isinstance(raised.value, UsageError)
        assert name in str(raised.value) and "\n" not in str(raised.value)


def test_weights_that_are_gone_are_one_line(tmp_path):
    with pytest.raises(SiamjaxError, match=r"gone.msgpack, .* is not there: put it"):
        workers.load_weights(tmp_path / "gone.msgpack", {})


def test_comparisons_share_a_database_and_do_not_meet(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    study = protocol.Study("small", "tune", "nca")
    for name in "ab":
        protocol.claim_prefix(tmp_path / name)
        place = workers.open_place(tmp_path / name, url)
        opened = studies.open_study(place.store, study, [], place.prefix)
        assert not opened.trials
        studies.queue_settings(opened, [None] * 2)
        # It is kept once the workdir has a config.
        (tmp_path / name / protocol.CONFIG).write_text("{}")
        protocol.claim_prefix(tmp_path / name)
        assert workers.open_place(tmp_path / name, url).prefix == place.prefix
    assert not protocol.study_prefix(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        sqlalchemy.exc.IntegrityError("INSERT", {}, Exception("UNIQUE failed")),
        sqlalchemy.exc.OperationalError("CREATE", {}, Exception("t already exists")),
    ],
)
def test_a_database_whose_tables_others_create_just_then_is_opened_again(
    tmp_path, monkeypatch, error
):
    open_once, errors = studies.optuna.storages.RDBStorage, [error]

    def fail_first(*args, **options):
        if errors:
            raise errors.pop()
        return open_once(*args, **options)

    monkeypatch.setattr(studies.optuna.storages, "RDBStorage", fail_first)
    monkeypatch.setattr(studies, "CREATION_PAUSES_S", (0.0,))
    store = studies.open_storage(f"sqlite:///{tmp_path}/s.db")
    assert store.get_all_studies() == []
    monkeypatch.setattr(studies, "CREATION_PAUSES_S", ())
    errors.append(error)
    with pytest.raises(SiamjaxError, match=r"s\.db"):
        studies.open_storage(f"sqlite:///{tmp_path}/s.db")


def test_a_password_is_not_shown():
    with pytest.raises(UsageError, match=r"postgresql\+x://me:\*\*\*@host") as raised:
        studies.open_storage("postgresql+x://me:secret@host/name")
    assert "secret" not in str(raised.value)


def test_a_database_that_fails_later_is_one_line(tmp_path):
    path = tmp_path / "s.db"
    store = studies.open_storage(f"sqlite:///{path}")
    store.engine.dispose()
    path.write_bytes(GARBAGE * 1000)
    with (
        pytest.raises(SiamjaxError, match=r"not a database.*the same command"),
        studies.database_errors(),
    ):
        studies.open_study(store, protocol.Study("small", "tune", "nca"), [None])


def test_a_lost_or_empty_database_is_said(config, tmp_path, monkeypatch, caplog):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(logging.getLogger("siamjax"), "propagate", True)
    monkeypatch.setattr(run, "run_workers", stop)
    database = tmp_path / run.DATABASE
    for change, says in (
        (lambda: None, 0),  # a new comparison
        (lambda: None, 0),  # one that goes on
        (database.unlink, 1),
        (lambda: database.write_bytes(b""), 2),
    ):
        change()
        with pytest.raises(KeyboardInterrupt):
            run.compare(config, tmp_path)
        assert caplog.text.count("is lost or empty: every setting") == says


def test_a_workdir_is_for_one_content_of_its_data(config, tmp_path):
    workdir, folder = tmp_path / "workdir", str(tmp_path / "data")
    protocol.claim_workdir(workdir, config)
    protocol.claim_workdir(workdir, config)
    assert protocol.list_faults(folder) == ["blocked", "busy"]
    write_data(tmp_path, seed=1, conditions=("blocked", "slow"))
    assert protocol.list_faults(folder) == ["blocked", "slow"]
    with pytest.raises(UsageError, match="other data in small"):
        protocol.claim_workdir(workdir, config)


def test_a_folder_is_made_of_one_source(tmp_path):
    source = dict(name="synthetic", seed=1, conditions=3, sessions=3)
    folder = tmp_path / "made"
    sources.make_if_missing(source, folder, "source")
    sources.make_if_missing(source, folder, "source")
    with pytest.raises(UsageError, match=r"seed': 1.*seed': 2.*remove the"):
        sources.make_if_missing({**source, "seed": 2}, folder, "source")


def test_names_of_strangers_are_safe_in_tables(tmp_path):
    rows = [{"method": "=cmd|'/c'!A0", "x": -1.5}, {"method": "a\x1b[2Jb", "x": 0.1}]
    tables.write_csv(tmp_path / "rows.csv", rows)
    assert "\n'=cmd|'/c'!A0,-1.5\n" in (tmp_path / "rows.csv").read_text()
    read = tables.read_csv(tmp_path / "rows.csv")
    assert [row["method"] for row in read] == [row["method"] for row in rows]
    (_, _, line) = tables._table(["method"], [["a|b\x1b[2J\n"]])
    assert line == r"| a\|b\x1b[2J\n |"
    assert tables._tex("a_{$^~\\}") == (
        r"a\_\{\$\textasciicircum{}\textasciitilde{}\textbackslash{}\}"
    )


def made(repeats, tuning=None):
    """The report of two losses on 4 conditions of 3 captures."""
    r, c, k = np.indices((repeats, 4, 3)).reshape(3, -1)
    rng, losses = np.random.default_rng(0), ("triplet", "own.mine")
    scores = {
        loss: analysis.Scores(
            rng.uniform(size=len(r)), np.full(len(r), 1 / len(r)), c, 3 * c + k, r, 1e3
        )
        for loss in losses
    }
    pairs = analysis.compare_pairs(scores)
    of = dict(
        levels={
            m: {("one_shot", NOVEL): analysis.mean_score(s)} for m, s in scores.items()
        },
        pairs=dict(one_shot=pairs),
        tally=dict(one_shot=analysis.count_verdicts(pairs)),
        ranks=dict(one_shot=analysis.mean_ranks(scores)),
        power=dict(one_shot=analysis.least_differences(pairs)),
        naive={m: analysis.naive_half_width(s) for m, s in scores.items()},
        conditions=4,
        captures=12,
        repeats=repeats,
        training={m: report.Training(m, 10.0, 1.0, 0.0) for m in losses},
    )
    return dict(
        when="today",
        times=1,
        losses=losses,
        data_sets=dict(small=dict(match=of)),
        heads=dict(small={}),
        missing=[],
        tuning=tuning or {},
        shares=[dict.fromkeys(shares.HEADINGS, 1) | dict(host="host-7")],
    )


def texts(found, tmp_path):
    page.write_comparison(tmp_path / "page.html", found, {}, {})
    html = (tmp_path / "page.html").read_text()
    return (
        tables.format_markdown(found),
        tables.format_latex(found),
        html[html.index('"tables"') :],
    )


def test_two_repeats_carry_no_interval_and_three_do(tmp_path):
    for shown in texts(made(repeats=2), tmp_path):
        assert shown.count("(no interval)") >= 2
        assert "2 repeats are too few" in shown
        assert "at least 3 conditions, captures and repeats" in shown
        assert "± inf" not in shown and "Infinity" not in shown
    (row,) = tables.pair_rows(made(repeats=2))
    assert row["low"] == row["p"] == "" and row["verdict"] == "tie"
    for shown in texts(made(repeats=3), tmp_path):
        assert "no interval" not in shown.lower()
    (row,) = tables.pair_rows(made(repeats=3))
    assert row["low"] < row["difference"] < row["high"] and 0 < row["p"] <= 1


def untuned(embeddings, labels, *, squared=True):
    return embeddings.sum()


def around(embeddings, labels, *, reach=0.5):
    return reach * embeddings.sum()


def test_a_loss_that_is_not_tuned_is_told_everywhere(tmp_path):
    config = configs.from_dict(compare.get_config())
    losses = ("triplet", f"{__name__}.untuned", f"{__name__}.around", "npairs:")
    losses += ("triplet:margin=0.2,mining=all",)
    config = dataclasses.replace(config, losses=losses)
    tuning = report.tuning_by_loss(config)
    marks = {loss: found.mark for loss, found in tuning.items()}
    assert marks == {
        f"{__name__}.untuned": "not tuned",
        f"{__name__}.around": "default ranges",
        "npairs:": "not tuned",
        "triplet:margin=0.2,mining=all": "not tuned",
    }
    assert "reach 0.05 to 5" in tuning[f"{__name__}.around"].line
    one = {"own.mine": tuning[f"{__name__}.untuned"]}
    for shown in texts(made(3, one), tmp_path):
        assert "own.mine (not tuned)" in shown and "is NOT TUNED" in shown
    assert "host-7" in (tmp_path / "page.html").read_text()


def test_a_training_that_diverged_has_no_film(config, tmp_path, monkeypatch):
    def retrace(config, workdir, cell):
        points = np.full((1, 4, 2), np.nan if cell.method == "bad" else 1.0)
        return trace.Trace({}, np.zeros(1, int), points)

    monkeypatch.setattr(run, "_retrace", retrace)
    cells = [
        types.SimpleNamespace(
            data_set="small", method=method, about=about, repeat=0, fold=0
        )
        for method, about in (("bad", "x"), ("good", "x"), ("baseline", None))
    ]
    assert set(run.make_films(config, tmp_path, cells)) == {("small", "good")}
