"""HTTP/2 of the services of a 5G core (3GPP TS 29.500): method, service, status."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

_HEADERS, _RESET = 1, 3  # types of frames (RFC 9113, 6)
METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
# Paths hold names of subscribers. So only the service is kept, if it is one of these.
SERVICES = frozenset(
    """nnrf-nfm nnrf-disc nausf-auth nausf-sorprotection nudm-ueau nudm-sdm nudm-uecm
    nudm-ee nudm-pp nudr-dr npcf-am-policy-control npcf-smpolicycontrol
    npcf-policyauthorization npcf-ue-policy-control npcf-callback namf-comm namf-evts
    namf-mt namf-loc namf-callback nsmf-pdusession nsmf-event-exposure nsmf-callback
    nnssf-nsselection nnssf-nssaiavailability nbsf-management nchf-convergedcharging
    nchf-spendinglimitcontrol nnef-pfdmanagement n5g-eir-eic nsmsf-sms
    nnwdaf-analyticsinfo nnwdaf-eventssubscription n32c-handshake n32f-forward
    oauth2""".split()
)


def service(path: str) -> str:
    """The name of the service in a path; empty: it is none of the known ones."""
    parts = path.partition("?")[0].split("/")
    return next((part for part in parts if part in SERVICES), "")


def _read(frame):
    kinds = list(map(table.number, frame.values("http2.type")))
    streams = frame.values("http2.streamid")
    headers = [s for kind, s in zip(kinds, streams) if kind == _HEADERS]
    methods = frame.values("http2.headers.method")
    paths = frame.values("http2.headers.path")
    statuses = frame.values("http2.headers.status")
    for stream, method, path in zip(headers, methods, paths):
        method = method if method in METHODS else ""
        name = service(path)
        known = method and name
        yield Message(f"{method} {name}" if known else table.OTHER, "", (stream,))
    for stream, status in zip(headers[len(methods) :], statuses):
        yield Message("", status, (stream,))
    for kind, stream in zip(kinds, streams):
        if kind == _RESET:
            yield Message("", "reset", (stream,))


_PROCEDURES = (
    *("PUT nnrf-nfm", "PATCH nnrf-nfm", "POST nnrf-nfm", "GET nnrf-nfm"),
    *("DELETE nnrf-nfm", "GET nnrf-disc", "POST oauth2", "POST nausf-auth"),
    *("PUT nausf-auth", "POST nudm-ueau", "GET nudm-sdm", "POST nudm-sdm"),
    *("DELETE nudm-sdm", "PUT nudm-uecm", "PATCH nudm-uecm", "GET nudr-dr"),
    *("PUT nudr-dr", "PATCH nudr-dr", "POST npcf-am-policy-control"),
    *("DELETE npcf-am-policy-control", "POST npcf-smpolicycontrol"),
    *("POST npcf-policyauthorization", "POST nsmf-pdusession", "POST namf-comm"),
    *("POST namf-callback", "POST nsmf-callback", "POST npcf-callback"),
    *("GET nnssf-nsselection", "POST nbsf-management", "DELETE nbsf-management"),
    *("POST nchf-convergedcharging", "POST n32c-handshake"),
)
_ANSWERED = (
    *("PUT nnrf-nfm", "PATCH nnrf-nfm", "GET nnrf-disc", "POST nausf-auth"),
    *("POST nudm-ueau", "GET nudm-sdm", "PUT nudm-uecm", "GET nudr-dr"),
    *("POST npcf-am-policy-control", "POST npcf-smpolicycontrol"),
    *("POST nsmf-pdusession", "POST namf-comm"),
)

HTTP2 = Protocol(
    name="http2",
    short="HTTP/2",
    standard="3GPP TS 29.500, RFC 9113",
    ports={"tcp": ()},  # any: a connection is known by its first bytes
    filter="http2.headers.method || http2.headers.status || http2.type == 3",
    markers=("http2.headers.method", "http2.headers.status", "http2.rst_stream.error"),
    fields=("http2.type", "http2.streamid", "http2.headers.path"),
    read=_read,
    repeats=False,
    procedures=_PROCEDURES,
    answered=_ANSWERED,
    classes={
        "success": ("2??",),
        "redirection": ("3??",),
        "interim": ("1??",),
        table.REJECTION: ("*",),
    },
    causes={
        "200": "OK",
        "201": "created",
        "204": "no content",
        "307": "temporary redirect",
        "400": "bad request",
        "401": "unauthorized",
        "403": "forbidden",
        "404": "not found",
        "409": "conflict",
        "429": "too many requests",
        "500": "internal server error",
        "503": "service unavailable",
        "504": "gateway timeout",
        "reset": "reset of the stream",
    },
    waits=tuple(Wait(name, "answer", 30.0, ("[2-9]*",)) for name in _ANSWERED),
)
