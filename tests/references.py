"""The plain loops of every loss by its name: `LOSSES[name](x, labels, state)`."""

from tests import (
    reference,
    reference_classifiers,
    reference_graded,
    reference_rankings,
    reference_spread,
    reference_views,
)

LOSSES = {
    name: loss
    for family in (
        reference,
        reference_classifiers,
        reference_graded,
        reference_rankings,
        reference_spread,
        reference_views,
    )
    for name, loss in family.LOSSES.items()
}
