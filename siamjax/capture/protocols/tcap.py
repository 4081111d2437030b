"""TCAP (ITU-T Q.773): dialogues of SS7, and components of MAP and CAMEL in them."""

from collections.abc import Mapping

from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Frame, Message, Protocol, Wait

END, ABORT, RESULT, REJECTED = "end", "abort", "result", "reject"
_ELEMENTS = dict(begin="", end=END, abort=ABORT)


def _read(frame):
    asked, answered = frame.first("tcap.otid"), frame.first("tcap.dtid")
    for element, outcome in _ELEMENTS.items():
        if frame.first(f"tcap.{element}_element"):
            name = answered if outcome else asked
            if outcome == ABORT and (cause := frame.first("tcap.p_abortCause")):
                outcome = cause
            yield Message("Dialogue", outcome, (name,))
    if frame.first("tcap.continue_element"):
        yield Message("Continue")
    if frame.first("tcap.unidirectional_element"):
        yield Message("Unidirectional")


TCAP = Protocol(
    name="tcap",
    short="TCAP",
    standard="ITU-T Q.773",
    carriers=("m3ua", "sccp"),
    filter="tcap",
    markers=tuple(
        f"tcap.{name}_element" for name in (*_ELEMENTS, "continue", "unidirectional")
    ),
    fields=("tcap.otid", "tcap.dtid", "tcap.p_abortCause"),
    read=_read,
    between="all",
    repeats=False,
    procedures=("Dialogue", "Continue", "Unidirectional"),
    answered=("Dialogue",),
    classes={"success": (END,), table.REJECTION: ("*",)},
    causes={
        "abort": "aborted by the user",
        "0": "unrecognized message type",
        "1": "unrecognized transaction",
        "4": "resource limitation",
    },
    waits=(Wait("Dialogue", "answer", 60.0),),
)


def read_components(
    operations: Mapping[int, str],
    *,
    operation: str,
    invocation: str,
    invoke: str,
    results: tuple[str, ...],
    error: str,
    error_code: str,
    reject: str,
) -> table.Read:
    """A reader of the components of a dialogue: what is invoked and how it ends.

    Args:
      operations: {code: procedure}.
      operation: field of the code.
      invocation: field of the number of an invocation.
      invoke: field that each invocation has.
      results: fields of which each result has one.
      error: field that each error has.
      error_code: field of its code, which comes behind those of operations.
      reject: field that each rejection has.
    """

    def read(frame: Frame):
        asked, answered = frame.first("tcap.otid"), frame.first("tcap.dtid")
        numbers, codes = frame.values(invocation), frame.values(operation)
        invokes = len(frame.values(invoke))
        done = sum(len(frame.values(field)) for field in results)
        errors = len(frame.values(error))
        rejects = len(frame.values(reject))
        error_codes = frame.values(error_code)[-errors:] if errors else []
        for i in range(invokes):
            code = table.number(codes[i]) if i < len(codes) else -1
            procedure = operations.get(code, table.OTHER)
            named = asked and i < len(numbers)
            yield Message(procedure, "", (asked, numbers[i]) if named else ())
        outcomes = [RESULT] * done + (error_codes + [table.OTHER] * errors)[:errors]
        for i, outcome in enumerate(outcomes + [REJECTED] * rejects, invokes):
            named = answered and i < len(numbers)
            yield Message("", outcome, (answered, numbers[i]) if named else ())

    return read
