"""A wire between two interfaces, which delays every Ethernet frame.

    python wire.py INTERFACE INTERFACE

A line "MEAN JITTER" (seconds) on standard input sets the delay of both directions:
uniform from MEAN - JITTER to MEAN + JITTER. Each frame has its own delay, so a large
jitter also changes their order. Frames that hold no IP (ARP) are not delayed.
"""

import asyncio
import socket
import sys

from delays import Delay

ALL_PROTOCOLS = 0x0003
IPV4 = b"\x08\x00"
LARGEST_FRAME = 2048  # bytes


def open_interface(name):
    interface = socket.socket(
        socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)
    )
    interface.bind((name, ALL_PROTOCOLS))
    interface.setblocking(False)
    return interface


def send(interface, frame):
    try:
        interface.send(frame)
    except OSError:
        pass  # a full or absent link loses frames


def forward(loop, delay, source, target):
    frame, (_, _, packet_type, *_) = source.recvfrom(LARGEST_FRAME)
    if packet_type == socket.PACKET_OUTGOING:  # what this process has sent
        return
    loop.call_later(delay.draw() if frame[12:14] == IPV4 else 0, send, target, frame)


async def main():
    loop = asyncio.get_running_loop()
    delay = Delay()
    first, second = map(open_interface, sys.argv[1:])
    loop.add_reader(first, forward, loop, delay, first, second)
    loop.add_reader(second, forward, loop, delay, second, first)
    loop.add_reader(sys.stdin, delay.read_setting)
    await asyncio.Event().wait()


asyncio.run(main())
