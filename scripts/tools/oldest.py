"""Lower bounds of a setup.cfg as exact versions.

python scripts/tools/oldest.py setup.cfg
"""

import configparser
import sys


def main(path):
    config = configparser.ConfigParser()
    config.read(path)
    lines = config["options"]["install_requires"].split("\n")
    for extra in config["options.extras_require"].values():
        lines += extra.split("\n")
    for line in sorted({line.strip() for line in lines if ">=" in line}):
        name, _, version = line.partition(">=")
        if "[" not in name:
            print(f"{name}=={version}")


main(sys.argv[1])
