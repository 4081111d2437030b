"""Alarms reach their receivers: once, in order, in forms that other systems check."""

import http.server
import json
import pathlib
import re
import sqlite3
import threading
import time
import urllib.error
import urllib.request

import pytest
import pytest_ves
from prometheus_client import parser

from siamjax import files
from siamjax.alarms import (
    alarm,
    delivery,
    live,
    outputs,
    policy,
    prometheus,
    server,
    ves,
    webhook,
)
from siamjax.alarms.spool import Spool
from siamjax.monitoring import monitor, records, sources, watching
from siamjax.types import SiamjaxError, UsageError
from tests import browser, live_traffic

SECOND = 10**9


def at(second):
    return records.format_time(1_700_000_000 * SECOND + second * SECOND)


def change(second, condition="blocked", *, onset=None, stretch=None, **fields):
    """A change of the session `site`, as the monitor says it."""
    severity = fields.pop("severity", None) or {
        "normal": records.NORMAL,
        "unknown": records.UNKNOWN,
        "recovering": records.RECOVERING,
    }.get(condition, records.KNOWN)
    onset = second if onset is None else onset
    values = dict(
        time=at(second),
        id=f"site/{second}",
        session="site",
        network="trunk",
        state=records.CLEARED if condition == "normal" else records.RAISED,
        stretch=stretch or f"site@{onset}",
        ends=None,
        condition=condition,
        previous="normal",
        severity=severity,
        onset=at(onset),
        onset_error_s=None if condition == "normal" else 4.0,
        distance=0.5,
        threshold=1.1,
        runner_up=("delay", 1.4),
        example="old.pcap@12",
        moved=(
            dict(column="INVITE/503", normal=0.0, now=14.2, unit="/s", deviations=9.0),
        ),
    )
    return records.Change(**{**values, **fields})


def steps(*sequence):
    """What each record begins, changes or ends: (condition, ended) of each alarm."""
    lasting, said = {}, []
    for record in sequence:
        lasting, alarms = alarm.follow(lasting, record)
        said.append([(a.condition, a.until) for a in alarms])
    return said


def test_an_alarm_begins_with_a_fault_and_ends_at_the_onset_of_normal():
    assert steps(change(0, "normal"), change(40), change(90, "normal", onset=80)) == [
        [],
        [("blocked", None)],
        [("blocked", at(80))],
    ]


def test_a_corrected_name_ends_the_old_alarm_and_begins_one():
    first = change(40, "unknown", stretch="a")
    second = change(44, "blocked", stretch="a", onset=38, state=records.REVISED)
    assert steps(first, second) == [
        [("unknown", None)],
        [("unknown", at(40)), ("blocked", None)],
    ]


def test_a_corrected_onset_changes_the_same_alarm():
    first = change(40, stretch="a")
    second = change(44, stretch="a", onset=38, state=records.REVISED)
    lasting, _ = alarm.follow({}, first)
    lasting, (changed,) = alarm.follow(lasting, second)
    assert changed.since == at(38) and changed.until is None
    assert changed.key == alarm.follow({}, first)[1][0].key


@pytest.mark.parametrize(
    "record",
    [change(9, "recovering"), change(9, calibrated=False), change(9, "normal")],
)
def test_no_alarm_without_a_fault_or_without_knowing_what_is_normal(record):
    assert steps(record) == [[]]
    assert steps(change(3), record) == [[("blocked", None)], [("blocked", at(9))]]


def test_a_silent_source_is_an_alarm_until_packets_come_back():
    def source(second, what):
        return records.Source(
            time=at(second), id=f"s{second}", what=what, detail="no packet for 30 s"
        )

    assert steps(
        source(1, records.SILENT),
        source(2, records.CLOCK_STEP),
        source(9, records.BACK),
    ) == [[("source_silent", None)], [], [("source_silent", at(9))]]
    # A monitor that starts has opened its source; an alarm of before would never end.
    start = records.Start(
        time=at(9),
        id="start",
        source="eth0",
        workdir="run",
        checkpoint=1,
        version="1",
        resumed=True,
    )
    assert steps(source(1, records.LOST), start, source(20, records.SILENT)) == [
        [("source_lost", None)],
        [("source_lost", at(9))],
        [("source_silent", None)],
    ]


def test_the_webhook_has_the_form_of_alertmanager():
    lasting, begun = alarm.follow({}, change(40, action="reroute"))
    _, ended = alarm.follow(lasting, change(90, "normal"))
    body = webhook.notification(begun, "http://receiver")
    assert set(body) == {
        *("version", "groupKey", "truncatedAlerts", "status", "receiver"),
        *("groupLabels", "commonLabels", "commonAnnotations", "externalURL", "alerts"),
    }
    (alert,) = body["alerts"]
    assert body["version"] == "4" and body["status"] == alert["status"] == "firing"
    assert alert["labels"] == dict(
        alertname="siamjax",
        condition="blocked",
        session="site",
        network="trunk",
        severity="critical",
    )
    assert alert["startsAt"] == at(40)
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    assert alert["annotations"]["action"] == "reroute"
    assert alert["annotations"]["summary"].endswith("INVITE/503 0 -> 14.2/s")
    resolved = webhook.notification(ended, "http://receiver")
    assert resolved["status"] == "resolved"
    assert resolved["alerts"][0]["endsAt"] == at(90)
    assert resolved["alerts"][0]["labels"] == alert["labels"]
    assert resolved["alerts"][0]["fingerprint"] == alert["fingerprint"]


def test_ves_events_are_valid_by_the_schema_of_onap():
    _, begun = alarm.follow({}, change(40, "no route ünnamed", session=""))
    _, ended = alarm.follow({"": begun[0]}, change(90, "normal", session=""))
    raised, cleared = (ves.fault_event(a[0], "host") for a in (begun, ended))
    for event in (raised, cleared):
        pytest_ves.validate_ves(event)
    assert raised["event"]["faultFields"]["eventSeverity"] == "MAJOR"
    assert cleared["event"]["faultFields"]["eventSeverity"] == "NORMAL"
    header, end = (e["event"]["commonEventHeader"] for e in (raised, cleared))
    assert header["eventId"] == end["eventId"] and header["sourceName"] == "host"
    assert header["startEpochMicrosec"] == (1_700_000_000 + 40) * 10**6
    assert end["lastEpochMicrosec"] == (1_700_000_000 + 90) * 10**6


def test_what_waits_is_there_after_a_crash(tmp_path):
    lasting, _ = alarm.follow({}, change(40))
    spool = Spool(tmp_path / "spool")
    spool.put("1", lasting, [("a", dict(x=1)), ("b", dict(x=2)), ("a", dict(x=3))])
    again = Spool(tmp_path / "spool")  # the first one was never closed
    assert again.lasting() == lasting and again.has("1") and not again.has("2")
    assert again.waiting() == dict(a=2, b=1)
    assert again.first("a").body == dict(x=1)
    again.remove(again.first("a"))
    again.refuse(again.first("a"), "400")
    assert again.first("a") is None and spool.waiting() == dict(b=1)
    with pytest.raises(sqlite3.IntegrityError):  # a record is put once
        again.put("1", {}, [("b", dict(x=9))])
    assert spool.waiting() == dict(b=1)


def test_a_damaged_spool_is_said_to_be_so(tmp_path):
    (tmp_path / "spool").write_bytes(b"no database" * 100)
    with pytest.raises(files.Damaged, match=r"spool is damaged.*move it away"):
        Spool(tmp_path / "spool")


def test_a_full_disk_is_no_damaged_spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool._file.execute("PRAGMA max_page_count = 1")
    with pytest.raises(SiamjaxError, match=r"spool cannot be written.*make room"):
        spool.put("1", {}, [("a", dict(x="x" * 100_000))])
    assert not spool.has("1")


class Receiver:
    """A real server on a loopback port; it can be killed and started again."""

    def __init__(self):
        self.bodies, self.answers, self.port = [], [], 0
        self.start()

    def start(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = receiver.answers.pop(0) if receiver.answers else 200
                if answer == 200:
                    receiver.bodies.append(body)
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        http.server.HTTPServer.allow_reuse_address = True
        self.server = http.server.HTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        poll_s = 0.01
        self.thread = threading.Thread(target=self.server.serve_forever, args=(poll_s,))
        self.thread.start()

    def kill(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.kill()


def test_a_receiver_that_dies_ten_times_gets_each_alarm_once_in_order(
    tmp_path, receiver
):
    spool = Spool(tmp_path / "spool")
    post = delivery.make_poster(receiver.url)
    thread = delivery.Delivery("hook", spool, post, first_s=0.01)
    for i in range(50):
        if i % 5 == 2:
            receiver.kill()
        spool.put(str(i), {}, [("hook", dict(number=i))])
        thread.wake()
        if i % 5 == 4:
            receiver.start()
    thread.close(30)
    assert [body["number"] for body in receiver.bodies] == list(range(50))
    assert thread.taken == 50 and thread.failed > 0 and spool.waiting() == {}


def test_a_receiver_that_dies_while_the_monitor_watches_gets_each_alarm_once(
    monkeypatch, tmp_path, receiver
):
    reference = live_traffic.make_reference(monkeypatch, tmp_path)
    calls = live_traffic.calls
    frames = calls(0, 40)
    for begin_s in range(40, 390, 70):
        frames += calls(begin_s, begin_s + 20, 12) + calls(begin_s + 20, begin_s + 70)
    path = live_traffic.capture(tmp_path / "x.pcap", frames)
    watched = monitor.Monitor(reference, tally := sources.Tally())
    batches = sources.replay(path, 0, tally)
    made = watching.watch(watched, batches, source="x", heartbeat_s=1e6)
    lasting, wanted, is_dead = {}, [], False
    with outputs.open_outputs(tmp_path / "out", webhooks=[receiver.url]) as out:
        out._deliveries[0]._first_s = 0.01
        for record in made:
            lasting, alarms = alarm.follow(lasting, record)
            if alarms:
                (receiver.start if is_dead else receiver.kill)()
                is_dead = not is_dead
                wanted.append([(a.condition, a.since, a.until) for a in alarms])
            out.send(record)
        if is_dead:
            receiver.start()
    got = [
        [
            (
                each["labels"]["condition"],
                each["startsAt"],
                each["endsAt"] if each["status"] == "resolved" else None,
            )
            for each in body["alerts"]
        ]
        for body in receiver.bodies
    ]
    assert got == wanted and len(wanted) >= 10


def test_a_refused_alarm_is_put_aside_and_others_are_tried_again(
    tmp_path, receiver, caplog
):
    receiver.answers = [400, 503, 401, 307]
    spool = Spool(tmp_path / "spool")
    spool.put("1", {}, [("hook", dict(number=i)) for i in range(2)])
    post = delivery.make_poster(receiver.url)
    thread = delivery.Delivery("hook", spool, post, first_s=0.01)
    thread.close(30)
    assert receiver.bodies == [dict(number=1)]
    assert (thread.taken, thread.refused, thread.failed) == (1, 1, 3)
    rows = sqlite3.connect(tmp_path / "spool").execute(
        "SELECT body, reason FROM refused"
    )
    assert rows.fetchall() == [('{"number": 0}', "400 Bad Request")]
    assert "hook refuses an alarm (400 Bad Request)" in caplog.text


def set_full(spool, is_full):
    """Nothing can be written, as on a full disk."""
    spool._file.execute(f"PRAGMA query_only = {int(is_full)}")


def test_a_full_disk_ends_no_delivery_and_no_call_is_made_twice(tmp_path, caplog):
    spool, bodies = Spool(tmp_path / "spool"), []
    spool.put("1", {}, [("hook", 1), ("hook", 2)])

    def post(body):
        bodies.append(body)
        set_full(spool, len(bodies) == 1)

    thread = delivery.Delivery("hook", spool, post, first_s=0.01)
    while "alarms are not sent" not in caplog.text:
        time.sleep(0.01)
    assert bodies == [1]
    set_full(spool, False)
    thread.close(30)
    assert bodies == [1, 2] and spool.waiting() == {}


def test_alarms_wait_in_memory_while_the_disk_is_full(tmp_path, receiver, caplog):
    with outputs.open_outputs(tmp_path, webhooks=[receiver.url]) as out:
        set_full(out._spool, True)
        out.send(change(40))
        out.send(change(90, "normal"))
        assert caplog.text.count("alarms wait in memory") == 1
        set_full(out._spool, False)
        out.send(beat(100))
    assert [body["status"] for body in receiver.bodies] == ["firing", "resolved"]
    with pytest.raises(SiamjaxError, match="cannot be written"):
        with outputs.open_outputs(tmp_path / "other", webhooks=[receiver.url]) as out:
            set_full(out._spool, True)
            out.send(change(40))


def test_what_is_not_taken_before_the_end_waits_for_the_next_start(tmp_path):
    receiver = Receiver()
    receiver.kill()
    options = dict(webhooks=[receiver.url])
    with outputs.open_outputs(tmp_path / "a", patience_s=0, **options) as out:
        out.send(change(40))
    receiver.start()
    try:
        with outputs.open_outputs(tmp_path / "a", **options) as out:
            out.send(change(40))  # said again after a crash of the monitor
            out.send(change(90, "normal"))
        firing, resolved = receiver.bodies
    finally:
        receiver.kill()
    assert firing["status"] == "firing" and resolved["status"] == "resolved"
    assert resolved["alerts"][0]["startsAt"] == at(40)


def test_all_receivers_get_their_form(tmp_path, receiver):
    second = Receiver()
    with outputs.open_outputs(
        tmp_path, webhooks=[receiver.url], collectors=[second.url]
    ) as out:
        out.send(change(40))
        out.send(change(44, "unknown", stretch="site@40", state=records.REVISED))
    second.kill()
    assert [len(body["alerts"]) for body in receiver.bodies] == [1, 2]
    severities = [b["event"]["faultFields"]["eventSeverity"] for b in second.bodies]
    assert severities == ["MAJOR", "NORMAL", "MINOR"]


def beat(second):
    return records.Heartbeat(
        time=at(second),
        id=f"h{second}",
        packets=1000,
        messages=900,
        windows=50,
        dropped=3,
        shed=0,
        not_read={"encrypted": 7},
        lag_s=0.25,
        memory_bytes=10**8,
        conditions={"site": "blocked"},
    )


def start():
    return records.Start(
        time=at(0),
        id="start",
        source="eth0",
        workdir="runs/first",
        checkpoint=1200,
        version="1",
        resumed=False,
    )


def test_metrics_and_page_show_the_present_state(tmp_path):
    receiver = "http://127.0.0.1:9/hook"
    with (
        outputs.open_outputs(tmp_path, webhooks=[receiver], patience_s=0) as out,
        outputs.serving(out, "127.0.0.1:0", ("normal", "blocked")) as port,
    ):
        for record in (start(), change(1, "normal"), change(40), beat(50)):
            out.send(record)
        base = f"http://127.0.0.1:{port}"
        text = urllib.request.urlopen(f"{base}/metrics").read().decode()
        page = urllib.request.urlopen(f"{base}/").read().decode()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}/other")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["siamjax_condition", "blocked", "site", "trunk"] == 1
    assert samples["siamjax_condition", "normal", "site", "trunk"] == 0
    assert samples["siamjax_alarm", "site", "trunk"] == 1
    assert samples["siamjax_changes_total", "blocked", "site", "trunk"] == 1
    assert samples["siamjax_packets_total",] == 1000
    assert samples["siamjax_packets_dropped_total",] == 3
    assert samples["siamjax_packets_not_read_total", "encrypted"] == 7
    assert samples["siamjax_calls_waiting", receiver] == 1
    onset = samples["siamjax_condition_since_timestamp_seconds", "site", "trunk"]
    assert onset == 1.70000004e9
    assert samples["siamjax_source_up",] == 1
    assert "blocked since" in page


def test_documents_and_dashboard_name_the_metrics_that_there_are(tmp_path):
    out = live.Live()
    for record in (start(), change(40), beat(50)):
        out.follow(record)
    counts = dict(hook=dict(taken=1, waiting=0))
    families = prometheus.Collector(out.snapshot, lambda: counts).collect()
    names = {f.name + "_total" * (f.type == "counter") for f in families}
    docs = pathlib.Path(__file__).parent.parent / "docs"
    named = {
        file: set(re.findall(r"siamjax_[a-z_]+", (docs / file).read_text()))
        for file in ("alarms.md", "examples/monitor/dashboard.json")
    }
    assert named["alarms.md"] == names
    assert named["examples/monitor/dashboard.json"] < names
    rules = (docs / "examples/monitor/rules.yml").read_text()
    assert set(re.findall(r"siamjax_[a-z_]+", rules)) < names


def test_the_page_shows_sessions_and_alarms_in_a_browser(tmp_path):
    state = live.Live()
    for record in (start(), change(1, "normal"), change(400), beat(900)):
        state.follow(record)
    state.follow(
        change(30, "normal?", session="lab", severity="normal", calibrated=False)
    )
    page = tmp_path / "page.html"
    page.write_text(outputs.live_page(state.snapshot(), ("normal", "blocked")))
    with browser.chromium() as driver:
        driver.get(page.as_uri())
        text = driver.find_element("tag name", "main").text
        assert browser.logged_errors(driver) == []
    said = "site (trunk): blocked since 2023-11-14T22:20:00Z: INVITE/503 0 -> 14.2/s"
    assert said in text and text.count("network: trunk\n") == 2
    assert "lost before the monitor 3" in text and "not calibrated" in text


def test_the_last_hour_is_kept_and_no_more():
    state = live.Live()
    for hour in range(3):
        for part in range(4):
            second = 3600 * hour + 900 * part
            state.follow(change(second, "blocked" if part % 2 else "normal"))
    (stretches,) = state.snapshot().sessions.values()
    assert [s.start_ns // SECOND - 1_700_000_000 for s in stretches] == [
        *(6300, 7200, 8100, 9000, 9900),
    ]
    data = live.as_page_data(state.snapshot())
    assert data["end_s"] == 3600
    assert data["sessions"][0]["spans"][0]["start_s"] == 0


def test_a_revised_stretch_takes_the_place_of_the_old_one():
    state = live.Live()
    state.follow(change(0, "normal"))
    state.follow(change(40, "unknown", stretch="a"))
    state.follow(change(44, "blocked", stretch="a", onset=38, state=records.REVISED))
    normal, fault = state.snapshot().sessions["site"]
    assert normal.end_ns == fault.start_ns == records.parse_time(at(38))
    assert fault.change.condition == "blocked"


def test_a_fault_that_turned_out_to_be_none_leaves_no_second_stretch():
    state = live.Live()
    state.follow(change(0, "normal"))
    state.follow(change(40, "unknown"))
    state.follow(change(60, "normal"))
    state.follow(change(90, "unknown", onset=85))
    state.follow(change(95, "normal", onset=60, stretch="site@60"))
    (stretches,) = state.snapshot().sessions.values()
    assert [(s.change.condition, s.start_ns, s.end_ns) for s in stretches] == [
        ("normal", records.parse_time(at(0)), records.parse_time(at(40))),
        ("unknown", records.parse_time(at(40)), records.parse_time(at(60))),
        ("normal", records.parse_time(at(60)), None),
    ]
    changes = state.snapshot().changes
    assert changes == {("site", "normal"): 2, ("site", "unknown"): 2}


def test_an_address_in_use_or_misspelt_is_said(tmp_path):
    with server.serving(("127.0.0.1", 0), lambda: "", EmptyCollector()) as port:
        with pytest.raises(
            UsageError, match=f"--listen 127.0.0.1:{port} cannot be used"
        ):
            with server.serving(("127.0.0.1", port), lambda: "", EmptyCollector()):
                pass
    for text in ("9464", "host:", ":1", "host:70000", "host:x"):
        with pytest.raises(UsageError, match="is not HOST:PORT"):
            server.parse_address(text)
    assert server.parse_address("[::1]:80") == ("::1", 80)
    for text in ("localhost:9093", "http://", "http://[::1", "http://host:99999/x"):
        with pytest.raises(UsageError, match="begins with http"):
            delivery.make_poster(text)


class EmptyCollector:
    def collect(self):
        return []


def test_a_policy_names_actions_of_conditions(tmp_path):
    path = tmp_path / "policy.toml"
    names = ("normal", "blocked", "unknown")
    path.write_text('blocked = "reroute"\nunknown = "page_on_call"\n')
    assert policy.read_policy(path, names) == dict(
        blocked="reroute", unknown="page_on_call"
    )
    for text, message in (
        ("blocked = 3", "needs the name of an action"),
        ("blocked", "is not TOML"),
        ('bloked = "x"', "no verdict is named 'bloked'"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            policy.read_policy(path, names)
    with pytest.raises(UsageError, match="No such file"):
        policy.read_policy(tmp_path / "missing", names)
