"""A UDP relay in front of the callee, which delays every datagram.

proxy 10.2.0.1:5060 <-> [10.2.0.2:5060 relay 127.0.0.1:5061] <-> callee 127.0.0.1:5070

A line "MEAN JITTER" (seconds) on standard input sets the one-way delay of both
directions: uniform from MEAN - JITTER to MEAN + JITTER. Each datagram has its own
delay, so a large jitter also changes their order.
"""

import asyncio
import sys

from delays import Delay

PROXY = ("10.2.0.1", 5060)
OUTER = ("10.2.0.2", 5060)
INNER = ("127.0.0.1", 5061)
CALLEE = ("127.0.0.1", 5070)


class Leg(asyncio.DatagramProtocol):
    """One socket of the relay; its datagrams are sent, later, by the other socket."""

    def __init__(self, delay, peer):
        self.delay = delay
        self.peer = peer
        self.other = None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, _sender):
        asyncio.get_running_loop().call_later(self.delay.draw(), self.other.send, data)

    def send(self, data):
        self.transport.sendto(data, self.peer)

    def error_received(self, _error):
        """Ignores errors: the callee is down, and nothing answers."""


async def main():
    loop = asyncio.get_running_loop()
    delay = Delay()
    outer, inner = Leg(delay, PROXY), Leg(delay, CALLEE)
    outer.other, inner.other = inner, outer
    await loop.create_datagram_endpoint(lambda: outer, local_addr=OUTER)
    await loop.create_datagram_endpoint(lambda: inner, local_addr=INNER)
    loop.add_reader(sys.stdin, delay.read_setting)
    await asyncio.Event().wait()


asyncio.run(main())
