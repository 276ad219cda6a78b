"""The command line: thin commands over ``lab.host`` and ``lab.operate``."""

import sys

from lab.cli.doorway import shortcut


def main() -> None:
    """Entry point of ``lab``."""
    shortcut(sys.argv[1:])
    from lab.cli.app import main as run  # noqa: PLC0415  only who stays here needs all of it

    run()
