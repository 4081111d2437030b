"""SIP messages (RFC 3261): the first line, and the headers that name a transaction."""

import re
from typing import NamedTuple

# The methods of RFC 3261 and its extensions, as IANA lists them.
METHODS = frozenset(
    b"""ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER
    SUBSCRIBE UPDATE""".split()
)

# No message can make these patterns slow: possessive quantifiers (*+, ++) never try
# again, and other parts are followed by what they cannot match.
_TOKEN = rb"[-A-Za-z0-9.!%*_+`'~]++"
FIRST_LINE = re.compile(
    rb"SIP/2\.0 ([1-6]\d\d)(?!\d)|(%s) [^ \r\n]++ SIP/2\.0\r?\n" % _TOKEN
)
# A packet may be cut by the snap length inside a long first line.
_CUT_REQUEST = re.compile(
    rb"()(%s) (?:sips?|tel|urn):[^ \r\n]*+(?: [SIP/2.0]*+\r?)?\Z" % _TOKEN
)
# The line must be complete: a part of a Call-ID would name another dialog.
_HEADER = re.compile(
    rb"""\n(?:(cseq)|(call-id|i)|(?:via|v))[ \t]*+:
    (?:[ \t]|\r?\n[ \t])*+    # a value may begin on the next line
    ((?:[^\r\n]|\r?\n[ \t])*+)(?=[\r\n])""",
    re.IGNORECASE | re.VERBOSE,
)
_CSEQ = re.compile(rb"(\d++)[ \t\r\n]++(%s)" % _TOKEN)
_BLANKS = b" \t\r\n"
_TO_TAG = re.compile(rb"\n(?:to|t)[ \t]*+:[^\r\n]*?;[ \t]*+tag=([^;\s]++)[;\s]", re.I)
_MAX_FORWARDS = re.compile(rb"\nmax-forwards[ \t]*+:[ \t]*+(\d++)\s", re.IGNORECASE)

# Nearly all messages are written like this, and one match reads them in half the time.
# It does not check for a line feed alone inside a line.
_USUAL = re.compile(
    rb"""(?:SIP/2\.0\ ([1-6]\d\d)\ [^\r\n]*+|([A-Z]++)\ [^ \r\n]++\ SIP/2\.0)\r\n
    Via:\ [^\r\n,;]*+;branch=([^\r\n,;\ \t]++)[^\r\n,]*+\r\n
    (?:(?!C(?:Seq|all-ID):\ )[^\r]++\r\n)*+
    (?:
        CSeq:\ ((?!0\d)\d++)\ ([A-Z]++)\r\n
        (?:(?!Call-ID:\ )[^\r]++\r\n)*+
        Call-ID:\ ([^\r\n\ \t]++)\r
    |
        Call-ID:\ ([^\r\n\ \t]++)\r\n
        (?:(?!CSeq:\ )[^\r]++\r\n)*+
        CSeq:\ ((?!0\d)\d++)\ ([A-Z]++)\r
    )""",
    re.VERBOSE,
).match


class Message(NamedTuple):
    """Fields of a message; None for a field that it does not have, or that was cut."""

    method: bytes | None  # of the request, or the CSeq of an answer
    status: bytes | None  # None: a request
    call_id: bytes | None
    number: bytes | None  # of CSeq
    branch: bytes | None  # of the topmost Via


_new = tuple.__new__  # takes half the time of the class: there are millions of messages


def parse_message(payload: bytes, cut: bool = False) -> Message | None:
    """The `Message` in a datagram of any port, or None where it is not SIP.

    Args:
      payload: bytes of the datagram.
      cut: whether its end was not captured.
    """
    usual = _USUAL(payload)
    if usual is None:
        return _parse(payload, cut)
    groups = usual.groups()
    if groups[5] is None:
        status, method, branch, _, _, _, call_id, number, asked = groups
    else:
        status, method, branch, number, asked, call_id, _, _, _ = groups
    return _new(Message, (method or asked, status, call_id, number, branch))


def _parse(payload, cut):
    """The same, for all forms that RFC 3261 allows."""
    payload = payload.lstrip(b"\r\n")  # RFC 3261, 7.5
    first = FIRST_LINE.match(payload) or (cut and _CUT_REQUEST.match(payload))
    if not first:
        return None
    status, method = first.groups()
    via, cseq, call_id = _headers(payload, first.end() - 1)
    named = cseq and _CSEQ.match(cseq)
    number, asked = named.groups() if named else (None, None)
    if number:
        number = number.lstrip(b"0") or b"0"
    if asked and asked.upper() in METHODS:  # some servers change its case
        asked = asked.upper()
    branch = _branch(via or b"")
    return Message(method or asked, status or None, call_id, number, branch)


def to_tag(payload: bytes) -> bytes | None:
    """The tag of the To header, which names the branch of a forked call."""
    tag = _TO_TAG.search(payload)
    return tag and tag[1]


def max_forwards(payload: bytes) -> bytes | None:
    """Max-Forwards, which is lower after each hop."""
    left = _MAX_FORWARDS.search(payload)
    return left and left[1]


def _branch(via):
    """The branch of the first hop of a Via, or None."""
    for parameter in via.partition(b",")[0].split(b";")[1:]:
        name, _, value = parameter.partition(b"=")
        if name.strip(_BLANKS).lower() == b"branch":
            return (value.split() or [None])[0]
    return None


def _headers(payload, start):
    """Top Via, CSeq and Call-ID; None for each that is missing or not complete."""
    via = cseq = call_id = None
    for header in _HEADER.finditer(payload, start):
        is_cseq, is_call_id, value = header.groups()
        if is_cseq:
            cseq = cseq or value
        elif is_call_id:
            call_id = call_id or value.strip(_BLANKS) or None
        else:
            via = via or value
        if via and cseq and call_id:
            break
    return via, cseq, call_id
