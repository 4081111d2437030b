"""A receiver of alarms is killed and started again while the monitor watches traffic.

  python -m scripts.experiments.receivers --workdir runs/first --hours 1 --speed 50

`scripts.experiments.soak --write` is read by `siamjax monitor --webhook`. The receiver
is a process of its own that keeps what it gets in a file; it is killed `--kills` times
with SIGKILL. In the end its file must have each alarm that the lines of the monitor
make, once and in order. The exit code is 1 if one is lost or doubled.
"""

import collections
import http.server
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

from absl import app, flags

from siamjax.alarms import alarm
from siamjax.monitoring import records

_WORKDIR = flags.DEFINE_string("workdir", None, "An evaluated run.")
_HOURS = flags.DEFINE_float("hours", 1.0, "Hours of traffic.")
_SPEED = flags.DEFINE_float("speed", 50.0, "As of siamjax monitor.")
_KILLS = flags.DEFINE_integer("kills", 10, "How often the receiver is killed.")
_SERVE = flags.DEFINE_string("serve", None, "Only receive: PORT,FILE.")


def serve(port: int, path: str) -> None:
    """Keeps what is posted to a port, a line for each call, before it answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with open(path, "ab") as file:
                file.write(body + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    http.server.HTTPServer.allow_reuse_address = True
    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()


def kill_often(start, ended: threading.Event, kills: int, draw: random.Random) -> int:
    """Starts a receiver, and kills and starts it until the end; how often."""
    receiver, done = start(), 0
    while not ended.wait(draw.uniform(1, 6)):
        if done < kills:
            receiver.kill()
            receiver.wait()
            done += 1
            ended.wait(draw.uniform(0.2, 4))
            receiver = start()
    return done


def main(argv):
    del argv
    if _SERVE.value:
        port, path = _SERVE.value.split(",", 1)
        serve(int(port), path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="receivers.") as folder:
        made, got, kills = watch(pathlib.Path(folder), port)
    lasting, wanted = {}, []
    for record in made:
        lasting, steps = alarm.follow(lasting, record)
        if steps:
            wanted.append([(s.condition, s.since, s.until) for s in steps])
    lost, doubled = compare(wanted, got)
    print(
        f"{kills} kills, {len(wanted)} calls of {sum(map(len, wanted))} alarms, "
        f"{lost} lost, {doubled} doubled, in order: {wanted == got}"
    )
    sys.exit(wanted != got or not wanted or kills < _KILLS.value)


def watch(folder, port):
    """What the monitor said, what the receiver got, and how often it was killed."""
    received = folder / "received"
    received.touch()
    module = [sys.executable, "-m"]
    soak = [*module, "scripts.experiments.soak", "--write"]
    source = subprocess.Popen(
        [*soak, f"--hours={_HOURS.value}", f"--speed={_SPEED.value}"],
        stdout=subprocess.PIPE,
    )
    options = [f"--workdir={_WORKDIR.value}", f"--state={folder / 'state'}", "--json"]
    options += [f"--webhook=http://127.0.0.1:{port}/", "--heartbeat_s=5", "-"]
    watched = subprocess.Popen(
        [*module, "siamjax", "monitor", *options],
        stdin=source.stdout,
        stdout=subprocess.PIPE,
        text=True,
    )
    source.stdout.close()
    receivers, ended, counted = [], threading.Event(), []

    def start():
        command = [*module, "scripts.experiments.receivers"]
        receivers.append(subprocess.Popen([*command, f"--serve={port},{received}"]))
        return receivers[-1]

    killer = threading.Thread(
        target=lambda: counted.append(
            kill_often(start, ended, _KILLS.value, random.Random(0))
        )
    )
    killer.start()
    told = [records.from_json(json.loads(line)) for line in watched.stdout]
    if watched.wait():
        raise SystemExit("the monitor failed")
    time.sleep(1.0)
    ended.set()
    killer.join()
    receivers[-1].kill()
    bodies = map(json.loads, received.read_text().splitlines())
    got = [
        [
            (
                each["labels"]["condition"],
                each["startsAt"],
                each["endsAt"] if each["status"] == "resolved" else None,
            )
            for each in body["alerts"]
        ]
        for body in bodies
    ]
    return told, got, counted[0]


def compare(wanted, got):
    """How many calls are lost, and how many doubled."""
    want, have = (collections.Counter(map(str, calls)) for calls in (wanted, got))
    return (want - have).total(), (have - want).total()


if __name__ == "__main__":
    app.run(main)
