"""Names cause and cure from the numbers of an audit, by a fixed rule.

The rule asks which other statistics close the gap, with the same weights:

1. features differ by more than `APART` between training and identification: input;
2. the normalisation keeps no statistics: nothing to cure;
3. the lower end of the gap's interval is at most `TOLERATED`: no gap;
4. else the first of these statistics that leaves at most `LEFT` of the gap, or at most
   `TOLERATED`:
   * `debiased`: the average had not arrived (lag);
   * `pooled`, and `precise` too: the kept statistics are not those of the data (lost);
   * `per-session`: each batch came from one session (session);
   * `batch`: batches differ, but not by session (composition);
   * `per-branch`: each branch had its own pass (branch);
5. else: the cause is unknown.
"""

from collections.abc import Mapping
from typing import NamedTuple

from siamjax.auditing.subject import Gap

# `TOLERATED` is a share of the way from training's loss to chance; `LEFT`, of the gap.
TOLERATED, LEFT = 0.02, 0.25
# Difference of features, in deviations; rounding gives far less.
APART = 1e-3
STATELESS = ("none", "layer")


class Verdict(NamedTuple):
    """What is wrong, and what helps."""

    cause: str  # healthy, nothing, unknown, or one of those of `decide`
    cure: str  # name for --cure, or empty
    text: str

    @property
    def gap(self) -> bool:
        """Whether training and prediction differ."""
        return self.cause not in ("healthy", "nothing")


def decide(
    norm: str, gaps: Mapping[str, Gap], inputs: Mapping[str, float] | None = None
) -> Verdict:
    """`Verdict` of a run.

    Args:
      norm: config.encoder.norm.
      gaps: name of `statistics.candidates` -> its gap; `moving` is the run's own.
      inputs: what `probes.input_path` gives.
    """
    moving = gaps["moving"]
    if inputs and inputs["features"] > APART:
        return Verdict("input", "", _TEXTS["input"].format(**inputs))
    if norm in STATELESS:
        return Verdict("nothing", "", _TEXTS["nothing"])
    if moving.low <= TOLERATED:
        return Verdict("healthy", "", _TEXTS["healthy"].format(share=moving.share))

    def closes(name):
        return name in gaps and gaps[name].share <= max(TOLERATED, LEFT * moving.share)

    for cause, cure in (
        ("lag", "debiased"),
        ("lost", "pooled"),
        ("session", "per-session"),
        ("composition", "batch"),
        ("branch", "per-branch"),
    ):
        if closes(cure) and (cause != "lost" or closes("precise")):
            name = _CURES.get(cause, "")
            return Verdict(cause, name, _TEXTS[cause].format(**moving._asdict()))
    return Verdict("unknown", "", _TEXTS["unknown"].format(**moving._asdict()))


_CURES = dict(lag="debias", lost="pooled", session="per-session")
_GAP = (
    "The same weights on the same batches have a loss of {train_loss:.3f} in training "
    "mode and {predict_loss:.3f} in prediction mode. "
)
_TEXTS = dict(
    input=(
        "Windows do not reach the encoder in identification as they did in training: "
        "features differ by up to {features:.3g} (baselines by {baseline:.3g}, scaler "
        "by {scaler:.3g}). The data set or the code has changed since the training. "
        "Cure: prepare the data set as it was, or train again."
    ),
    nothing=(
        "Nothing to normalise: this encoder keeps no statistics, training and "
        "prediction compute the same."
    ),
    healthy=(
        "No gap: training and prediction agree (gap {share:z.3f} of the way to chance)."
    ),
    lag=_GAP
    + (
        "The moving average has not arrived: it still holds part of the value it "
        "started from, which no data has. Cure: --cure debias takes that part out, no "
        "training is needed. In a new run: config.encoder.norm='batch', whose average "
        "has no start value."
    ),
    lost=_GAP
    + (
        "The statistics kept are not those of the training data, and measuring them "
        "again closes the gap: they were lost or overwritten. Cure: --cure pooled."
    ),
    branch=_GAP
    + (
        "Anchors, positives and negatives went through the network in passes of their "
        "own, and each pass was centred on itself: training compared points that no "
        "prediction can see. No statistics cure this. Cure: one pass over the whole "
        "batch (config.encoder.norm='batch', config.batch.tuples='all') and training "
        "again."
    ),
    session=_GAP
    + (
        "Each batch came from one session, so training never saw what all windows of a "
        "session have in common: it was taken out with the batch's mean. Prediction "
        "with one average for all sessions leaves it in. Cure: mixed batches "
        "(config.batch.batch_from='all') or the session's baseline "
        "(config.data.baseline='session'), and training again. Without training, "
        "--cure per-session reads each session against its own windows; that closes "
        "the gap, but where a session holds one fault it takes out the fault too: let "
        "siamjax evaluate judge it."
    ),
    composition=_GAP
    + (
        "Each batch's own statistics close the gap and no average does: the batches "
        "differ in what they are made of, but not by session. Cure: more conditions in "
        "a batch, or config.encoder.norm='frozen' or 'renorm', and training again."
    ),
    unknown=_GAP
    + (
        "None of the other statistics closes the gap: the cause is not lag, not "
        "sessions, not branches. A run with config.encoder.norm='none' has no gap."
    ),
)
