"""Installs what the tests need beyond the lab: judges such as keepalived itself (`packages.txt`)."""

import sys
from pathlib import Path

from lab.errors import LabError
from lab.host.packages import Package, install, missing


def main() -> None:
    names = Path(__file__).with_name("packages.txt").read_text(encoding="utf-8").split()
    try:
        install(
            missing(Package(name, name, "tests") for name in names), lambda said: print(said, file=sys.stderr)
        )
    except LabError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
