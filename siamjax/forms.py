"""Forms: what a JSON value must look like, written with Python's types.

int, float, str, bool   an integer from 0 that fits 64 bits, a finite number, ...
object                  any value; its integers must fit a float
(form, None)            a value of this form, or null
[form]                  a list of any length of values of this form
{"name": form}          an object with this name, and perhaps others
{str: form}             an object with any names
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
    """Raises ValueError, which says where, if a JSON value does not fit a form.

    Args:
      value: as `json.loads` gives it.
      form: see the docstring of this module.
      place: the name of the value in the error message.
    """
    if isinstance(form, tuple):
        if value is not None:
            check_form(value, form[0], place)
    elif isinstance(form, list):
        _require(isinstance(value, list), place, "list")
        for i, item in enumerate(value):
            check_form(item, form[0], f"{place}[{i}]")
    elif isinstance(form, dict):
        _require(isinstance(value, dict), place, "object")
        for name, form_of_name in form.items():
            if name is not str and name not in value:
                raise ValueError(f"{place}.{name} is missing".lstrip("."))
            for key in value if name is str else [name]:
                check_form(value[key], form_of_name, f"{place}.{key}".lstrip("."))
    elif form is object and isinstance(value, dict | list):
        check_form(value, {str: object} if isinstance(value, dict) else [object], place)
    else:
        description, fits = _SCALARS[form]
        _require(fits(value), place, description)


def _require(fits, place, description):
    if not fits:
        raise ValueError(f"{place or 'the whole'} is not of the form: {description}")


def _is_finite(number):
    return abs(number) <= sys.float_info.max
