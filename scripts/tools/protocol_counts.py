"""Compare the messages that siamjax reads of captures with those that tshark sees.

    python -m scripts.tools.protocol_counts FOLDER [--kinds] [--write docs/protocols.md]

Prints, for each protocol, how many messages tshark finds in all files of the folder,
how many of them are copies (of a mirror port, or inside and outside of a tunnel), how
many siamjax reads of the same files, and the causes of the rest. With --kinds, also
each kind of message whose count differs. With --write, the table of the page is
replaced. Where tshark or the folder is missing, it says so and does nothing.

Both use the tables of `siamjax.capture.protocols` to name what a field means. They
differ in all else: here tshark reads the whole file by itself; siamjax finds the
packets, gives them to tshark in parts, leaves out copies, and reads SIP without tshark.
"""

import argparse
import subprocess
from collections import Counter
from pathlib import Path

from siamjax.capture import events, printed, tshark
from siamjax.capture.protocols import PROTOCOLS, table
from siamjax.capture.protocols.table import Frame
from siamjax.types import SiamjaxError

_SIP = ("sip.Method", "sip.Status-Code", "sip.CSeq", "sip.Via.branch")
# The same packet again is a copy: within 5 ms, or 500 ms if its sender numbered it.
_COPY_S, _UNNUMBERED_COPY_S = 0.5, 0.005
_PACKET = ("frame.time_epoch", "ip.id", "ip.len", "sctp.checksum")
_OUTER = ("frame.", "gtp.")  # fields that a tunnel adds
BEGIN, END = "<!-- counts: begin -->", "<!-- counts: end -->"


def http2_ports(path):
    """The ports at which connections begin as HTTP/2: tshark looks only at some."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "tcp.dstport"]
    command += ["-Y", 'tcp.payload contains "PRI * HTTP/2.0"']
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return sorted({port for port in answer.stdout.split() if port.isdigit()})


def count_by_tshark(path):
    """{kind: messages} that tshark finds in a file, and how many of them are copies."""
    protocols = [protocol for protocol in PROTOCOLS.values() if protocol.filter]
    fields = [*tshark.fields_of(protocols), *_SIP, *_PACKET]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    command += ["-E", "occurrence=a", "-E", f"aggregator={table.SEPARATOR}"]
    for option in tshark.OPTIONS:
        command += ["-o", option]
    for port in http2_ports(path):
        command += ["-d", f"tcp.port=={port},http2"]
    for field in fields:
        command += ["-e", field]
    output = subprocess.run(command, capture_output=True, check=False).stdout
    places = {field: i for i, field in enumerate(fields)}
    all_counts, copies, seen_s = Counter(), Counter(), {}
    for line in output.decode("utf-8", "replace").splitlines():
        frame = Frame(line.split("\t"), places)
        stack = frame.first("frame.protocols").split(":")
        if {"icmp", "icmpv6"} & set(stack) and printed.is_error(frame):
            continue  # it quotes a packet that was counted
        counts = Counter({"sip:": sum(len(frame.values(f)) for f in _SIP[:2])})
        for protocol in protocols:
            named = set(protocol.layers or (protocol.name,)) & set(stack)
            if named and any(map(frame.first, protocol.markers)):
                for message in protocol.read(frame):
                    counts[_kind(protocol, message.procedure, message.outcome)] += 1
        all_counts += counts
        if _is_copy(frame, fields, seen_s):
            copies += counts
    return all_counts, copies


def _is_copy(frame, fields, seen_s):
    """Whether a frame has the innermost packet of one just before."""
    inner = [field for field in fields if not field.startswith(_OUTER)]
    name = tuple(frame.last(field) for field in inner)
    time_s = float(frame.first("frame.time_epoch"))
    before_s, seen_s[name] = seen_s.get(name, -1.0), time_s
    numbered = table.number(frame.last("ip.id")) > 0
    return time_s - before_s <= (_COPY_S if numbered else _UNNUMBERED_COPY_S)


def count_by_siamjax(path):
    """The same as siamjax reads it, and the causes of its report."""
    try:
        read_events, kinds, report = events.read_events(path)
    except SiamjaxError as error:
        return Counter(), {str(error): 1}
    counts = Counter()
    for kind in read_events.kind.tolist():
        name, colon, rest = kinds[kind].partition(":")
        if not colon or rest in (table.ERROR, table.RESENT):
            continue
        procedure, _, outcome = rest.partition("/")
        counts[_kind(PROTOCOLS[name], procedure, outcome)] += 1
    return counts, report.causes


def _kind(protocol, procedure, outcome):
    """A kind without what only the request of an answer says."""
    if protocol.name == "sip":
        return "sip:"
    if outcome and procedure not in protocol.notices:
        procedure = ""
    return f"{protocol.name}:{procedure}/{outcome}"


def count_folder(folder):
    """`(file, by tshark, copies, by siamjax, causes)` of each file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        if path.suffix not in (".md", ".csv"):
            yield path.name, *count_by_tshark(path), *count_by_siamjax(path)


def _of(counts, name):
    return sum(n for kind, n in counts.items() if kind.partition(":")[0] == name)


def table_of(rows):
    """The table in Markdown."""
    lines = ["| protocol | tshark | of them copies | siamjax | read |"]
    lines.append("|---|--:|--:|--:|--:|")
    for name, protocol in PROTOCOLS.items():
        want, copies, have = (sum(_of(row[i], name) for row in rows) for i in (1, 2, 3))
        if want or have:
            share = f"{100 * have / (want - copies):.1f} %" if want > copies else "-"
            lines.append(f"| {protocol.short} | {want} | {copies} | {have} | {share} |")
    return "\n".join(lines)


def differences(rows, kinds):
    """Lines about files in which the counts differ, with the causes of the report."""
    for file, by_tshark, copies, by_siamjax, causes in rows:
        for name, protocol in PROTOCOLS.items():
            want = _of(by_tshark, name) - _of(copies, name)
            have = _of(by_siamjax, name)
            if want != have:
                counted = f"tshark {want}, siamjax {have}"
                yield f"{file}: {protocol.short}: {counted}; {causes}"
        for kind in sorted({*by_tshark, *by_siamjax}) if kinds else ():
            want = by_tshark[kind] - copies[kind]
            if want != by_siamjax[kind]:
                yield f"  {kind}: tshark {want}, siamjax {by_siamjax[kind]}"


def write_table(page, text):
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kinds", action="store_true", help="also kinds that differ")
    parser.add_argument("--write", type=Path, help="the page whose table to replace")
    arguments = parser.parse_args()
    if tshark.find_tshark() is None or not arguments.folder.is_dir():
        print(f"skipped: tshark or {arguments.folder} is missing")
        return
    rows = list(count_folder(arguments.folder))
    print(table_of(rows))
    print("\n".join(differences(rows, arguments.kinds)))
    if arguments.write:
        write_table(arguments.write, table_of(rows))


if __name__ == "__main__":
    main()
