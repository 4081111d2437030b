"""The numbers of the rule that decides, and their form in rule.json."""

from typing import Any, NamedTuple

from siamjax import forms
from siamjax.identification import confidence
from siamjax.identification.confidence import Calibration

# The smallest cost of a change for an asked rate, in thresholds of unknown.
LEAST = 0.25


class Rule(NamedTuple):
    """The numbers that decide, besides the examples; rule.json has the same names.

    `unknown` is a distance, not a name such as `timeline.UNKNOWN`. `onset_s` and
    `clear_s` are corrections, not times of a session as in `types.Label`.
    """

    unknown: float  # a window farther than this from every example is unknown
    penalty: float  # cost of a change of condition, a distance as well
    onset_s: float  # added to the start of a fault's first window: its onset
    clear_s: float  # added to the start of the first window after it: its end
    # A window whose novelty, see `evaluation.novelty`, is above this is unknown.
    novel: float = 1.0
    # One whose contrasted distance to the one example of a fault that was taught is
    # above this, see `weighing.contrast_distances`, too.
    taught: float = 1.2
    calibration: Calibration = Calibration()


def from_json(value: Any) -> Rule:
    """The `Rule` of a JSON object; raises ValueError if it is not one."""
    numbers = [name for name in Rule._fields if name != "calibration"]
    form: dict[str, Any] = {name: float for name in numbers}
    forms.check_form(value, form | dict(calibration=object))
    rule = Rule(
        **{name: float(value[name]) for name in numbers},
        calibration=confidence.from_json(value["calibration"]),
    )
    if min(rule.unknown, rule.novel, rule.taught) <= 0 or rule.penalty < 0:
        raise ValueError("a limit is not above 0, or a cost is less than 0")
    return rule


def as_json(rule: Rule) -> dict[str, Any]:
    """What `from_json` reads, as plain values."""
    calibration = confidence.as_json(rule.calibration)
    return rule._asdict() | dict(calibration=calibration)


def ask_rate(rule: Rule, per_hour: float) -> Rule:
    """The rule with the cost of a change for an asked rate of false alarms.

    Args:
      rule: of a run.
      per_hour: false alarms in an hour of normal traffic.
    Raises:
      UsageError: the rate is not a finite number above 0.
    """
    scale = LEAST * rule.unknown
    # Where changes are free, no rate makes them dearer than the peaks do.
    least = min(scale, rule.penalty)
    cost = confidence.penalty_at(rule.calibration, per_hour, least, scale)
    return rule._replace(penalty=cost)
