"""What a device computes, holds and gets from others, read from compiled programs."""

import jax
import pytest

from scripts.experiments import device_work
from siamjax.training import devices

HLO = """
  %a = f32[64,8]{1,0} all-gather(%x), channel_id=1, dimensions={0}
  %b = (f32[4]{0}, bf16[2,3]{1,0}) all-reduce(%p, %q), to_apply=%sum
  %c = f32[64]{0} all-gather-start(%x), channel_id=2
  %d = f32[64]{0} add(%x, %y)
"""


def test_collectives_are_read_from_a_program():
    assert list(device_work.sent(HLO)) == [
        ("all-gather", 64 * 8 * 4),
        ("all-reduce", 4 * 4 + 2 * 3 * 2),
        ("all-gather", 64 * 4),
    ]


@pytest.mark.parametrize("spec", ["triplet", "ntxent"])
def test_eight_devices_hold_an_eighth_of_all_pairs_and_send_only_points(
    spec, monkeypatch
):
    monkeypatch.setattr(device_work, "ROWS", 512)
    one, eight = (device_work.compile_loss(spec, number) for number in (1, 8))
    held = [p.memory_analysis().temp_size_in_bytes for p in (one, eight)]
    assert 4 * 512 * 512 < held[0] and held[1] < held[0] / 6
    largest = max(size for _, size in device_work.sent(eight.as_text()))
    assert largest <= 8 * 512 * device_work.DIM  # in float64 on a CPU


@pytest.mark.parametrize(
    "spec, largest", [("infonce", 0.5), ("contextual", 1), ("manifold:proxies=8", 1.1)]
)
def test_what_xla_does_not_divide_is_divided(spec, largest, monkeypatch):
    """Rows that an index picked; products and inverses of B x B matrices, of which
    B / 8 rows are sent at a time."""
    monkeypatch.setattr(device_work, "ROWS", 512)
    one, eight = (device_work.compile_loss(spec, number) for number in (1, 8))
    held = [p.memory_analysis().temp_size_in_bytes for p in (one, eight)]
    assert 512 * 512 < held[0] and held[1] < held[0] / 4
    sent = max(size for _, size in device_work.sent(eight.as_text()))
    assert sent <= largest * 4 * 512 * 512 / 8


@pytest.mark.slow
def test_the_work_of_a_step_is_shared():
    config = device_work.make_config()
    one, eight = (
        device_work.work_of_step(config, devices.make_mesh(jax.devices()[:number]))
        for number in (1, 8)
    )
    assert eight.gigaflops < one.gigaflops / 7 and eight.memory < one.memory / 6
    assert not one.collectives
    windows = 16 * device_work.PER_CONDITION
    assert eight.collectives["all-gather"][1] < 6 * 4 * windows * 128
