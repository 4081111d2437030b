"""Recognises faults of telecom networks, and learns a new one from one example."""

__version__ = "0.1.0"

# `python -m siamjax.train` finds the command of that name.
__path__ = [*__path__, *(f"{folder}/commands" for folder in __path__)]
