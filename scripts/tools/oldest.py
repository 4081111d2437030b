"""Lower bounds of a setup.cfg as exact versions.

python -m scripts.tools.oldest setup.cfg
"""

import argparse
import configparser


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="setup.cfg")
    config = configparser.ConfigParser()
    config.read(parser.parse_args().path)
    lines = config["options"]["install_requires"].split("\n")
    for extra in config["options.extras_require"].values():
        lines += extra.split("\n")
    for line in sorted({line.strip() for line in lines if ">=" in line}):
        name, _, version = line.partition(">=")
        if "[" not in name:
            print(f"{name}=={version}")


if __name__ == "__main__":
    main()
