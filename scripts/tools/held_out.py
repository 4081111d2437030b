"""Prints a capture that a run was not trained on: held_out.py WORKDIR CAPTURES"""

import json
import pathlib
import sys


def main(workdir, captures):
    results = json.loads((pathlib.Path(workdir) / "results.json").read_text())
    rows = [r for r in results["identification"]["captures"] if r["group"] == "known"]
    print(next(pathlib.Path(captures).glob(f"{rows[0]['capture']}.*")))


main(*sys.argv[1:])
