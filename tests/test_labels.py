"""The table of labels: what can be used is used, and every flaw has its line."""

import math
import os

import pytest

from siamjax.data import labels
from siamjax.types import Label, UsageError

HEAD = "file,condition,onset_s,clear_s\n"


def read(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(os.fsencode(text))
    return labels.read_labels(path)


def test_a_good_table(tmp_path):
    table = read(
        tmp_path,
        HEAD + "a,normal,,\nb,blocked,36.5,90\nc,delay,60,\nc,blocked,30.25,41\n",
    )
    assert table.labels == {
        "a": (),
        "b": (Label("blocked", 36.5, 90.0),),
        "c": (Label("blocked", 30.25, 41.0), Label("delay", 60.0, math.inf)),
    }
    assert table.wrong == {} and table.problems == []


def test_the_recorders_columns_are_known_in_any_order(tmp_path):
    text = "notes,clear_s,seed,onset_s,condition,file\nx=1;y=2,,7,3,delay,a\n"
    table = read(tmp_path, "\ufeff" + text.replace("\n", "\r\n"))
    assert table == ({"a": (Label("delay", 3.0, math.inf),)}, {}, [])


def test_empty_lines_are_no_rows_but_count_in_their_numbers(tmp_path):
    table = read(tmp_path, f"\n{HEAD}a,normal,,\n\n,,,\n  \nb,x,soon,\n,,,,\n")
    assert table.labels == {"a": ()} and table.problems == []
    reason = "onset_s 'soon' is not a number of seconds"
    assert table.wrong == {"b": f"labels.csv, row 7: {reason}"}


@pytest.mark.parametrize(
    "row, reason",
    [
        ("bad,delay,soon,", "onset_s 'soon' is not a number of seconds"),
        ("bad,delay,nan,", "onset_s 'nan' is not a number of seconds"),
        ("bad,delay,3,never", "clear_s 'never' is not a number of seconds"),
        ("bad,delay,-3,", "onset_s -3 is outside of the capture"),
        ("bad,delay,inf,", "onset_s inf is outside of the capture"),
        ("bad,delay,,", "delay has no onset_s"),
        ("bad,delay", "delay has no onset_s"),
        ("bad,delay,40,30", "clear_s 30 is not after onset_s 40"),
        ("bad,delay,40,40", "clear_s 40 is not after onset_s 40"),
        ("bad,,40,50", "no condition"),
        ("bad,normal,4,", "normal has neither onset_s nor clear_s"),
        ("bad,delay,4,5,6", "more fields than columns"),
        (f"bad,{'x' * 101},4,5", "condition xxxxx"),
        ("bad,de\x1b[2Jlay,4,5", "condition de\\x1b[2Jlay has a character"),
        ('bad,"de\nlay",4,5', "condition de\\nlay has a character that"),
        ("bad,d\udce9,4,5", "condition d\\udce9 has a character that"),
        (f"bad,delay,{'9' * 400}x,", "onset_s '9999"),
        ("bad,Normal,,", "condition Normal: write normal in small letters"),
        ("bad,unknown,40,50", "condition unknown: identification uses this"),
        ("bad,Recovering,40,50", "condition Recovering: identification uses this"),
    ],
)
def test_a_row_that_cannot_be_used_takes_its_file_along(tmp_path, row, reason):
    """Also the good row of that file: without the bad one its fault would be normal."""
    table = read(tmp_path, HEAD + f"good,normal,,\n{row}\nbad,blocked,70,80\n")
    assert table.labels == {"good": ()}
    assert list(table.wrong) == ["bad"]
    assert table.wrong["bad"].startswith(f"labels.csv, row 3: {reason}")


@pytest.mark.parametrize(
    "rows, reason",
    [
        ("a,normal,,\na,delay,3,4\n", "both normal and delay"),
        ("a,delay,3,9\na,blocked,8,12\n", "delay and blocked overlap"),
        ("a,delay,3,\na,blocked,8,12\n", "delay and blocked overlap"),
    ],
)
def test_rows_that_contradict_each_other(tmp_path, rows, reason):
    table = read(tmp_path, HEAD + rows)
    assert table.labels == {} and reason in table.wrong["a"]


def test_a_row_without_a_file_harms_no_other(tmp_path):
    table = read(tmp_path, HEAD + ",delay,3,4\na,normal,,\n")
    assert table.labels == {"a": ()} and "no file" in table.wrong[""]


def test_a_duplicate_row_and_an_unknown_column_are_said_and_harmless(tmp_path):
    table = read(
        tmp_path,
        "file,condition,onset_s,clear_s,wether\na,delay,3,4,rain\na,delay,3,4,sun\n",
    )
    assert table.labels == {"a": (Label("delay", 3.0, 4.0),)}
    assert table.problems == [
        "labels.csv: unknown column wether, ignored",
        "labels.csv, row 3: a is there twice, used once",
    ]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "has no column file, condition, onset_s, clear_s; it has none"),
        ("file|condition|onset_s|clear_s\n", "has no column file, condition"),
        ("file,condition,onset_s\na,normal,\n", "has no column clear_s; it has file"),
    ],
)
def test_a_table_without_its_columns_is_refused(tmp_path, text, reason):
    with pytest.raises(UsageError, match=reason):
        read(tmp_path, text)


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        labels.read_labels(tmp_path / "none.csv")
    (tmp_path / "binary").write_bytes(b"\xd4\xc3\xb2\xa1\xff\0\0")
    with pytest.raises(UsageError, match="not a table of text"):
        labels.read_labels(tmp_path / "binary")


@pytest.mark.parametrize(
    "data, reason",
    [
        (HEAD + "a," + "x" * 200_000, "not a table of text: field larger than"),
        (HEAD.encode("utf-16"), "not a table of text: save it as CSV in UTF-8"),
        ("\0" * 9, "not a table of text"),
        ("x" * 100_000, "has no column file, condition, onset_s, clear_s; it has x"),
    ],
)
def test_tables_of_strangers_are_refused_in_one_short_line(tmp_path, data, reason):
    path = tmp_path / "labels.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(UsageError, match=reason) as error:
        labels.read_labels(path)
    assert len(str(error.value).replace(str(path), "")) < 300


def test_bytes_that_are_no_utf_8_name_the_file_that_has_them(tmp_path):
    table = read(tmp_path, HEAD + "caf\udce9.pcap,normal,,\na\0b,normal,,\n")
    assert table.labels == {"caf\udce9.pcap": (), "a\0b": ()}


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_decimal_commas_is_read(tmp_path, mark):
    rows = (
        ["\ufeff\nfile", *HEAD.strip().split(",")[1:]],
        ["a,1", "delay", "12,5", "60"],
    )
    table = read(tmp_path, "\n".join(map(mark.join, rows)))
    assert table == ({"a,1": (Label("delay", 12.5, 60.0),)}, {}, [])


def test_a_comma_in_a_number_is_not_guessed_where_commas_separate(tmp_path):
    table = read(tmp_path, HEAD + 'a,delay,"1,234",\n')  # perhaps a thousand
    assert "onset_s '1,234' is not a number" in table.wrong["a"]


def test_names_that_may_be_spelling_mistakes_are_asked_about():
    networks = "busy_reject capacity_limit packet_loss downlink_loss delay server_down"
    assert not labels.find_alike(
        [*networks.split(), "server_stall", "link_1", "link_2"]
    )
    for pair in (
        ("delay", "dealy"),
        ("Blocked", "blocked"),
        ("link loss", "link_loss"),
    ):
        (line,) = labels.find_alike([*pair, "normal", pair[0]])
        assert all(name in line for name in pair)


def test_an_onset_must_lie_in_the_capture():
    label = Label("delay", 99.0, math.inf)
    assert labels.find_outside((label,), 100.0) == ""
    assert "onset of delay at 99 s is after" in labels.find_outside((label,), 99.0)
    assert labels.find_outside((), 0.0) == ""
