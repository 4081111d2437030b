"""Each session has its own network, and verdicts as by that network alone."""

import itertools
import json
import re

import numpy as np
import pytest

from siamjax.identification import (
    adapting,
    assigning,
    examples,
    identify,
    learning,
    library,
)
from siamjax.monitoring import lines, monitor, records, session, sources, states
from siamjax.types import UsageError
from tests import live_traffic
from tests.live_traffic import calls

S = 10**9
# Fields of JSON that depend on rounding.
NUMBERS = "distance", "margin", "runner_up", "moved", "threshold", "p_value"
PREFIXES = [
    "a=10.1.0.0/16,10.3.0.7",
    "b =10.1.2.0/24",
    "b=2001:db8::/32, ::ffff:10.4.0.0/112",
]
FILES = ["north/a_1.pcap", "south/a_2.pcap", "south/b_1.pcap"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.9.1", "a"),
        ("10.1.2.1", "b"),  # the longest prefix
        ("10.3.0.7", "a"),
        ("10.3.0.8", None),
        ("2001:db8::7", "b"),
        ("::ffff:10.1.2.1", "b"),  # IPv4 mapped into IPv6
        ("10.4.0.9", "b"),
        ("all", None),  # a session of all traffic
    ],
)
def test_a_server_is_of_the_network_with_the_longest_prefix(address, network):
    prefixes = assigning.parse_prefixes(assigning.parse_networks(PREFIXES))
    assert assigning.find_prefix(address, prefixes) == network


def test_a_file_is_of_the_network_whose_pattern_fits_its_name_or_folder():
    def assign(*texts):
        return assigning.assign_files(FILES, assigning.parse_networks(texts))

    assert assign("n=a_*") == ["n", "n", None]
    assert assign("n=south/*", "others") == ["others", "n", "n"]
    assert assign("n=north/*,b_1.pcap", "m=a_2*") == ["n", "m", "n"]
    assert assign("n") == assign("n", " n") == ["n"] * 3 and assign() == [None] * 3
    with pytest.raises(UsageError, match=r"a_2.pcap fits --network n=a_\* and m=south"):
        assign("n=a_*", "m=south/*")
    for pattern in ("c_*", ".", "north/", "/"):
        with pytest.raises(UsageError, match=f"=n={re.escape(pattern)}: no file that"):
            assign("n=*", f"n={pattern}")


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["=10.0.0.1"], "write NAME, or NAME=WHICH"),
        (["a="], "write NAME, or NAME=WHICH"),
        (["a=10.0.0.1,,10.0.0.2"], "write NAME, or NAME=WHICH"),
        (["a", "b"], "give one name for all sessions"),
        (
            ["a=10.1.0.7/16"],
            "inside the prefix 10.1.0.0/16: give addresses",
        ),
        (["a=::ffff:10.1.0.0/112", "b=10.1.0.0/16"], "to a and to b: give it to one"),
        (["a=core_*"], r"core_\* is no address: give addresses and prefixes of"),
        (["a=10.1.0.0/16", "b=10.1.0.0/16"], "to a and to b: give it to one"),
    ],
)
def test_a_wrong_assignment_is_refused_in_one_line(texts, said):
    with pytest.raises(UsageError, match=said):
        assigning.parse_prefixes(assigning.parse_networks(texts))


@pytest.fixture
def compared_with(monkeypatch, tmp_path):
    """{network: its reference}: to the steady one bursts of calls are a fault, to the
    other one they are normal, and "" is none."""
    reference = live_traffic.make_reference(monkeypatch, tmp_path)
    loads = dict(steady=[(0, 60, 1)], bursty=[(0, 30, 1), (30, 50, 12), (50, 70, 1)])
    opened = {"": reference}
    for name, parts in loads.items():
        frames = [frame for part in parts for frame in calls(*part)]
        captures = [
            live_traffic.capture(tmp_path / f"{name}_{i}.pcap", frames[7 * i :])
            for i in range(2)
        ]
        network = adapting.read_network(reference.run, name, captures)
        library.put_network(
            library.locate(reference.run.workdir),
            network,
            library.layout_of(reference.run),
        )
        adapted = adapting.adapt(reference.run, network)
        opened[name] = reference._replace(network=adapted)
    return opened


def burst(server):
    """Calls to a server, with twelve times as many for 16 s."""
    load = calls(0, 64, server=server) + calls(64, 80, 12, server=server)
    return load + calls(80, 100, server=server)


SERVERS = {"192.0.2.99": "steady", "198.51.100.1": "bursty", "203.0.113.5": ""}


def watch_servers(reference, frames, by_prefix=None, watched=None):
    """The changes and stretches of servers, by the hop of a second."""
    watched = watched or make_monitor(reference, by_prefix)
    made = []
    for _, second in itertools.groupby(sorted(frames), lambda frame: frame[0] // S):
        batch = [(t, 1, frame, len(frame)) for t, frame in second]
        made += watched.add(sources.Batch(batch, 0.0))
    made += watched.finish()
    return [r for r in made if isinstance(r, records.Change | records.Stretch)]


def make_monitor(reference, by_prefix):
    return monitor.Monitor(
        reference, sources.Tally(), by_prefix=by_prefix, by_server=True
    )


def assert_same_records(made, wanted):
    assert len(made) == len(wanted) > 0
    for record, other in zip(made, wanted):
        # Distances of one call and of another are rounded otherwise.
        numbers = [
            np.nan if x.distance is None else x.distance for x in (record, other)
        ]
        np.testing.assert_allclose(*numbers, atol=1e-5)
        record, other = (
            {k: v for k, v in records.as_json(x).items() if k not in NUMBERS}
            for x in (record, other)
        )
        assert record == other


@pytest.fixture
def by_prefix(compared_with):
    texts = ["steady=192.0.2.99", "bursty=198.51.100.0/24"]
    prefixes = assigning.parse_prefixes(assigning.parse_networks(texts))
    return {prefix: compared_with[name] for prefix, name in prefixes.items()}


def test_one_monitor_of_three_networks_is_as_three_monitors(
    compared_with, by_prefix, caplog
):
    frames = {server: burst(server) for server in SERVERS}
    together = watch_servers(
        compared_with[""], itertools.chain(*frames.values()), by_prefix
    )
    said = {}
    for server, network in SERVERS.items():
        mine = [record for record in together if record.session == server]
        assert_same_records(mine, watch_servers(compared_with[network], frames[server]))
        assert {record.network for record in mine} == {network or None}
        said[network] = {record.condition for record in mine}
        shown = f"  {server} ({network}): " if network else f"  {server}: "
        assert shown in lines.describe(mine[0])
    assert said["bursty"] == {"normal"} and "unknown" in said["steady"]
    logged = [record.getMessage() for record in caplog.records]
    assert logged.count("203.0.113.5: " + assigning.UNASSIGNED) == 1
    assert "".join(logged).count(assigning.UNASSIGNED) == 1


def test_the_state_keeps_the_network_of_each_session(
    compared_with, by_prefix, tmp_path, monkeypatch
):
    none, frames = compared_with[""], burst("192.0.2.99") + burst("198.51.100.1")
    middle_ns = min(frames)[0] + 72 * S
    first = make_monitor(none, by_prefix)
    for _, second in itertools.groupby(
        sorted(f for f in frames if f[0] < middle_ns), lambda frame: frame[0] // S
    ):
        batch = [(t, 1, frame, len(frame)) for t, frame in second]
        first.add(sources.Batch(batch, 0.0))
    states.save_state(tmp_path, first)

    again = make_monitor(none, by_prefix)
    assert states.restore_state(tmp_path, again)
    later = watch_servers(none, [f for f in frames if f[0] >= middle_ns], watched=again)
    networks = {(record.session, record.network) for record in later}
    assert networks == {("192.0.2.99", "steady"), ("198.51.100.1", "bursty")}

    judged = []  # sessions that are judged anew, since their network was learnt anew
    monkeypatch.setattr(session.Session, "judge_again", lambda x: judged.append(x.name))
    network = compared_with["steady"].network
    network = network._replace(own=network.own._replace(limit=9.0))
    learnt = {
        prefix: x._replace(network=network) if x.network_name == "steady" else x
        for prefix, x in by_prefix.items()
    }
    for prefixes, wanted in ((by_prefix, []), (learnt, ["192.0.2.99"])):
        assert states.restore_state(tmp_path, make_monitor(none, prefixes))
        assert judged == wanted

    changed = dict(zip(by_prefix, reversed(by_prefix.values())))
    for prefixes, network in ((changed, "network bursty"), ({}, "no network")):
        with pytest.raises(
            UsageError, match=f"192.0.2.99 is of network steady, .* of {network} now"
        ):
            states.restore_state(tmp_path, make_monitor(none, prefixes))


def test_each_example_is_learnt_in_the_network_of_its_capture(compared_with, tmp_path):
    frames, names = burst("192.0.2.99"), ("core_1", "edge_1", "lab_1")
    paths = [live_traffic.capture(tmp_path / f"{x}.pcap", frames) for x in names]
    places = [
        examples.Place(f"fault{i}", str(path), 64.0) for i, path in enumerate(paths)
    ]
    run, networks = compared_with[""].run, ["steady=core_*", "bursty=edge_*"]

    def learn(folder, places, networks):
        doubts = learning.learn_examples(run, places, folder=folder, networks=networks)
        kept = library.read_library(folder).examples
        return doubts, [(x.place, *x.baseline) for x in kept]

    folder = tmp_path / "learnt"
    library.export(library.locate(run.workdir), tmp_path / "networks.zip")
    for place in folder, tmp_path / "one", tmp_path / "two":
        library.import_file(place, tmp_path / "networks.zip")
    doubts, kept = learn(folder, places, networks)
    assert f"{paths[2]}: {assigning.UNASSIGNED}" in doubts
    # The burst is normal where bursts are, and nowhere else.
    assert [x.split()[0] for x in doubts if "normal time" in x] == [
        "fault1=edge_1.pcap@64"
    ]
    for name, i in (("one", 0), ("two", 1)):
        alone = learn(tmp_path / name, places[i : i + 1], [("steady", "bursty")[i]])
        np.testing.assert_equal(alone[1], kept[i : i + 1])
    with pytest.raises(UsageError, match="=steady=x_: no file that is read fits"):
        learn(tmp_path / "one", places, ["steady=x_"])


def test_identify_of_files_of_several_networks_is_as_of_each(
    compared_with, tmp_path, capsys
):
    frames, names = burst("192.0.2.99"), ("core_1", "edge_1", "lab_1")
    paths = [live_traffic.capture(tmp_path / f"{x}.pcap", frames) for x in names]

    def identified(paths, *networks):
        identify.identify_captures("", paths, networks=networks, as_json=True)
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return [{k: v for k, v in x.items() if k not in NUMBERS} for x in lines]

    together = identified(paths, "steady=core_*", "bursty=edge_*")
    alone = identified(paths[:1], "steady") + identified(paths[1:2], "bursty")
    *assigned, others = (
        [row for row in together if row["capture"] == str(path)] for path in paths
    )
    assert assigned[0] + assigned[1] == alone
    assert {row["network"] for row in assigned[0]} == {"steady"}
    assert [row["condition"] for row in assigned[1]] == ["normal"]
    assert "unknown" in [row["condition"] for row in assigned[0]]
    assert {(x["network"], x["warnings"][0]) for x in others} == {
        (None, assigning.UNASSIGNED)
    }
