"""Captures of SIP for tests: records of messages, and what is read of them."""

import pathlib

from siamjax.capture import events
from tests import packet_builder as build

CAPTURES = pathlib.Path(__file__).parent.parent / "data/testbed/captures"
MS = 1_000_000


def read(path, records, *, make=build.pcap, server=None, **options):
    path.write_bytes(make(records, **options))
    got, kinds, report = events.read_events(path, server)
    build.check_account(report)
    return got, [kinds[kind].removeprefix("sip:") for kind in got.kind], report


def at(ms, message, *, up=True, **options):
    """A record ms after the start, from client to server or back."""
    ends = (build.CLIENT, build.SERVER) if up else (build.SERVER, build.CLIENT)
    return build.START_NS + ms * MS, build.sip_frame(message, *ends, **options)


def many_calls(count, client, server, start=0):
    return [
        record
        for i in range(start, start + count)
        for record in build.call(
            f"{client}-{i}", build.START_NS + i * 7 * MS, client, server
        )
    ]
