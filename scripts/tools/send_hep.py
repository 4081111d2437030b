"""Sends the SIP messages of a capture as an agent of Homer does, in their own time.

  siamjax monitor --workdir runs/first --hep 127.0.0.1:9060 &
  python -m scripts.tools.send_hep data/testbed/captures/blocked_001.pcap.xz

The times that it says are those of now.
"""

import argparse
import socket
import time

from scripts.tools.fuzz_live import hep2, hep3, sip_messages


def main() -> None:
    options = _options()
    host, port = options.to.rsplit(":", 1)
    form = {2: hep2, 3: hep3}[options.version]
    kind = socket.SOCK_STREAM if options.tcp else socket.SOCK_DGRAM
    start_ns, first_ns = time.time_ns(), None
    with socket.socket(socket.AF_INET, kind) as agent:
        agent.connect((host, int(port)))
        for time_ns, message, source, target in sip_messages(options.capture):
            first_ns = time_ns if first_ns is None else first_ns
            due_ns = start_ns + time_ns - first_ns
            time.sleep(max(due_ns - time.time_ns(), 0) / 1e9)
            agent.sendall(form(message, due_ns, source, target))


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", help="a capture file")
    parser.add_argument("--to", default="127.0.0.1:9060", help="HOST:PORT")
    parser.add_argument("--version", type=int, choices=[2, 3], default=3)
    parser.add_argument("--tcp", action="store_true", help="by TCP; HEP 3 only")
    return parser.parse_args()


if __name__ == "__main__":
    main()
