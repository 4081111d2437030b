"""Checks that results.json has the fields that its readers use.

`evaluation.results` describes them.
"""

from typing import Any

from siamjax import forms

_NUMBER = (float, None)
_INTERVAL = dict(value=_NUMBER, low=float, high=float, widened=bool)
_UNITS = dict(window=_INTERVAL, capture=_INTERVAL)
_SHOTS = dict(
    chance=float,
    recall={str: {str: _UNITS}},
    captures={str: int},
    conditions={str: {str: dict(window=_NUMBER, capture=_NUMBER)}},
    confusion=[[_NUMBER]],
    difference={str: {str: _UNITS}},
    notes=[str],
)
_FAULTS = dict(
    captures=int,
    named_right=int,
    right=int,
    wrong={str: {str: int}},
    onset_error_s=(dict(median=float, p90=float), None),
)
_IDENTIFICATION = dict(
    near_s=float,
    known=_FAULTS,
    unseen=_FAULTS,
    normal=dict(captures=int, false_alarms=int),
    captures=[dict(capture=str, right=bool)],
)
_SPACE = dict(head=str, statistics=str, weight=float)
_FORM = dict(
    captures=int,
    windows=int,
    conditions={str: dict(group=str, windows=int, captures=int)},
    methods={str: bool},
    shots={str: _SHOTS},
    step=int,
    version=str,
    losses={str: object},
    rule={str: float},
    identification=_IDENTIFICATION,
)


def check_results(results: Any) -> None:
    """Raises ValueError unless every field that is read is there and has its form."""
    forms.check_form(results, _FORM)
    if "space" in results:
        forms.check_form(results, dict(space=_SPACE))
    if "out_of_fold" in results:
        forms.check_form(
            results, dict(out_of_fold=dict(identification=_IDENTIFICATION))
        )
    if not results["shots"]:
        return
    forms.check_form(results, dict(main=str))
    main, methods = results["main"], results["methods"].keys()
    conditions = results["conditions"]
    _require(main in methods, "main is not among the methods")
    _require(bool(conditions), "conditions is empty")
    groups = next(iter(results["shots"].values()))["captures"].keys()
    for shots, part in results["shots"].items():
        where = f"shots.{shots}"
        _require(part["captures"].keys() == groups, f"{where}: wrong groups")
        for name in ("recall", "conditions"):
            _require(
                part[name].keys() == methods,
                f"{where}.{name}: wrong methods",
            )
        for recall in part["recall"].values():
            _require(recall.keys() == groups, f"{where}.recall: wrong groups")
        for recall in part["conditions"].values():
            _require(
                recall.keys() == conditions.keys(),
                f"{where}: wrong conditions",
            )
        baselines = {name for name, baseline in results["methods"].items() if baseline}
        for group, by_name in part["difference"].items():
            _require(group in groups, f"{where}.difference: wrong groups")
            known = by_name.keys() <= baselines
            _require(known, f"{where}.difference: wrong baselines")
        shares = [number for number in _numbers(part) if number is not None]
        _require(
            -1 <= min(shares) <= max(shares) <= 1,
            f"{where}: a share is outside -1 to 1",
        )
        sizes = {len(row) for row in part["confusion"]} | {len(part["confusion"])}
        _require(sizes == {len(conditions)}, f"{where}.confusion is not square")


def _numbers(part):
    """All recalls of a part and their differences; None where nothing was judged."""
    for by_name in (*part["recall"].values(), *part["difference"].values()):
        for units in by_name.values():
            for unit in _UNITS:
                yield from (units[unit][name] for name in ("value", "low", "high"))
    for by_condition in part["conditions"].values():
        for units in by_condition.values():
            yield from (units[unit] for unit in _UNITS)
    for row in part["confusion"]:
        yield from row


def _require(holds, what):
    if not holds:
        raise ValueError(what)
