"""Tests a loss with the grid of checks, and times it.

Prints pass, FAIL or a measured value for each check. Example:

  siamjax check my_module.my_loss:beta=3
"""

from collections.abc import Sequence

from absl import flags

from siamjax import cli
from siamjax.types import SiamjaxError, UsageError

COMMAND = cli.Command("siamjax check", __doc__, arguments="LOSS...")
_CUBE = flags.DEFINE_bool(
    "cube", None, "The loss is for embeddings in [0, 1].", COMMAND.flags
)
_SIZES = flags.DEFINE_list(
    "sizes",
    ["64", "256", "1024"],
    "Sizes of the batches to time.",
    flag_values=COMMAND.flags,
)
_PICTURE = flags.DEFINE_string(
    "picture", None, "Where to draw the gradient, as PNG.", COMMAND.flags
)


def main(argv: Sequence[str]) -> None:
    from siamjax.losses import check, measurements, registry

    if len(argv) < 2:
        names = ", ".join(sorted(registry.LOSSES))
        raise UsageError(f"name a loss: one of {names}, or my_module.my_loss")
    sizes = [_size(text) for text in _SIZES.value]
    failed = []
    for spec in argv[1:]:
        loss = registry.resolve(spec)
        settings = ", ".join(f"{k}={v}" for k, v in loss.hyper.items())
        print(f"{spec}\n  {settings or 'no settings'}")
        measured = measurements.measure(spec, _CUBE.value)
        for name, test in (check.GRID | check.LONG).items():
            verdict, detail = test(measured)
            failed += [f"{spec}: {name}"] if verdict == "FAIL" else []
            print(f"  {name:22} {verdict:5} {detail}", flush=True)
        for size in sizes:
            print(f"  {check.cost_line(loss, size)}", flush=True)
        if _PICTURE.value:
            check.draw(measured, _PICTURE.value)
            print(f"  drew {_PICTURE.value}")
    if failed:
        raise SiamjaxError("failed: " + "; ".join(failed))


def _size(text):
    if not text.isdecimal() or not int(text):
        raise UsageError(f"--sizes has {text!r}: give whole numbers from 1 on")
    return int(text)


def run() -> None:
    COMMAND.run(main)


if __name__ == "__main__":
    run()
