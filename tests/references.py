"""The plain loops of every loss by its name: `LOSSES[name](x, labels, state)`."""

from tests import reference, reference_rankings, reference_views

LOSSES = reference.LOSSES | reference_views.LOSSES | reference_rankings.LOSSES
