"""siamjax label: rows from tickets, by a line and on a page; normal times in doubt."""

import types

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.action_chains import ActionChains

from siamjax.assessment import labelling, review
from siamjax.capture import events
from siamjax.data import features, labels, splits, stretches, tickets
from siamjax.reports import label_page
from siamjax.types import Events, Label, SiamjaxError, UsageError
from tests import commands, small_data
from tests import packet_builder as build
from tests.browser import logged_errors, settle, visit

HEAD = "file,condition,onset_s,clear_s\n"
START = pd.Timestamp(build.START_NS)  # 2023-11-14 22:13:20.123456
MAPPING = "pattern,condition\nlink.*down,link_down\nslow|delay,delay\nlamp,\n"


def at(second):
    return str((START + pd.Timedelta(second, "s")).round("ms"))


def capture(path, seconds=100):
    """A call each 10 s."""
    records = []
    for second in range(0, seconds, 10):
        start = build.START_NS + second * 10**9
        records += build.call(f"call-{second}", start)
    path.write_bytes(build.pcap(records))


def table(path, **columns):
    rows = np.arange(60)
    frame = pd.DataFrame(dict(time=START.floor("s") + rows * pd.Timedelta("10s")))
    frame.assign(load=rows % 7, **columns).to_csv(path, index=False)


@pytest.fixture
def folder(tmp_path):
    """Two captures, one of them in a folder of its own."""
    captures = tmp_path / "captures"
    (captures / "a").mkdir(parents=True)
    capture(captures / "a" / "one.pcap")
    capture(captures / "two.pcap", 40)
    return captures


def write_tickets(tmp_path, rows, mapping=MAPPING):
    (tmp_path / "tickets.csv").write_text("id;start;end;text\n" + rows)
    (tmp_path / "mapping.csv").write_text(mapping)
    return tmp_path / "tickets.csv", tmp_path / "mapping.csv"


def test_tickets_become_labels_of_the_captures_that_they_meet(tmp_path, folder):
    rows = (
        f"1;{at(60)};{at(80)};Link to site A DOWN\n"
        f"2;{at(75)};{at(85)};link b down again\n"  # overlaps: one stretch
        f"3;{at(90)};;customer says it is slow\n"  # still open
        f"4;{at(-50)};{at(-20)};link down\n"  # before
        f"5;{at(10)};{at(20)};lamp broken\n"
        f"6;{at(10)};{at(20)};no idea\n"
    )
    written, mapping = write_tickets(tmp_path, rows)
    done = commands.run(
        "label",
        f"--tickets={written}",
        f"--mapping={mapping}",
        f"--captures={folder}",
        f"--labels={tmp_path / 'labels.csv'}",
    )
    assert done.returncode == 0, done.stderr
    read = labels.read_labels(tmp_path / "labels.csv")
    assert read.labels == {
        "a/one.pcap": (
            Label(
                "link_down", pytest.approx(60, abs=1e-3), pytest.approx(85, abs=1e-3)
            ),
            Label("delay", pytest.approx(90, abs=1e-3), np.inf),
        ),
        "two.pcap": (),
    }
    assert read.wrong == {} and read.problems == []
    assert "1 tickets match no pattern, ignored: 'no idea'" in done.stdout
    assert "3 tickets of link_down" in done.stdout
    assert "labels.csv: 3 rows of 2 files, 1 of normal" in done.stdout
    # It is not written over.
    with pytest.raises(UsageError, match="exists: give --labels another name"):
        labelling.label_by_tickets(
            *write_tickets(tmp_path, rows),
            folder,
            tmp_path / "labels.csv",
            is_table=False,
            zone=None,
        )


def test_tickets_of_two_conditions_at_one_time_label_nothing(tmp_path, folder):
    rows = f"1;{at(10)};{at(30)};link down\n2;{at(20)};{at(35)};slow\n"
    paths = write_tickets(tmp_path, rows)
    with pytest.raises(SiamjaxError, match=r"overlap at 20.0 s, not labelled.*no f"):
        labelling.label_by_tickets(
            *paths, folder, tmp_path / "new.csv", is_table=False, zone=None
        )
    assert not (tmp_path / "new.csv").exists()


def test_tickets_in_local_time(tmp_path):
    local = START.tz_localize("UTC").tz_convert("Europe/Berlin").tz_localize(None)
    dates = [
        (local + pd.Timedelta(s, "s")).strftime("%d.%m.%Y %H:%M:%S") for s in (60, 80)
    ]
    paths = write_tickets(tmp_path, f"1;{dates[0]};{dates[1]};link down\n")
    (ticket,), _ = tickets.read_tickets(*paths, "Europe/Berlin")
    assert ticket == (
        "2023-11-14T23:14:20+01:00",
        "2023-11-14T23:14:40+01:00",
        "link_down",
    )
    with pytest.raises(UsageError, match="--zone=Mars is not a time zone"):
        tickets.read_tickets(*paths, "Mars")


def test_tickets_label_tables(tmp_path):
    (tmp_path / "t").mkdir()
    table(tmp_path / "t" / "day.csv")
    paths = write_tickets(tmp_path, f"1;{at(60)};{at(91)};link down\n")
    labelling.label_by_tickets(
        *paths, tmp_path / "t", tmp_path / "new.csv", is_table=True, zone=None
    )
    rows = (tmp_path / "new.csv").read_text().splitlines()
    assert rows == ["file,start,end,condition", "day.csv,60.123,91.123,link_down"]


@pytest.mark.parametrize(
    "rows, mapping, reason",
    [
        (
            "1;soon;;link down\n2;2023-11-14 22:00;;x\n3;2023-11-14 22:00;;x\n",
            MAPPING,
            "'soon' in column start is not a date",
        ),
        ("1;5;9;link down\n", MAPPING, "column start has numbers of s, not dates"),
        (f"1;{at(1)};;x\n", "pattern,condition\n[,x\n", "mapping.csv, row 2"),
        (
            f"1;{at(1)};;x\n",
            "pattern,condition\nx,unknown\n",
            "mapping.csv, row 2: cond",
        ),
        (f"1;{at(9)};{at(1)};x\n", MAPPING + "x,y\n", "'x': end .* is before start"),
        (f"1;;{at(1)};x\n", MAPPING + "x,y\n", "ticket 'x': no start"),
        ("", "pattern,condition\n,y\n", "row 2: no pattern: it would fit each"),
        ("", "pattern,condition\nx{1,2},y\n", "row 2: more fields than columns"),
        ("", "pattern,condition\nx,normal\n", "of no fault leave condition empty"),
        (
            f"1;{at(1)};;x\n",
            "text,condition\nx,y\n",
            "the columns pattern and condition",
        ),
    ],
)
def test_tickets_that_cannot_be_used_say_why(tmp_path, rows, mapping, reason):
    with pytest.raises(SiamjaxError, match=reason):
        tickets.read_tickets(*write_tickets(tmp_path, rows, mapping))


def test_tickets_without_text_and_empty_rows_do_no_harm(tmp_path):
    rows = f"1;{at(1)};{at(2)};\n;;;\n2;{at(3)};;link down\n"
    read, lines = tickets.read_tickets(*write_tickets(tmp_path, rows))
    assert [ticket.condition for ticket in read] == ["link_down"]
    assert lines[-1] == "1 tickets match no pattern, ignored: ''"
    missing = tmp_path / "missing.csv"
    with pytest.raises(UsageError, match="does not exist"):
        tickets.read_tickets(missing, tmp_path / "mapping.csv")


def test_a_line_adds_stretches_all_or_none(tmp_path, folder):
    path = tmp_path / "labels.csv"
    text = (
        HEAD.replace("\n", ",notes\n") + "a/one.pcap,normal,,,x\ntwo.pcap,delay,3,9,y\n"
    )
    path.write_text(text)

    def add(*intervals, file="a/one.pcap"):
        flags = [f"--add={interval}" for interval in intervals]
        return commands.run(
            "label", f"--labels={path}", f"--captures={folder}", *flags, folder / file
        )

    for intervals, file, reason in (
        (("delay=200-",), "two.pcap", "200 to inf s is not a stretch of two.pcap"),
        (("delay=8-12",), "two.pcap", "delay and delay overlap: "),
        (("slow=1-2", "unknown=3-4"), "two.pcap", "identification uses this name"),
        (("delay",), "two.pcap", "write CONDITION=FROM-TO"),
    ):
        done = add(*intervals, file=file)
        assert done.returncode == 2 and reason in done.stderr, done.stderr
        assert path.read_text() == text and len(list(tmp_path.iterdir())) == 2
    done = add("delay=10-20.5", "slow=30-")
    assert done.returncode == 0, done.stderr
    assert "a/one.pcap is no longer normal throughout" in done.stdout
    assert path.read_text().splitlines()[1:] == [
        "two.pcap,delay,3,9,y",
        "a/one.pcap,delay,10,20.5,",
        "a/one.pcap,slow,30,,",
    ]
    text = path.read_text()
    done = add("slow=30-")
    assert done.stdout.endswith("labels.csv: a/one.pcap,slow,30, is there already\n")
    assert path.read_text() == text


def test_a_line_adds_stretches_of_a_table_that_was_not_labelled(tmp_path):
    table(tmp_path / "day.csv")
    numbers = pd.read_csv(tmp_path / "day.csv").assign(
        time=1_700_000_000_000 + np.arange(60) * 10_000
    )
    numbers.to_csv(tmp_path / "ms.csv", index=False)
    path = tmp_path / "labels.csv"
    for file in ("day.csv", "ms.csv"):
        target = labelling.Target(str(tmp_path / file), None, str(path), True)
        labelling.add_labels(target, [("hog", 20.0, 50.0), ("slow", 100.0, np.inf)])
    assert path.read_text().splitlines()[1:] == [
        "day.csv,20,40,hog",
        "day.csv,100,,slow",
        "ms.csv,1700000020000,1700000040000,hog",
        "ms.csv,1700000100000,,slow",
    ]
    target = labelling.Target(str(tmp_path / "day.csv"), None, str(path), True)
    with pytest.raises(UsageError, match=r"overlap at 30 s: .*stays as it was"):
        labelling.add_labels(target, [("hog", 30.0, 60.0)])
    given = stretches.read_stretches(path).labels
    assert [s.condition for s in given["day.csv"]] == ["hog", "slow"]


def test_files_in_a_row_are_labelled_as_one_session(tmp_path):
    capture(tmp_path / "x.pcap", 40)
    later = build.call("late", build.START_NS + 60 * 10**9)
    (tmp_path / "x.pcap1").write_bytes(build.pcap(later))
    path, session = tmp_path / "labels.csv", f"--session=trunk={tmp_path}/x.pcap*"
    done = commands.run("label", f"--labels={path}", session, "--add=delay=50-")
    assert done.returncode == 0, done.stderr
    assert path.read_text().splitlines()[1:] == ["trunk,delay,50,"]
    done = commands.run("label", f"--labels={path}", session, "--add=delay=63-")
    assert "not a stretch of trunk, which has 62 s" in done.stderr
    page = tmp_path / "label.html"
    done = commands.run("label", f"--labels={path}", session, f"--page={page}")
    assert done.returncode == 0 and "trunk" in page.read_text(), done.stderr


def test_flags_that_do_not_belong_together_are_refused(tmp_path):
    for flags, reason in (
        (["--review"], "--review needs --workdir"),
        (["--review", "--workdir=x", "y.pcap"], "unexpected argument 'y.pcap'"),
        (["--tickets=x", "--mapping=y"], "--tickets needs --captures"),
        (["--workdir=x", "y.pcap"], "--workdir has no effect beside --page"),
        (["--add=a=1-2", "y.pcap"], "--add needs --labels"),
        ([], "name one capture"),
        (["--session=x=y", "y.pcap"], "unexpected argument 'y.pcap' beside --session"),
        (["--session=x=y"], "there is no such file"),
        (["--session=x"], "write NAME=GLOB"),
        (["--session=x=y", "--format=counters"], "--session is for packets"),
        (["--session=x=y", "--review", "--workdir=x"], "--session has no effect"),
    ):
        done = commands.run("label", *flags)
        assert done.returncode == 2 and reason in done.stderr, done.stderr


def test_the_page_takes_stretches_by_mouse(tmp_path, folder, chromium):
    path = tmp_path / "labels.csv"
    path.write_text(HEAD + 'a/one.pcap,"x, </script>y",70,\n')
    target = labelling.Target(str(folder / "a/one.pcap"), str(folder), str(path), False)
    labelling.draw_page(target, tmp_path / "label.html")
    visit(chromium, tmp_path / "label.html")
    names = [x.text for x in chromium.find_elements("css selector", ".plots .name div")]
    assert names[:4] == ["requests / s", "answers / s", "repeated / s", "latency, ms"]
    assert "sip:INVITE / s" in names
    plot = chromium.find_elements("css selector", ".plots svg")[0]
    left = -plot.size["width"] / 2
    ActionChains(chromium).move_to_element_with_offset(
        plot, int(left + 0.2 * plot.size["width"]), 0
    ).click_and_hold().move_by_offset(
        int(0.3 * plot.size["width"]), 0
    ).release().perform()
    settle(chromium)
    field = chromium.switch_to.active_element  # waits for the name of the stretch
    field.send_keys("slow")
    rows = chromium.find_element("css selector", "textarea").get_property("value")
    head, first, second = rows.splitlines()
    assert head + "\n" == HEAD and second == 'a/one.pcap,"x, </script>y",70,'
    file, condition, onset, clear = first.split(",")
    assert (file, condition) == ("a/one.pcap", "slow")
    assert float(onset) == pytest.approx(18.3, abs=0.5)
    assert float(clear) == pytest.approx(45.8, abs=0.5)
    bands = chromium.find_elements("css selector", ".bands span")
    assert [band.text for band in bands] == ["slow", "x, </script>y"]
    for _ in range(2):
        chromium.find_element("css selector", "tbody button").click()
    rows = chromium.find_element("css selector", "textarea").get_property("value")
    assert rows == HEAD + "a/one.pcap,normal,,\n"
    assert logged_errors(chromium) == []


def test_the_page_of_a_table_writes_its_first_and_last_rows(tmp_path, chromium):
    """Of many columns those are shown that leave their usual range most."""
    rows = np.arange(60)
    more = {f"flat {i}": rows % 2 for i in range(30)}
    table(tmp_path / "t.csv", burst=np.where(rows == 30, 99, rows % 3), **more)
    path = tmp_path / "labels.csv"
    path.write_text("file,start,end,condition\nt.csv,100,190,hog\n")
    target = labelling.Target(str(tmp_path / "t.csv"), None, str(path), True)
    labelling.draw_page(target, tmp_path / "label.html")
    visit(chromium, tmp_path / "label.html")
    plots = chromium.find_elements("css selector", ".plots .name div")
    assert len(plots) == 24 and "burst" in [plot.text for plot in plots]
    output = chromium.find_element("css selector", "textarea").get_property("value")
    assert output == path.read_text()
    assert logged_errors(chromium) == []


def test_lines_of_a_capture_are_rates_and_latencies():
    time_ns = np.array([0, 1, 5, 9]) * 10**9
    few = Events(
        time_ns,
        np.zeros(4, np.int8),
        np.array([0, 1, 0, 2], np.int32),
        np.array([False, False, True, False]),
        np.array([-1, 30_000_000, -1, -1]),
    )
    lines = label_page.lines_of_events(few, ("sip:A", "sip:A/200", "other"), 10.0)
    values = {line["name"]: np.array(line["values"]) for line in lines}
    assert values["requests / s"].sum() * 10 / 500 == 2
    assert values["answers / s"].sum() * 10 / 500 == 1
    assert values["repeated / s"].sum() * 10 / 500 == 1
    assert np.nansum(values["latency, ms"]) == 30
    assert np.isnan(values["latency, ms"]).sum() == 499


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory):
    """A small data set in which a normal capture is one of `blocked`."""
    folder = tmp_path_factory.mktemp("doubt") / "data"
    small_data.write(folder)
    opened = splits.open_splits(small_data.config(folder).data)
    wrong = opened.sessions.names.index("blocked_0")
    normal = opened.conditions.names.index("normal")
    here = opened.windows.session == wrong
    condition = np.where(here, normal, opened.windows.condition)
    return opened._replace(windows=opened.windows._replace(condition=condition))


def test_normal_times_that_are_nearest_to_a_fault_are_listed(doubtful):
    def compared(counts, baseline, session):
        x = features.to_features(counts, baseline, doubtful.scaler)
        return np.asarray(x).mean(1)

    config = types.SimpleNamespace(data=types.SimpleNamespace(bin_s=0.5))
    run = types.SimpleNamespace(compared=compared, config=config)
    doubts = review.find_doubts(run, doubtful)
    first = doubts[0]
    assert (first.capture, first.condition) == ("blocked_0", "blocked")
    assert first.fault_capture.startswith("blocked_") and first.ratio < 0.5
    assert first.fault_capture != "blocked_0"
    # One stretch of overlapping windows, from the onset at 30 s to the end.
    assert first.start_s == pytest.approx(30, abs=6) and first.end_s > 64
    assert [x.ratio for x in doubts] == sorted(x.ratio for x in doubts)
    only = np.array([n.startswith("normal") for n in doubtful.sessions.names])
    calm = doubtful.windows._replace(
        condition=np.where(only[doubtful.windows.session], 0, -1)
    )
    with pytest.raises(SiamjaxError, match="two captures with normal times, and a f"):
        review.find_doubts(run, doubtful._replace(windows=calm))


def test_the_span_of_a_capture_is_that_of_its_events(tmp_path):
    """Also where its clock was set back while it ran."""
    early, late = build.call("a"), build.call("b", build.START_NS - 10**12)
    (tmp_path / "a.pcap").write_bytes(build.pcap([*early, *late]))
    first_ns, last_ns = events.read_span(tmp_path / "a.pcap")
    _, _, report = events.read_events(tmp_path / "a.pcap")
    assert first_ns == build.START_NS and (last_ns - first_ns) / 1e9 == report.span_s
