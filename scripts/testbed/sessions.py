"""What the client programs of RADIUS and GTP share: arrivals, requests, repeats.

A program plays several access nodes and their subscribers. It reads its commands from
standard input, one a line:

    load SESSIONS KEEP_ALIVES   begin so many in the next second
    storm SESSIONS              and so many short ones more, each second from now on
    NAME VALUE                  a setting of the protocol's own program
"""

import abc
import argparse
import asyncio
import random
import sys

SECRET = "testbed"  # of access nodes and RADIUS server
PASSWORD = "secret"  # of every subscriber
APNS = dict(internet=0.5, ims=0.3, m2m=0.2)  # access points: share of the sessions
LONGEST_TIMER_S, LONGEST_WAIT_S = 16.0, 30.0  # MRT and MRD of RFC 5080


def radius_timeouts(first_s):
    """Seconds to wait after each time a request is sent: RFC 5080, section 2.2.1."""
    timer_s, waited_s = first_s * random.uniform(0.9, 1.1), 0.0
    while waited_s < LONGEST_WAIT_S:
        yield min(timer_s, LONGEST_WAIT_S - waited_s)
        waited_s += timer_s
        timer_s = min(timer_s * random.uniform(1.9, 2.1), LONGEST_TIMER_S)


class Node(asyncio.DatagramProtocol):
    """A socket of an access node. Requests and answers have a number in common.

    Args:
      numbers: how many different numbers the protocol has.
      number_of: the number in a datagram.
      on_request: what answers a datagram that is no answer; its answer, or None.
    """

    def __init__(self, address, numbers, number_of, on_request=lambda _: None):
        self.address = address
        self.numbers = numbers
        self.number_of = number_of
        self.on_request = on_request
        self._last = random.randrange(numbers)
        self._waiting = {}  # number -> (future of the answer, whether one fits)

    def connection_made(self, transport):
        self.transport = transport

    def error_received(self, _error):
        """Ignores ICMP errors: the request is repeated when its timer ends."""

    def datagram_received(self, datagram, _sender):
        waiting = self._waiting.get(self.number_of(datagram))
        answer = self.on_request(datagram)
        if answer:
            self.transport.sendto(answer)
        elif waiting and not waiting[0].done() and waiting[1](datagram):
            waiting[0].set_result(datagram)

    def _take_number(self):
        for _ in range(self.numbers):
            self._last = (self._last + 1) % self.numbers
            if self._last not in self._waiting:
                return self._last
        return None

    async def request(self, build, timeouts, fits=lambda _: True):
        """Send a request until it is answered.

        Args:
          build: makes the datagram of a number.
          timeouts: seconds to wait after each time it is sent.
          fits: whether a datagram with the number is the answer.
        Returns:
          The answer; None without one, or where all numbers are in use.
        """
        number = self._take_number()
        if number is None:
            return None
        datagram = build(number)
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future, fits
        try:
            for timeout in timeouts:
                self.transport.sendto(datagram)
                done, _ = await asyncio.wait([future], timeout=timeout)
                if done:
                    return future.result()
            return None
        finally:
            del self._waiting[number]


class Client(abc.ABC):
    """Begins sessions as it is told. A protocol defines how one of them goes."""

    def __init__(self, options):
        self.options = options
        self.storm = 0
        self.kinds = dict(
            (kind, float(share))
            for kind, _, share in (
                text.partition("=") for text in options.failing.split(",") if text
            )
        )
        self._tasks = set()

    @abc.abstractmethod
    async def open(self):
        """Open the sockets of the access nodes."""

    @abc.abstractmethod
    async def session(self, user):
        """One session of a subscriber."""

    @abc.abstractmethod
    async def short_session(self, user):
        """One session of a storm."""

    @abc.abstractmethod
    async def keep_alive(self):
        """One keep-alive of an access node, where the protocol has it."""

    @abc.abstractmethod
    def change_setting(self, name, value):
        """Change a setting of the protocol's own."""

    # -- helpers -----------------------------------------------------------

    def draw_user(self):
        """A subscriber's name; its letters say whether its sessions can succeed."""
        kind, chance = "sub", random.random()
        for name, share in self.kinds.items():
            if chance < share:
                kind = name
                break
            chance -= share
        return f"{kind}{random.randrange(self.options.subscribers):04d}"

    async def hold(self, refresh):
        """Wait as long as a session lasts; meanwhile refresh it now and then."""
        left_s = self.options.hold_s * random.uniform(0.5, 1.5)
        while True:
            pause_s = self.options.interim_s * random.uniform(0.7, 1.3)
            await asyncio.sleep(min(left_s, pause_s))
            if left_s <= pause_s:
                return
            left_s -= pause_s
            await refresh()

    # -- commands ----------------------------------------------------------

    async def _later(self, work, *arguments):
        await asyncio.sleep(random.random())
        await work(*arguments)

    def _begin(self, work, *arguments):
        task = asyncio.ensure_future(self._later(work, *arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _read_command(self):
        name, *values = sys.stdin.readline().split()
        if name == "storm":
            self.storm = int(values[0])
        elif name == "load":
            for _ in range(int(values[0])):
                self._begin(self.session, self.draw_user())
            for _ in range(int(values[1])):
                self._begin(self.keep_alive)
            for _ in range(self.storm):
                self._begin(self.short_session, self.draw_user())
        else:
            self.change_setting(name, float(values[0]))

    async def run(self):
        await self.open()
        asyncio.get_running_loop().add_reader(sys.stdin, self._read_command)
        await asyncio.Event().wait()


def main(client):
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="its address")
    parser.add_argument("--nodes", required=True, help="addresses, with commas")
    parser.add_argument("--subscribers", type=int, required=True)
    parser.add_argument("--hold_s", type=float, required=True, help="mean of a session")
    parser.add_argument("--interim_s", type=float, required=True, help="mean")
    parser.add_argument("--timer_s", type=float, required=True, help="the first one")
    parser.add_argument("--failing", default="", help="kind=share,...")
    asyncio.run(client(parser.parse_args()).run())
