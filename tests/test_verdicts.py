"""No verdict without evidence: what identify says of captures it could not read."""

import json
import pickle
import types

import numpy as np
import pytest

from siamjax.data import columns, reading
from siamjax.identification import (
    adapting,
    decide,
    enrol,
    examples,
    grouping,
    identify,
    learning,
    readings,
    references,
    rules,
    sessions,
    span_lines,
    timeline,
    weighing,
)
from siamjax.inference import runs
from siamjax.types import Baseline, SiamjaxError, UsageError
from tests import fake_run
from tests import packet_builder as build

BASELINE_S, SPAN_S = fake_run.BASELINE_S, 40
RULE = rules.Rule(unknown=5.0, penalty=1.0, onset_s=0.0, clear_s=0.0)
S = 10**9


@pytest.fixture
def run(monkeypatch, tmp_path):
    """What identify needs of a run; the mean feature replaces the encoder."""
    trained = fake_run.make_run(tmp_path / "run")
    monkeypatch.setattr(runs, "open_run", lambda workdir: trained)
    enrolment = fake_run.examples_of(trained), RULE
    monkeypatch.setattr(enrol, "read_enrolment", lambda opened: enrolment)
    return trained


def calls(first_s=0, end_s=SPAN_S):
    """A call each second, of seven messages, as `(time_ns, frame)`."""
    return [
        (build.START_NS + second * S + (time_ns - build.START_NS) // 4, frame)
        for second in range(first_s, end_s)
        for time_ns, frame in build.call(f"call-{second}", build.START_NS)
    ]


def others(frame, first_s=0, end_s=SPAN_S):
    """The same frame twice a second."""
    return [
        (build.START_NS + half * S // 2, frame)
        for half in range(2 * first_s, 2 * end_s)
    ]


def in_ipsec(records):
    """The same encrypted, for which any bytes will do."""
    return [
        (time_ns, build.ethernet(build.ipv4(frame[:4:-1], protocol=50, ident=0)))
        for time_ns, frame in records
    ]


ARP = build.ethernet(b"\0" * 28, 0x0806)
TCP = build.ethernet(build.ipv4(b"\0" * 40, protocol=6))
HEP = build.ethernet(build.ipv4(build.udp(b"HEP3" + b"\0" * 60), ident=0))
ICMP = build.ethernet(build.ipv4(b"\3\3" + b"\0" * 40, protocol=1))
UNREAD = {
    "ipsec": (in_ipsec(calls()), 1, {"ipsec": 7 * SPAN_S}),
    "two arp": ([others(ARP)[0], others(ARP)[-1]], 1, {"not_ip": 2}),
    "tcp": (others(TCP), 1, {"tcp": 2 * SPAN_S}),
    "hep": (others(HEP), 1, {"udp": 2 * SPAN_S}),
    "errors of icmp alone": (others(ICMP), 1, {}),
    "user": (calls(), 147, {"unknown_link": 7 * SPAN_S}),
    "a moment": (in_ipsec(calls(0, 1)), 1, {"ipsec": 7}),  # and too short as well
}


def write(path, records, **options):
    path.write_bytes(build.pcap(sorted(records, key=lambda r: r[0]), **options))
    return path


@pytest.mark.parametrize("kind", UNREAD)
def test_a_capture_that_was_not_read_has_no_verdict(
    kind, run, tmp_path, capsys, caplog
):
    records, link, causes = UNREAD[kind]
    path = write(tmp_path / "x.pcap", records, link=link)
    assert identify.identify_captures("", [path]) == 1
    assert capsys.readouterr().out == ""
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{path}: no verdict: no message read: ")
    assert all(f"{count} {cause}" in line for cause, count in causes.items())

    assert identify.identify_captures("", [path], as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == dict(
        capture=str(path),
        error="no message read",
        packets=len(records),
        not_read=causes,
    )


def calm_network(run, folder):
    return adapting.read_network(run, "site", [write(folder / "calm.pcap", calls())])


@pytest.mark.parametrize("frame", [ARP, TCP, HEP], ids=["arp", "tcp", "hep"])
def test_a_baseline_without_a_message_gives_no_verdict(frame, run, tmp_path):
    path = write(tmp_path / "x.pcap", others(frame, 0, BASELINE_S) + calls(BASELINE_S))
    with pytest.raises(readings.NoEvidence, match="nothing read in its first 12 s"):
        sessions.read_traffic(path, run)
    # The same file with the baseline of its network, or a longer one, can be named.
    adapted = adapting.adapt(run, calm_network(run, tmp_path))
    traffic = sessions.read_traffic(path, run, network=adapted)
    assert "is unlike normal traffic of site" in traffic.warnings[-1]
    assert len(traffic.counts) >= 2 * SPAN_S - 2
    assert traffic.baseline is adapted.baseline
    assert sessions.read_traffic(path, run, baseline_s=23.0).baseline.mean.any()


def test_an_asked_rate_needs_two_stretches_of_normal_traffic(run, tmp_path):
    calm = calm_network(run, tmp_path)
    assert adapting.adapt(run, calm).typical == ()
    with pytest.raises(UsageError, match="--false_alarms needs two or more"):
        adapting.adapt(run, calm, 1.0)
    twice = calm._replace(captures=("a", "b"), counts=calm.counts * 2)
    rare, often = (adapting.adapt(run, twice, rate) for rate in (0.01, 1e4))
    assert rare.own.limit >= often.own.limit > 0 and len(rare.typical) >= 2


def test_what_was_read_is_named_without_a_word(run, tmp_path):
    assert (
        sessions.read_traffic(write(tmp_path / "x.pcap", calls()), run).warnings == ()
    )


def test_silence_after_messages_is_evidence(run, tmp_path, capsys):
    path = write(tmp_path / "x.pcap", [*calls(0, 20), others(ARP)[-1]])
    assert identify.identify_captures("", [path]) == 0
    printed = capsys.readouterr().out
    assert "note: there was no packet from 19.5 to 39.5 s" in printed
    assert printed.splitlines()[3].split()[:2] == ["0.0", "39.5"]


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        (others(TCP, 20), ""),
        (in_ipsec(calls(20)), "140 ipsec (packets encrypted by IPsec, not read)"),
        (others(HEP, 20), ""),  # of what is no SIP only that there are packets
    ],
    ids=["tcp", "ipsec", "hep"],
)
def test_messages_that_end_while_packets_go_on_are_no_silence(
    rest, says, run, tmp_path, capsys
):
    path = write(tmp_path / "x.pcap", calls(0, 20) + rest)
    assert identify.identify_captures("", [path], as_json=True) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    warnings_text = "; ".join(rows[0]["warnings"])
    assert "no message was read, but there were packets, from 19.5 to " in warnings_text
    assert says in warnings_text and bool(says) == bool(rows[0]["not_read"])


def test_a_damaged_or_cut_capture_says_so_beside_its_verdict(run, tmp_path, capsys):
    path = write(tmp_path / "x.pcap", calls())
    path.write_bytes(path.read_bytes()[:-5])
    assert identify.identify_captures("", [path], plot=str(tmp_path / "x.html")) == 0
    said = "1 truncated (files whose last packet is cut, perhaps still being written)"
    assert said in capsys.readouterr().out
    assert "1 truncated" in (tmp_path / "x.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("every", "says"), [(8, True), (40, False)])
def test_messages_without_a_transaction_are_said_where_they_are_many(
    every, says, run, tmp_path
):
    records = calls()
    for i in range(0, len(records), every):
        time_ns, frame = records[i]
        records[i] = time_ns, frame.replace(b"CSeq", b"XSeq")
    warnings = sessions.read_traffic(write(tmp_path / "x.pcap", records), run).warnings
    expected = (
        f"not read: {len(records) // every} unnamed (messages that do not name their"
    )
    assert any(expected in warning for warning in warnings) == says
    assert len(warnings) == says


def test_a_server_that_is_not_known_is_said(run, tmp_path):
    pings = [
        (time_ns, build.sip_frame(build.request("OPTIONS", f"call-{i}"), ident=i + 1))
        for i, (time_ns, _) in enumerate(others(ARP))
    ]
    traffic = sessions.read_traffic(write(tmp_path / "x.pcap", pings), run)
    assert traffic.warnings[0].startswith("its server is unclear")


def test_a_start_in_a_fault_is_in_text_json_and_plot(run, tmp_path, capsys, caplog):
    near = np.zeros((3, len(columns.SIP)))
    run.normal = Baseline(near + 0.01 * np.arange(3)[:, None], near)
    path, plot = write(tmp_path / "x.pcap", calls()), str(tmp_path / "x.html")
    identify.identify_captures("", [path])
    identify.identify_captures("", [path], as_json=True, plot=plot)
    *text, row = capsys.readouterr().out.splitlines()
    assert sum("it starts in a fault, or" in line for line in text) == 1
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 2 and "1 of 1 captures begin unlike" in said[0]
    assert "normal?" in text[3] and json.loads(row)["condition"] == "normal?"
    assert json.loads(row)["calibrated"] is False
    assert "it starts in a fault, or" in json.loads(row)["warnings"][0]
    with open(plot, encoding="utf-8") as file:
        drawn = file.read()
    assert "it starts in a fault, or" in drawn and '"normal?"' in drawn


def test_one_bad_capture_does_not_stop_the_others(
    run, tmp_path, capsys, caplog, monkeypatch
):
    read = readings.Reader.read

    def fail(reader, path):
        if path == "broken":
            raise ValueError("two\nlines")
        return read(reader, path)

    monkeypatch.setattr(readings.Reader, "read", fail)
    calm = write(tmp_path / "calm.pcap", calls())
    arp = write(tmp_path / "arp.pcap", others(ARP))
    none, plot = tmp_path / "none.pcap", tmp_path / "all.html"
    captures = [arp, "broken", calm, none]
    assert identify.identify_captures("", captures, plot=str(plot)) == 3
    assert capsys.readouterr().out.startswith(f"{calm}\n")
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == [str(arp), "broken", str(none)]
    assert "two\\nlines: this is a bug of siamjax, please report it" in lines[1]
    page = plot.read_text(encoding="utf-8")
    assert page.count("no verdict: ") == 3 and '"capture": "calm"' in page


def test_captures_compared_together_are_as_alone(run, tmp_path, monkeypatch):
    """All of them are ready at once; their lengths differ."""
    seconds = (40, 21, 64, 30)
    paths = [write(tmp_path / f"{s}.pcap", calls(0, s)) for s in seconds]
    paths.insert(2, write(tmp_path / "arp.pcap", others(ARP)))
    reference = references.open_reference(run)
    monkeypatch.setattr(
        reading, "read_in_order", lambda tasks: [[t.read(t.path) for t in tasks]]
    )
    results = list(identify.compare_captures(paths, [reference] * len(paths)))
    assert isinstance(results.pop(2), readings.NoEvidence)
    for path, (spans, traffic) in zip([*paths[:2], *paths[3:]], results, strict=True):
        wanted, alone = identify.compare_capture(path, reference)
        assert traffic.name == alone.name and len(traffic.counts) == len(alone.counts)
        np.testing.assert_array_equal(
            [(s.start_s, s.end_s, s.condition) for s in spans],
            [(s.start_s, s.end_s, s.condition) for s in wanted],
        )
        np.testing.assert_allclose(
            [s.distance for s in spans], [s.distance for s in wanted], atol=1e-5
        )


def test_what_reads_captures_and_why_not_can_be_sent_to_other_processes(run, tmp_path):
    reader = pickle.loads(pickle.dumps(sessions.reader_of(run)))
    calm = write(tmp_path / "calm.pcap", calls())
    read = pickle.loads(pickle.dumps(reader.attempt(calm)))
    traffic = sessions.from_reading(calm, read, run)
    np.testing.assert_array_equal(
        traffic.counts, sessions.read_traffic(calm, run).counts
    )
    arp = write(tmp_path / "arp.pcap", others(ARP))
    error = reader.attempt(arp)
    same = pickle.loads(pickle.dumps(error))
    assert (str(same), same.reason) == (str(error), "no message read")
    assert same.report == error.report
    assert isinstance(reader.attempt(tmp_path / "none"), FileNotFoundError)


def test_an_example_or_baseline_that_was_not_read_is_refused(run, tmp_path):
    calm, arp = (
        write(tmp_path / "calm.pcap", calls()),
        write(tmp_path / "arp.pcap", others(ARP)),
    )
    place = examples.Place("slow", str(arp), 20.0)
    for work in (
        lambda: identify.identify_capture(run, calm, places=[place]),
        lambda: learning.learn_examples(run, [place]),
        lambda: adapting.learn_network(run, "site", [calm, arp]),
    ):
        with pytest.raises(readings.NoEvidence, match=r"arp\.pcap: no message read"):
            work()
    assert not (tmp_path / "run").exists()  # nothing was kept


@pytest.mark.parametrize("seconds", [0.0, np.nan, np.inf])
def test_a_baseline_is_a_number_of_seconds(seconds, run, tmp_path):
    path = write(tmp_path / "x.pcap", calls())
    with pytest.raises(UsageError, match="baseline_s is"):
        sessions.read_traffic(path, run, baseline_s=seconds)
    with pytest.raises(UsageError, match="--baseline is"):
        identify.identify_captures("", [path], baseline_s=seconds)


def test_names_of_strangers_cannot_write_to_the_terminal(run, tmp_path, capsys, caplog):
    path = write(tmp_path / "a\x1b[31m\nb\udcff.pcap", calls())
    bad = tmp_path / "c\x1b[0m\n.pcap"
    place = examples.Place("slow\x1b]0;\n" + 700 * "x", str(path), 25.0)
    assert learning.learn_examples(run, [place])
    for plot in ("x.html", "x.png"):
        identify.identify_captures("", [path, bad], plot=str(tmp_path / plot))
    printed = capsys.readouterr().out
    everything = printed + "".join(record.getMessage() for record in caplog.records)
    assert "\x1b" not in everything and "\\x1b[31m\\nb\\udcff.pcap" in printed
    assert max(map(len, printed.splitlines())) < 220 + len(str(tmp_path))
    identify.identify_captures("", [path], as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["capture"] == str(path)


def evidence(rows):
    """Windows a second apart; rows of distances to (normal, blocked)."""
    rows = np.array(rows, float)
    n = len(rows)
    return weighing.Evidence(
        names=("normal", "blocked"),
        start_s=np.arange(n, dtype=float),
        end_s=n + 15.0,
        window_s=16.0,
        distances=rows,
        nearest=np.tile([0, 1], (n, 1)),
        deviation=np.where(rows[:, 1] < 1, 1.0, 0.1),
    )


@pytest.mark.parametrize("unknown", [1.0, np.inf])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_distance_that_is_not_finite_gives_no_name(odd, unknown):
    rule = RULE._replace(unknown=unknown)
    all_odd = evidence([[odd, odd]] * 5)
    (span,) = decide.find_spans(all_odd, rule, ["a", "b"])
    assert span.condition == "unknown" and span.example == ""
    assert np.isnan(span.distance) and np.isnan(span.margin)
    # Not recovering either, and the windows before keep their names.
    rows = [[0.2, 2.0]] * 8 + [[2.0, 0.3]] * 8 + [[odd, odd]] * 8
    got = decide.find_spans(evidence(rows), rule, ["a", "b"])
    assert [s.condition for s in got] == ["normal", "blocked", "unknown"]
    # Nor does the one name that has no distance hide the other.
    (span,) = decide.find_spans(evidence([[odd, 0.3]] * 5), rule, ["a", "b"])
    assert span.condition == "blocked" and np.isnan(span.margin)


def test_numbers_that_are_not_finite_are_null_in_json(run, tmp_path, capsys):
    run.to_points = lambda heads, windows: np.full((len(windows), 3), np.nan)
    path = write(tmp_path / "x.pcap", calls())
    for as_json in (True, False):
        identify.identify_captures("", [path], as_json=as_json)
    row, *text = capsys.readouterr().out.splitlines()
    row = json.loads(row, parse_constant=pytest.fail)
    assert row["condition"] == "unknown" and row["distance"] is None
    assert row["not_finite"] == [
        *("distance", "margin", "threshold", "onset_error_s", "p_value"),
        "window_s",
    ]
    assert text[2].split()[2:] == ["unknown", "-", "-", "no", "distance"]


@pytest.mark.parametrize("width", [48, 60, 80, 100])
def test_the_table_is_no_wider_than_the_terminal(width):
    spans = [
        timeline.Span(0.0, 50.25, "normal", 0.5, 1.0, "normal_006@24"),
        timeline.Span(50.25, 1e5, "callee_down" * 3, 11.25, np.nan, "c" * 99 + "@60"),
        timeline.Span(1e5, 2e5, "unknown", np.nan, np.nan, ""),
    ]
    lines = span_lines.format_spans(spans, width)
    assert len(lines) == 4 and max(map(len, lines)) <= width
    assert lines[1].split()[:2] == ["0.0", "50.2"] and "0.50   1.50  " in lines[1]
    if width == 80:
        assert lines[0].split("  ")[-1] == "nearest example"
        assert lines[1].startswith("     0.0     50.2  normal              ")
        assert lines[1].endswith("normal_006@24")
    if width >= 60:
        assert "  calle" in lines[2] and lines[2].endswith("ccc@60")
        assert lines[3].endswith("no distance")


def test_damaged_files_of_a_run_are_one_line_with_a_remedy(tmp_path):
    trained = types.SimpleNamespace(
        workdir=tmp_path,
        columns=(None, None),
        config=types.SimpleNamespace(data=types.SimpleNamespace(bins=4)),
    )
    part = examples.Examples(
        (examples.Place("a", "c", 1.0),),
        np.zeros((1, 4, 2)),
        Baseline(np.ones((1, 2)), np.zeros((1, 2))),
    )
    npz, rule = tmp_path / enrol.EXAMPLES, tmp_path / enrol.RULE
    good = json.dumps(rules.as_json(RULE)).encode()

    examples.save_examples(npz, part)
    saved = npz.read_bytes()

    def stored(damage=lambda data: data, rule_bytes=good):
        npz.write_bytes(damage(saved))
        rule.write_bytes(rule_bytes)
        return enrol.read_enrolment(trained)

    assert stored()[1] == RULE
    for damage in (
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\0" * len(data),
    ):
        with pytest.raises(SiamjaxError, match=r"examples.npz.*siamjax evaluate"):
            stored(damage)
    refused, places = 0, range(0, len(saved), 11)
    for place in places:  # of a flipped byte: an error, or no change
        try:
            got, _ = stored(
                lambda data, i=place: data[:i] + bytes([data[i] ^ 255]) + data[i + 1 :]
            )
        except SiamjaxError as error:
            refused += "examples.npz" in str(error)
        else:
            assert got.places == part.places and (got.counts == part.counts).all()
    assert refused > len(places) / 2
    for text in (
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b'{"unknown": 1}',
        good.replace(b"5.0", b"NaN"),
        good.replace(b"5.0", b'"far"'),
    ):
        with pytest.raises(SiamjaxError, match=r"rule.json.*siamjax evaluate"):
            stored(rule_bytes=text)
    trained.columns = (None,) * 3
    with pytest.raises(SiamjaxError, match=r"\[4, 2\].*\[4, 3\].*siamjax evaluate"):
        stored()


def test_a_table_of_examples_is_safe_in_a_spreadsheet(tmp_path):
    places = tuple(
        examples.Place(name, f"@{name}.pcap", 3.0) for name in ("=1+1", "'=x", "calm")
    )
    path = tmp_path / "examples.csv"
    examples.write_places(path, examples.Examples(places, None, None))
    assert "\n=" not in path.read_text() and ",@" not in path.read_text()


def test_one_capture_is_identified_as_records(run, tmp_path):
    path = write(tmp_path / "x.pcap", calls())
    spans, traffic = identify.identify_capture(run, path)
    assert [(s.condition, s.start_s) for s in spans] == [("normal", 0.0)]
    assert traffic.name == "x" and traffic.warnings == ()
    silent = write(tmp_path / "y.pcap", [*calls(0, 20), others(ARP)[-1]])
    places = [("silent", str(silent), 30.0)]
    joined = references.open_reference(run, places=places).examples
    assert joined.names == ("normal", "silent")
    *_, span = identify.identify_capture(run, silent, places=places)[0]
    assert (span.condition, span.example) == ("silent", "y.pcap@30")
    (span,), _ = identify.identify_capture(run, path, places=places)
    assert span.condition == "normal"


def test_unknown_stretches_are_grouped(run, tmp_path):
    """Two servers that fall silent, and one that does not."""
    paths = [
        write(tmp_path / f"{end_s}.pcap", [*calls(0, end_s), others(ARP)[-1]])
        for end_s in (20, 21, SPAN_S)
    ]
    reference = references.open_reference(run)
    reference = reference._replace(rule=RULE._replace(unknown=0.02, penalty=0.02))
    found = [
        grouping.find_unknown(run, path, identify.compare_capture(path, reference))
        for path in paths
    ]
    assert [len(stretches) for stretches in found] == [1, 1, 0]
    assert found[0][0].start_s >= found[0][0].span.start_s > 10
    both = found[0] + found[1]
    distances = grouping.measure_distances(run, both)
    points = [run.compared(x.counts[None], _rows(x.baseline))[0] for x in both]
    assert distances[0, 1] == pytest.approx(np.linalg.norm(points[0] - points[1]))
    assert len(grouping.group_stretches(both, distances, 0.5)) == 1


def _rows(baseline):
    return Baseline(*(x[None] for x in baseline))


def test_a_folder_is_read_in_order_of_name(run, tmp_path, capsys, caplog):
    folder = tmp_path / "folder"
    (folder / "b").mkdir(parents=True)
    names = ("c.pcap", "a.PCAPNG", "b/x.cap.gz", "d.pcap1")
    for name in (*names, ".hidden.pcap", "labels.csv", "notes.txt"):
        (folder / name).touch()
    listed = identify.list_captures([tmp_path / "y", folder], is_table=False)
    assert listed[0] == tmp_path / "y"  # a file is taken whatever its name is
    assert listed[1:] == [folder / name for name in sorted(names)]
    assert identify.list_captures([folder], is_table=True) == [folder / "labels.csv"]
    write(folder / "c.pcap", calls())
    assert identify.identify_captures("", [folder]) == 3
    assert capsys.readouterr().out.startswith(f"{folder / 'c.pcap'}\n")
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(": ")[0] for line in lines] == [
        str(folder / name) for name in sorted(names) if name != "c.pcap"
    ]


@pytest.mark.parametrize(
    ("captures", "options", "says"),
    [
        (["-"], {}, r"standard input \(-\) cannot be read"),
        (["empty"], {}, "empty holds no file that ends in .pcap"),
        (["x.pcap"], dict(plot="x.gif"), "does not end in .html"),
        (["x.pcap"], dict(plot="/proc/x.html"), "/proc/x.html cannot be written"),
    ],
)
def test_what_cannot_work_is_said_before_a_capture_is_read(
    captures, options, says, run, tmp_path, monkeypatch
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "read_in_order", pytest.fail)
    with pytest.raises(UsageError, match=says):
        identify.identify_captures("", captures, **options)
