"""SIP messages: spellings, cuts, and what is not SIP."""

import contextlib
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.capture import sip
from tests import packet_builder as build

MEGABYTE = 1 << 20


@pytest.mark.parametrize("spelling", ["usual", "compact"])
def test_both_spellings_of_headers_say_the_same(spelling):
    got = sip.parse_message(
        build.request("BYE", "a@b", 42, "z9hG4bK-x", spelling=spelling)
    )
    assert got == (b"BYE", None, b"a@b", b"42", b"z9hG4bK-x")
    got = sip.parse_message(
        build.answer(486, "INVITE", "a@b", 42, "z9hG4bK-x", spelling=spelling)
    )
    assert got == (b"INVITE", b"486", b"a@b", b"42", b"z9hG4bK-x")


def test_the_top_via_and_the_headers_count_not_the_body():
    body = (
        b"SIP/2.0 100 Trying\r\nCall-ID: body\r\nCSeq: 9 BYE\r\nVia: x;branch=body\r\n"
    )
    text = (
        b"NOTIFY sip:a@b SIP/2.0\r\ni: head\r\nCSeq: 7 NOTIFY\r\n"
        b"v: SIP/2.0/UDP a;branch=one\r\nVia: SIP/2.0/UDP b;branch=two\r\n\r\n"
    )
    assert sip.parse_message(text + body) == (b"NOTIFY", None, b"head", b"7", b"one")
    assert sip.parse_message(text) == sip.parse_message(text + body)


def test_a_branch_is_of_the_top_via_even_if_several_share_a_line():
    text = b"BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a, SIP/2.0/UDP b;branch=two\r\n"
    other_lines = b"CSeq: 1 BYE\r\nCall-ID: c\r\n\r\n"
    assert sip.parse_message(text + other_lines).branch is None
    assert (
        sip.parse_message(text.replace(b"a,", b"a;branch=one,") + other_lines).branch
        == b"one"
    )


def test_an_empty_header_does_not_take_the_next_line():
    text = (
        b"BYE sip:a SIP/2.0\r\nCall-ID:\r\nCSeq: 1 BYE\r\nVia:\r\n  a;branch=b\r\n\r\n"
    )
    assert sip.parse_message(text) == (b"BYE", None, None, b"1", b"b")


# Of the torture messages of RFC 4475 that are valid: 3.1.1.1, 3.1.1.2, 3.1.1.4.
TORTURE = {
    "wsinv": (
        b"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n"
        b"TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n"
        b"Call-ID: wsinv.ndaksdj@192.0.2.1\r\nContent-Length   : 150\r\n"
        b"cseq: 0009\r\n  INVITE\r\nVia  : SIP  /   2.0\r\n /UDP\r\n"
        b"    192.0.2.2;branch=390skdjuw\r\ns :\r\n\r\n",
        (b"INVITE", None, b"wsinv.ndaksdj@192.0.2.1", b"9", b"390skdjuw"),
    ),
    "intmeth": (
        b"!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)"
        b"&isn't+it$/crazy?,/;;*:&it+has=1@example.com SIP/2.0\r\n"
        b"Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\r\n"
        b"Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\r\n"
        b"CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\r\n\r\n",
        (
            b"!interesting-Method0123456789_*+`.%indeed'~",
            None,
            b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
            b"139122385",
            b"z9hG4bK-.!%66*_+`'~",
        ),
    ),
    "esc02": (
        b"RE%47IST%45R sip:registrar.example.com SIP/2.0\r\nCall-ID: esc02.as\r\n"
        b"CSeq: 29344 RE%47IST%45R\r\nv: SIP/2.0/TCP a;branch=z9hG4bK2\r\n\r\n",
        (b"RE%47IST%45R", None, b"esc02.as", b"29344", b"z9hG4bK2"),
    ),
}


@pytest.mark.parametrize("name", TORTURE)
def test_valid_messages_that_torture(name):
    text, expected = TORTURE[name]
    assert sip.parse_message(text) == expected


def test_the_case_of_a_method_in_cseq_does_not_matter():
    text = build.answer(200, "INVITE").replace(b"1 INVITE", b"1 Invite")
    assert sip.parse_message(text).method == b"INVITE"
    text = build.request("X-y").replace(b"1 X-y", b"1 X-y")
    assert sip.parse_message(text).method == b"X-y"


def test_the_tag_of_to_and_max_forwards():
    text = build.answer(200)
    assert sip.to_tag(text) is None and sip.max_forwards(text) == b"70"
    for line, tag in (
        (b"To: <sip:b@c;x=y>;a=b; tag=t-1;z=9", b"t-1"),
        (b't:"B" <sip:b@c>;tag=t2 ', b"t2"),
    ):
        tagged = text.replace(b"To: <sip:bob@example.org>", line)
        assert sip.to_tag(tagged) == tag
    assert (
        sip.max_forwards(text.replace(b"Max-Forwards: 70", b"MAX-FORWARDS :7")) == b"7"
    )
    assert sip.max_forwards(text[: text.index(b"70")]) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"SIP/2.0 99 No\r\n\r\n",
        b"SIP/2.0 2000 No\r\n\r\n",
        b"SIP/2.0 OK\r\n\r\n",
        b"NOTIFY * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n",
        b"OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        b"HELLO sip:a@b\r\n\r\n",
        b"INVITE sip:bob@exa",  # no cut was said
        b"\x80\x08SIP/2.0 200 OK\r\n",
    ],
)
def test_what_is_no_sip(payload):
    assert sip.parse_message(payload) is None


def test_empty_lines_before_a_message_do_not_matter():
    assert sip.parse_message(b"\r\n\r\n" + build.answer(200)) == sip.parse_message(
        build.answer(200)
    )


@pytest.mark.parametrize("spelling", ["usual", "compact"])
def test_a_cut_message_says_nothing_false(spelling):
    """At any snap length each part is what it is in the whole message, or missing."""
    for whole in (
        build.request("INVITE", "call-123", 45, "z9hG4bK-67", spelling=spelling),
        build.answer(180, "INVITE", "call-123", 45, "z9hG4bK-67", spelling=spelling),
    ):
        full, known = sip.parse_message(whole), 0
        for size in range(len(whole)):
            got = sip.parse_message(whole[:size], cut=True)
            if got is None:
                assert size < whole.index(b"\r\n")
                continue
            assert all(part in (None, says) for part, says in zip(got, full))
            assert sum(part is not None for part in got) >= known
            known = sum(part is not None for part in got)
        assert got == full


FIRST = b"INVITE sip:a SIP/2.0\r\n"
VIA = FIRST + b"Via: a;branch=b\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"SIP/2.0 200 ",
        b"INVITE ",
        b"INVITE sip:",
        FIRST,
        FIRST + b"Via: ",
        FIRST + b"Via: a;branch=",
        VIA,
        VIA + b"CSeq: 1",
        VIA + b"CSeq: 1 INVITE\r\n",
        VIA + b"Call-ID: c\r\n",
        FIRST + b"v:",
        FIRST + b"CSeq: 1",
        FIRST + b"i:",
    ],
)
def test_a_message_of_megabytes_is_read_once(head):
    """Reading each byte once takes milliseconds; a quadratic reader takes hours."""
    parts = (
        b" ",
        b"\t",
        b"\n ",
        b"\r\n ",
        b"\r\n",
        b"\r",
        b";",
        b"; ",
        b";branch",
        b";branch=",
        b",",
        b"A",
        b"1",
        b"\nv:",
        b"\nvia ",
        b"\nv:\n ",
        b"CSeq: ",
        b"C",
        b"x\r\n",
        b" SIP/2.0",
    )
    with time_limit(10):
        for part in parts:
            message = head + part * (MEGABYTE // 16 // len(part))
            sip.parse_message(message, True)
            sip.parse_message(message)
        sip.parse_message(head + b" " * MEGABYTE)


@contextlib.contextmanager
def time_limit(seconds):
    """Raises instead of hanging: a signal interrupts a regular expression as well."""

    def stop(*_):
        raise TimeoutError(f"not done in {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_the_branch_is_the_first_of_the_first_hop():
    def branch(via):
        text = FIRST + b"CSeq: 1 INVITE\r\nCall-ID: c\r\nVia: " + via + b"\r\n\r\n"
        return sip.parse_message(text).branch

    assert branch(b"a;rport; Branch = x ;branch=y, b;branch=z") == b"x"
    assert branch(b"a;branch") is None and branch(b"a;branch= ;x") is None
    assert branch(b"a;my-branch=x") is None and branch(b"branch=x") is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.booleans())
def test_no_payload_is_fatal(tail, cut):
    for head in (
        b"",
        b"SIP/2.0 200 OK\r\n",
        b"INVITE sip:a SIP/2.0\r\nCSeq:",
        b"BYE sip:",
    ):
        sip.parse_message(head + tail, cut)


@settings(max_examples=400, deadline=None)
@given(
    st.permutations(range(7)),
    st.text("abc;=, \t0", max_size=12),
    st.integers(0, 9**9),
    st.data(),
)
def test_the_usual_way_is_only_faster(order, call, number, data):
    """Headers in any order, cut anywhere, any byte changed: both ways say the same."""
    make = data.draw(st.sampled_from([build.request, lambda *a: build.answer(200, *a)]))
    first, *lines = make("BYE", call, number).decode().split("\r\n")[:-2]
    text = "\r\n".join([first, *(lines[i] for i in order), "", ""]).encode()
    text = bytearray(text[: data.draw(st.integers(40, len(text)))])
    for _ in range(data.draw(st.integers(0, 2))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(11, 126))
    text = bytes(text)
    assert sip.parse_message(text, True) == sip._parse(text, True)
