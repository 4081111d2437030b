"""Recognises faults of telecom networks, and learns a new one from one example.

In a notebook:

    import siamjax
    run = siamjax.open_run("runs/first")
    run.identify("new.pcap", examples=[("slow", "old.pcap", 60)])
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siamjax.api import (
        Capture,
        Points,
        Run,
        evaluate_run,
        open_run,
        read_capture,
    )
    from siamjax.identification.timeline import Span
    from siamjax.types import Events, SiamjaxError, UsageError

__version__ = "0.1.0"
__all__ = [
    "Capture",
    "Events",
    "Points",
    "Run",
    "SiamjaxError",
    "Span",
    "UsageError",
    "evaluate_run",
    "open_run",
    "read_capture",
]

# `python -m siamjax.train` finds the command of that name.
__path__ = [*__path__, *(f"{folder}/commands" for folder in __path__)]
_ELSEWHERE = {
    "Events": "types",
    "SiamjaxError": "types",
    "Span": "identification.timeline",
    "UsageError": "types",
}


def __getattr__(name: str) -> Any:
    """Loads a name of `__all__` when it is first used: the import stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'siamjax' has no attribute {name!r}")
    module = importlib.import_module(f"siamjax.{_ELSEWHERE.get(name, 'api')}")
    globals()[name] = value = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
