"""The library on disk: what was learnt is there tomorrow, whole, and for other runs."""

import zipfile
from concurrent import futures

import numpy as np
import pytest

from siamjax import files
from siamjax.identification import library, library_files
from siamjax.identification.examples import Place
from siamjax.types import Baseline, SiamjaxError, UsageError

LAYOUT = library_files.Layout(("INVITE", "BYE"), (True, True), 0.5)
ORIGIN = library_files.Origin(
    "ticket 12", "2026-11-26T07:08:48+00:00", "first, step 300"
)


def example(name="slow", start_s=60.0, value=1.0):
    counts = np.full((4, 2), value, np.float32)
    baseline = Baseline(counts[0] + 1, counts[0] + 2)
    return library_files.Example(
        Place(name, "a/b.pcap", start_s), counts, baseline, ORIGIN
    )


def network(name="site", bins=(5, 3)):
    counts = tuple(np.full((n, 2), n, np.float32) for n in bins)
    return library_files.Network(name, ("mon", "tue"), counts, ORIGIN)


def equal(first, second):
    np.testing.assert_equal(
        [first.examples, first.networks], [second.examples, second.networks]
    )


def test_what_was_learnt_is_read_again(tmp_path):
    folder = tmp_path / "none" / "library"
    assert library.read_library(folder) == ((), ())
    library.add_examples(folder, [example()], LAYOUT)
    library.add_examples(folder, [example("busy", 3.5, 2.0)], LAYOUT)
    library.put_network(folder, network(), LAYOUT)
    kept = library.read_library(folder, LAYOUT)
    both = (example(), example("busy", 3.5, 2.0))
    equal(kept, library.Library(both, (network(),)))
    joined = library.as_examples(kept.examples)
    assert joined.names == ("slow", "busy") and joined.baseline.mean.shape == (2, 2)
    assert library.as_examples(()) is None
    # The same place again, and a network of the same name, replace what was there.
    library.add_examples(folder, [example(value=9.0)], LAYOUT)
    library.put_network(folder, network(bins=(7, 7)), LAYOUT)
    kept = library.read_library(folder)
    assert [e.counts[0, 0] for e in kept.examples] == [2.0, 9.0]
    assert [len(counts) for counts in kept.network("site").counts] == [7, 7]
    assert len(library.describe_library(kept)) == len(library.list_records(kept)) == 3
    assert "slow=b.pcap@60  (2026" in library.describe_library(kept)[1]


def test_windows_of_another_length_are_one_line_and_nothing_is_written(tmp_path):
    library.add_examples(tmp_path, [example()], LAYOUT)
    longer = example("busy")._replace(counts=np.zeros((6, 2), np.float32))
    with pytest.raises(SiamjaxError, match=r"windows of \[4, 6\] bins: give another"):
        library.add_examples(tmp_path, [longer], LAYOUT)
    equal(library.read_library(tmp_path), library.Library((example(),), ()))


def test_what_is_forgotten_is_gone_and_nothing_else(tmp_path):
    both = [example(), example("slow", 5.0), example("busy")]
    library.add_examples(tmp_path, both, LAYOUT)
    library.put_network(tmp_path, network(), LAYOUT)
    assert library.forget(tmp_path, "slow@5") == ["the example slow=b.pcap@5"]
    assert library.forget(tmp_path, "slow") == ["the example slow=b.pcap@60"]
    with pytest.raises(UsageError, match="nothing of the name 'slow', it has busy, si"):
        library.forget(tmp_path, "slow")
    library.forget(tmp_path, "busy")
    kept = library.read_library(tmp_path)
    assert not kept.examples and kept.networks[0].name == "site"
    library.forget(tmp_path, "site")
    assert library.read_library(tmp_path) == ((), ())
    with pytest.raises(UsageError, match=r"no network 'site', it has none: .*adapt"):
        library.read_library(tmp_path).network("site")
    with pytest.raises(UsageError, match=r"--network 'n=a_\*': give a name of letters"):
        library.read_library(tmp_path).network("n=a_*")
    with pytest.raises(UsageError, match="there is no library"):
        library.forget(tmp_path / "none", "slow")


def test_a_library_moves_in_one_file(tmp_path):
    one, two, file = tmp_path / "one", tmp_path / "two", tmp_path / "faults.zip"
    with pytest.raises(UsageError, match="is empty"):
        library.export(one, file)
    library.add_examples(one, [example()], LAYOUT)
    library.put_network(one, network(), LAYOUT)
    library.export(one, file)
    library.add_examples(two, [example("busy")], LAYOUT)
    assert library.import_file(two, file) == [
        "the example slow=b.pcap@60",
        "the network site",
    ]
    library.import_file(two, file)  # twice is once
    kept = library.read_library(two)
    equal(kept, library.Library((example("busy"), example()), (network(),)))
    later = network()._replace(origin=ORIGIN._replace(learnt="2027"))
    library.put_network(two, later, LAYOUT)
    with pytest.raises(UsageError, match="another network 'site': forget it first"):
        library.import_file(two, file)


def test_a_file_of_a_stranger_writes_nothing_outside(tmp_path):
    file = tmp_path / "bad.zip"
    library.add_examples(tmp_path / "one", [example()], LAYOUT)
    data = (tmp_path / "one" / library.EXAMPLES).read_bytes()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("../out.npz", "networks/../../out.npz", "/out.npz", "x/out.npz"):
            archive.writestr(name, data)
    with pytest.raises(SiamjaxError, match="holds no library"):
        library.import_file(tmp_path / "two", file)
    assert not list(tmp_path.rglob("out.npz")) and not (tmp_path / "two").exists()
    file.write_bytes(b"PK\3\4 no zip")
    with pytest.raises(files.Damaged, match=r"bad\.zip is damaged"):
        library.import_file(tmp_path / "two", file)


def test_a_damaged_file_is_one_line_and_stays_as_it_is(tmp_path):
    library.add_examples(tmp_path, [example()], LAYOUT)
    path = tmp_path / library.EXAMPLES
    whole = path.read_bytes()
    for part in (b"", whole[: len(whole) // 2]):
        path.write_bytes(part)
        with pytest.raises(files.Damaged, match=r"examples\.npz is damaged.*learn aga"):
            library.add_examples(tmp_path, [example("busy")], LAYOUT)
        assert path.read_bytes() == part


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (LAYOUT._replace(columns=("INVITE", "ACK")), "other columns.*: ACK, BYE"),
        (LAYOUT._replace(bin_s=1.0), "bins of 0.5 s, this run has 1 s"),
        (LAYOUT._replace(heavy=(True, False)), "other columns than this run;"),
    ],
)
def test_a_run_of_another_layout_is_refused(other, says, tmp_path):
    library.add_examples(tmp_path / "a", [example()], LAYOUT)
    library.put_network(tmp_path / "b", network(), LAYOUT)
    for folder in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(SiamjaxError, match=says):
            library.read_library(folder, other)


@pytest.mark.parametrize("name", ["", "a/b", "..", "normal", "Unknown", "x" * 101])
def test_a_network_has_a_name_that_can_be_a_file(name, tmp_path):
    with pytest.raises(UsageError, match="give a name of letters"):
        library.put_network(tmp_path, network(name), LAYOUT)


def test_the_folder_is_given_or_that_of_the_run(tmp_path):
    assert library.locate(tmp_path) == tmp_path / "library"
    assert library.locate(tmp_path, "other").name == "other"
    with pytest.raises(UsageError, match="give --library DIR, or --workdir DIR"):
        library.locate(None)
    library.check_given(None)
    library.check_given(tmp_path)
    with pytest.raises(UsageError, match=r"--library=.*typo: there is no such folder"):
        library.check_given(tmp_path / "typo")


def test_two_that_learn_at_once_both_keep_what_they_learnt(tmp_path):
    def add(i):
        library.add_examples(tmp_path, [example(f"fault_{i}")], LAYOUT)

    with futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    names = {e.place.condition for e in library.read_library(tmp_path).examples}
    assert names == {f"fault_{i}" for i in range(4)}
