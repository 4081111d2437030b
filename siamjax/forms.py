"""Forms: what a JSON value must look like, written with Python's own types.

int, float, str, bool   a whole number from 0 that fits 64 bits, a finite number, ...
object                  anything, with whole numbers that a float can hold
(form, None)            of that form, or null
[form]                  a list of that form, of any length
{"name": form}          an object that has the name, and perhaps others
{str: form}             an object, whatever the names
"""

import sys
from collections.abc import Callable
from typing import Any

_SCALARS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    int: ("whole number from 0", lambda x: type(x) is int and 0 <= x < 2**63),
    float: ("finite number", lambda x: type(x) in (int, float) and _is_finite(x)),
    str: ("text", lambda x: isinstance(x, str)),
    bool: ("true or false", lambda x: isinstance(x, bool)),
    object: ("number", lambda x: type(x) is not int or _is_finite(x)),
}


def check_form(value: Any, form: Any, place: str = "") -> None:
    """Raises ValueError, which says where, unless a JSON value is of a form.

    Args:
      value: as `json.loads` gives it.
      form: see this module's docstring.
      place: where the value stands, for the error.
    """
    if isinstance(form, tuple):
        if value is not None:
            check_form(value, form[0], place)
    elif isinstance(form, list):
        _require(isinstance(value, list), place, "list")
        for i, each in enumerate(value):
            check_form(each, form[0], f"{place}[{i}]")
    elif isinstance(form, dict):
        _require(isinstance(value, dict), place, "object")
        for name, inner in form.items():
            if name is not str and name not in value:
                raise ValueError(f"{place}.{name} is missing".lstrip("."))
            for key in value if name is str else [name]:
                check_form(value[key], inner, f"{place}.{key}".lstrip("."))
    elif form is object and isinstance(value, dict | list):
        check_form(value, {str: object} if isinstance(value, dict) else [object], place)
    else:
        what, holds = _SCALARS[form]
        _require(holds(value), place, what)


def _require(holds, place, what):
    if not holds:
        raise ValueError(f"{place or 'the whole'} is not of the form: {what}")


def _is_finite(number):
    return abs(number) <= sys.float_info.max
