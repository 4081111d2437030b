"""The GTP client of the test bed: SGSNs that open contexts; 3GPP TS 29.060.

Messages are encoded here: few of them are needed, and only with the usual elements. A
session is one context: create, updates now and then, delete. Subscribers whose name
begins with "unknown" ask for an access point that does not exist. Those of "twice"
delete their context twice.

    unknown PERCENT   so many creations ask for an access point that does not exist
    stale PERCENT     so many updates and deletions name a context that does not exist
    updates RATE      so many more updates, each second from now on
"""

import asyncio
import itertools
import random
import socket
import struct

from sessions import APNS, Client, Node, main

PORT = 2123
REPEATS = 4  # N3-REQUESTS, beside the first time
ECHO, CREATE, UPDATE, DELETE = 1, 16, 18, 20  # requests; an answer has the next number
ACCEPTED = 128
UNKNOWN_APN = "unknown"
# Elements that the client reads, or must skip: number and bytes of their values.
CAUSE, TEID_CONTROL = 1, 17
FIXED = {CAUSE: 1, 8: 1, 14: 1, 16: 4, TEID_CONTROL: 4, 127: 4}
RECOVERY = bytes([14, 1])
QOS = bytes([135, 0, 4, 0x00, 0x0B, 0x92, 0x1F])
STALE_TEID = 0xFFFF0000


def message(kind, teid, number, elements=b""):
    # Version 1, GTP, with a number: 0x32. The length counts what follows the TEID.
    return struct.pack(">BBHIHH", 0x32, kind, 4 + len(elements), teid, number, 0) + (
        elements
    )


def number_of(datagram):
    return int.from_bytes(datagram[8:10], "big")


def digits(prefix, text):
    """Decimal digits, two in a byte, the lower half first."""
    text += "F" * (len(text) % 2)
    pairs = zip(text[1::2], text[::2], strict=True)
    return prefix + bytes(int(high + low, 16) for high, low in pairs)


def with_length(number, value):
    return struct.pack(">BH", number, len(value)) + value


def read_elements(datagram):
    """{number: value} of the elements at the beginning whose length is known."""
    elements, place = {}, 12
    while place < len(datagram) and datagram[place] in FIXED:
        size = FIXED[datagram[place]]
        value = datagram[place + 1 : place + 1 + size]
        elements.setdefault(datagram[place], int.from_bytes(value, "big"))
        place += 1 + size
    return elements


class Context:
    """An open session: its ends at SGSN and GGSN."""

    def __init__(self, node, teid):
        self.node, self.teid = node, teid
        self.server_teid = 0
        self.closed = asyncio.Event()  # by the GGSN


class GtpClient(Client):
    def __init__(self, options):
        super().__init__(options)
        self.settings = dict(unknown=0.0, stale=0.0, updates=0.0)
        self.contexts = {}  # open ones, by the TEID of the SGSN
        self._teids = itertools.count(random.randrange(1, 1 << 20))

    async def open(self):
        loop = asyncio.get_running_loop()
        self.nodes = []
        for address in self.options.nodes.split(","):
            _, node = await loop.create_datagram_endpoint(
                lambda a=address: Node(
                    a,
                    1 << 16,
                    lambda data: int.from_bytes(data[8:10], "big"),
                    self._answer,
                ),
                local_addr=(address, PORT),
                remote_addr=(self.options.server, PORT),
            )
            self.nodes.append(node)

    def _answer(self, datagram):
        """What a request of the GGSN is answered with."""
        kind, number = datagram[1], number_of(datagram)
        if kind == ECHO:
            return message(ECHO + 1, 0, number, RECOVERY)
        if kind == DELETE:
            context = self.contexts.get(int.from_bytes(datagram[4:8], "big"))
            if context:
                context.closed.set()
            teid = context.server_teid if context else 0
            return message(DELETE + 1, teid, number, bytes([CAUSE, ACCEPTED]))
        return None

    def change_setting(self, name, value):
        self.settings[name] = value
        if name == "updates":
            self._begin(self._update_many)

    def _drawn(self, name):
        """Whether a setting, which is a percentage, hits this time."""
        return 100 * random.random() < self.settings[name]

    async def _ask(self, node, kind, teid, elements):
        """Send a request until it is answered; returns the answer, or None."""
        if teid and self._drawn("stale"):
            teid = STALE_TEID
        return await node.request(
            lambda number: message(kind, teid, number, elements),
            [self.options.timer_s] * (1 + REPEATS),
            lambda datagram: datagram[1] == kind + 1,
        )

    async def _create(self, user):
        """Open a context; returns it, or None."""
        context = Context(random.choice(self.nodes), next(self._teids))
        apn = random.choices(list(APNS), APNS.values())[0]
        if user.startswith("unknown") or self._drawn("unknown"):
            apn = UNKNOWN_APN
        subscriber = f"{context.teid % 10**9:09d}"
        address = with_length(133, socket.inet_aton(context.node.address))
        elements = b"".join(
            [
                digits(b"\x02", f"001011{subscriber}"),  # IMSI of a test network
                RECOVERY,
                bytes([15, 0]),  # selection mode
                struct.pack(">BIBI", 16, context.teid, TEID_CONTROL, context.teid),
                bytes([20, 5]),  # NSAPI
                bytes([26, 8, 0]),  # charging
                with_length(128, b"\xf1\x21"),  # an IPv4 address is asked for
                with_length(131, bytes([len(apn)]) + apn.encode()),
                2 * address,
                with_length(134, digits(b"\x91", f"0099{subscriber}")),
                QOS,
            ]
        )
        self.contexts[context.teid] = context
        answer = await self._ask(context.node, CREATE, 0, elements)
        read = read_elements(answer) if answer else {}
        context.server_teid = read.get(TEID_CONTROL, 0)
        if read.get(CAUSE) == ACCEPTED:
            return context
        del self.contexts[context.teid]
        return None

    async def _update(self, context):
        address = with_length(133, socket.inet_aton(context.node.address))
        elements = b"".join(
            [
                struct.pack(">BIBI", 16, context.teid, TEID_CONTROL, context.teid),
                bytes([20, 5]),
                2 * address,
                QOS,
            ]
        )
        await self._ask(context.node, UPDATE, context.server_teid, elements)

    async def _delete(self, context):
        elements = bytes([19, 0xFF, 20, 5])  # tear down; NSAPI
        await self._ask(context.node, DELETE, context.server_teid, elements)

    async def _update_many(self):
        """Subscribers move to and fro, as long as the setting says."""
        while rate := self.settings["updates"]:
            await asyncio.sleep(random.expovariate(rate))
            if self.contexts:
                context = random.choice(list(self.contexts.values()))
                if context.server_teid:
                    self._begin(self._update, context)

    async def session(self, user):
        context = await self._create(user)
        if context is None:
            return
        held = asyncio.ensure_future(self.hold(lambda: self._update(context)))
        closed = asyncio.ensure_future(context.closed.wait())
        await asyncio.wait([held, closed], return_when=asyncio.FIRST_COMPLETED)
        for task in (held, closed):
            task.cancel()
        if not context.closed.is_set():
            for _ in range(1 + user.startswith("twice")):
                await self._delete(context)
        del self.contexts[context.teid]

    async def short_session(self, user):
        context = await self._create(user)
        if context:
            await self._delete(context)
            del self.contexts[context.teid]

    async def keep_alive(self):
        await self._ask(random.choice(self.nodes), ECHO, 0, b"")


if __name__ == "__main__":
    main(GtpClient)
