"""Repetitions and latencies: all rows at once, or batch by batch."""

import numpy as np
import pytest

from siamjax.capture import clock, messages, pairing

S = 10**9
PAUSES_NS = pairing.longest_pauses(["sip:INVITE"] * 40)


def rows_of(*rows):
    """Rows of (time, kind, source, transaction, says)."""
    time_ns, kind, source, transaction, says = np.array(rows, np.int64).T
    nothing = np.zeros(len(time_ns), np.int64)
    return messages.Messages(
        nothing, time_ns, kind, source, nothing, transaction, nothing, says, transaction
    )


def random_rows(count, seed):
    rng = np.random.default_rng(seed)
    says = rng.integers(0, 4, count)
    return rows_of(
        *zip(
            np.sort(rng.integers(0, 200 * S, count)),
            says * 10 + rng.integers(0, 2, count),
            rng.integers(0, 3, count),
            rng.integers(messages.NONE, 12, count),
            says,
        )
    )


@pytest.mark.parametrize("seed", range(5))
def test_batches_say_what_all_rows_at_once_say(seed):
    rows, memory = random_rows(300, seed), pairing.Memory()
    at_once = pairing.pair_messages(rows, PAUSES_NS)
    cuts = np.sort(np.random.default_rng(seed).integers(0, 300, 20))
    parts = [
        pairing.pair_messages(rows.take(part), PAUSES_NS, memory)
        for part in np.split(np.arange(300), cuts)
    ]
    for column, by_batch in zip(at_once, zip(*parts)):
        np.testing.assert_array_equal(np.concatenate(by_batch), column)
    assert at_once[0].any() and (at_once[1] >= 0).any()


def test_names_used_again_after_a_pause_are_of_another_transaction():
    ask, answer = messages.CREATES, messages.ANSWER
    rows = rows_of(
        (0, 0, 0, 7, ask),
        (1 * S, 1, 1, 7, answer),
        (20 * S, 0, 0, 7, ask),  # repeated
        (60 * S, 0, 0, 7, ask),  # of another call
        (63 * S, 1, 1, 7, answer),
        (64 * S, 1, 1, 7, answer),
    )
    for memory in (None, pairing.Memory()):
        repeated, latency_ns = pairing.pair_messages(rows, PAUSES_NS, memory)
        assert repeated.tolist() == [False, False, True, False, False, True]
        assert latency_ns.tolist() == [-1, 1 * S, -1, -1, 3 * S, -1]


def test_what_is_not_used_for_long_is_forgotten():
    memory = pairing.Memory()
    ask = rows_of((0, 0, 0, 7, messages.CREATES))
    pairing.pair_messages(ask, PAUSES_NS, memory)
    memory.forget()
    assert pairing.pair_messages(ask, PAUSES_NS, memory)[0].tolist() == [True]
    memory.forget()
    memory.forget()
    assert pairing.pair_messages(ask, PAUSES_NS, memory)[0].tolist() == [False]
    assert len(memory) == 1


def test_names_that_are_forgotten_get_new_numbers():
    numbers = messages.Numbers()
    assert [numbers[name] for name in "abca"] == [0, 1, 2, 0]
    numbers.forget()
    assert [numbers[name] for name in "db"] == [3, 1]
    numbers.forget()
    assert [numbers[name] for name in "abcd"] == [4, 1, 5, 3]


@pytest.mark.parametrize("seed", range(3))
def test_the_clock_is_mended_packet_by_packet_as_in_a_file(seed):
    rng = np.random.default_rng(seed)
    steps = rng.choice([1, 3 * S // 2, -2 * S, 90_000 * S, -90_000 * S], 60)
    times_ns = 10**18 + np.cumsum(steps)
    timeline, by_packet = clock.Timeline(), clock.Clock()
    packets = [timeline.add(t) for t in times_ns.tolist()]
    assert [by_packet.mend(t) for t in times_ns.tolist()] == [t for _, t in packets]
    assert by_packet.jumps == timeline.finish(joined=False).jumps > 0
