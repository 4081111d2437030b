"""UDP relay in front of the callee; adds delay and jitter to every datagram.

proxy 10.2.0.1:5060 <-> [10.2.0.2:5060 relay 127.0.0.1:5061] <-> callee 127.0.0.1:5070

Each line "MEAN JITTER" (seconds) on standard input sets the one-way delay to a
uniform draw from MEAN - JITTER to MEAN + JITTER, for both directions. Datagrams
are delayed independently of each other, so large jitter also reorders them.
"""

import asyncio
import random
import sys

PROXY = ("10.2.0.1", 5060)
OUTER = ("10.2.0.2", 5060)
INNER = ("127.0.0.1", 5061)
CALLEE = ("127.0.0.1", 5070)


class Delay:
    def __init__(self):
        self.mean = self.jitter = 0.0

    def read_setting(self):
        self.mean, self.jitter = map(float, sys.stdin.readline().split())

    def draw(self):
        return max(
            0.0, random.uniform(self.mean - self.jitter, self.mean + self.jitter)
        )


class Leg(asyncio.DatagramProtocol):
    """One socket of the relay; what arrives here leaves, later, from the other leg."""

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
        """The callee is down: nothing answers, as if its host had vanished."""


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
