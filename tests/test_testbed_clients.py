"""The client programs of the RADIUS and GTP test beds: repeats and encoding."""

import asyncio
import pathlib
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).parent.parent / "scripts" / "testbed"


@pytest.fixture(scope="module")
def clients():
    sys.path.insert(0, str(SCRIPTS))
    try:
        import gtp_client
        import sessions
    finally:
        sys.path.remove(str(SCRIPTS))
    return {module.__name__: module for module in (gtp_client, sessions)}


class Transport:
    """Keeps what is sent; answers the second time, if there is an answer."""

    def __init__(self):
        self.sent, self.answer = [], None

    def sendto(self, datagram):
        self.sent.append(datagram)
        if self.answer and len(self.sent) == 2:
            self.answer(datagram)


def ask(node, timeouts):
    return asyncio.run(node.request(lambda number: bytes([7, number]), timeouts))


def test_a_request_is_repeated_until_it_is_answered(clients):
    node = clients["sessions"].Node("10.1.0.11", 4, lambda data: data[1])
    node.connection_made(transport := Transport())
    assert ask(node, [0.01] * 3) is None
    assert len(transport.sent) == 3 and len(set(transport.sent)) == 1
    transport.sent.clear()
    transport.answer = lambda data: node.datagram_received(b"2" + data[1:], None)
    assert ask(node, [0.01] * 3)[:1] == b"2"
    assert len(transport.sent) == 2


def test_a_node_has_no_more_requests_than_numbers(clients):
    node = clients["sessions"].Node("10.1.0.11", 2, lambda data: data[1])
    node.connection_made(transport := Transport())

    def build(number):
        return bytes([7, number])

    async def ask_three_times():
        return await asyncio.gather(*(node.request(build, [0.01]) for _ in range(3)))

    assert asyncio.run(ask_three_times()) == [None] * 3
    assert len(set(transport.sent)) == len(transport.sent) == 2


def test_radius_repeats_as_rfc_5080_says(clients):
    for _ in range(20):
        first, second, third, *_ = waits = list(clients["sessions"].radius_timeouts(2))
        assert 1.8 <= first <= 2.2
        assert 1.9 * first <= second <= 2.1 * first
        assert 1.9 * second <= third <= 2.1 * second
        assert sum(waits) == pytest.approx(30) and max(waits) <= 16


def test_gtp_messages_are_those_of_the_standard(clients):
    gtp = clients["gtp_client"]
    # An answer to a creation: accepted; recovery; both tunnels; then an address.
    elements = bytes.fromhex("0180 0e05 1000000001 11 0000abcd 800006f1210a400001")
    datagram = gtp.message(17, 0x1234, 0x0801, elements)
    assert datagram[:12] == bytes.fromhex("3211 001b 00001234 0801 0000")
    assert len(datagram) == 12 + len(elements) == 8 + 0x1B
    assert gtp.number_of(datagram) == 0x0801
    assert gtp.read_elements(datagram) == {1: 128, 14: 5, 16: 1, 17: 0xABCD}
    # TBCD: two digits in a byte, the first one in the lower half, filled up with F.
    assert gtp.digits(b"\x02", "001011234567890") == bytes.fromhex("0200011132547698f0")
