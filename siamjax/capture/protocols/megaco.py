"""Megaco, H.248 (ITU-T H.248.1): a controller and its media gateways."""

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Message, Protocol, Wait

REPLY = "reply"
_COMMANDS = (
    *("Add", "Modify", "Subtract", "Move", "AuditValue", "AuditCapability"),
    *("Notify", "ServiceChange"),
)
_LOWER = {command.lower(): command for command in _COMMANDS}
# Choices of the binary form.
_REQUEST, _REPLY = "h248.transactionRequest_element", "h248.transactionReply_element"


def _read(frame):
    kinds = frame.values("megaco.transaction")
    commands = [_command(value) for value in frame.values("megaco.command")]
    errors = frame.values("megaco.error_code")
    for i, (kind, number) in enumerate(zip(kinds, frame.values("megaco.transid"))):
        if kind == "Request":
            procedure = commands[i] if i < len(commands) else table.OTHER
            yield Message(procedure, "", (number,))
        elif kind == "Reply":
            yield Message("", errors.pop(0) if errors else REPLY, (number,))
        elif kind != "TransactionResponseAck":
            yield Message(table.OTHER)
    code = frame.first("h248.errorCode")
    asked = frame.values("h248.transactionId")
    for _, number in zip(frame.values(_REQUEST), asked):
        yield Message(_binary_command(frame), "", (number,))
    for _, number in zip(frame.values(_REPLY), asked):
        yield Message("", code or REPLY, (number,))


def _command(value):
    return _LOWER.get(value.split("(")[0].strip().lower(), table.OTHER)


def _binary_command(frame):
    number = table.number(frame.first("h248.command"))
    order = ("Add", "Move", "Modify", "Subtract", "AuditCapability", "AuditValue")
    named = dict(enumerate((*order, "Notify", "ServiceChange")))
    return named.get(number, table.OTHER)


MEGACO = Protocol(
    name="megaco",
    short="Megaco",
    standard="ITU-T H.248.1",
    ports={
        "udp": (2944, 2945),
        "tcp": (2944, 2945),
        "sctp": (2944, 2945),
        "ppid": (7,),
    },
    layers=("megaco", "h248"),
    filter="megaco || h248",
    markers=("megaco.transaction", _REQUEST, _REPLY),
    fields=(
        *("megaco.transid", "megaco.command", "megaco.error_code"),
        *("h248.transactionId", "h248.command", "h248.errorCode"),
    ),
    read=_read,
    between="asker",
    procedures=_COMMANDS,
    answered=("Add", "Modify", "Subtract", "Notify", "ServiceChange"),
    classes={"success": (REPLY,), table.REJECTION: ("*",)},
    causes={
        "400": "syntax error in message",
        "403": "syntax error in transaction",
        "411": "unknown context",
        "430": "unknown termination",
        "433": "termination already in a context",
        "500": "internal software failure",
        "501": "not implemented",
        "510": "insufficient resources",
        "533": "response exceeds the transport",
    },
    waits=tuple(
        Wait(command, "answer", 30.0)
        for command in ("Add", "Modify", "Subtract", "Notify", "ServiceChange")
    ),
)
