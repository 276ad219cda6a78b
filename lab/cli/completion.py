"""What Tab offers behind the commands. It starts nothing and asks no machine.

Imports stand where they are used: every command imports this module, few are asked for a name.
"""
# ruff: noqa: PLC0415

import os
from typing import Annotated

import typer

from lab.cli.common import paths_of
from lab.host import recall


def drills(incomplete: str) -> list[str]:
    """Names of drills."""
    from lab.operate.drills import DRILLS

    return [drill.name for drill in DRILLS if drill.name.startswith(incomplete)]


def challenges(incomplete: str) -> list[str]:
    """Names of challenges."""
    from lab.operate.challenges import CHALLENGES

    return [challenge.name for challenge in CHALLENGES if challenge.name.startswith(incomplete)]


def checks(incomplete: str) -> list[str]:
    """Names of checks."""
    from lab.operate.checks import CHECKS

    return [check.name for check in CHECKS if check.name.startswith(incomplete)]


def machines(incomplete: str) -> list[str]:
    """Names of the machines of the lab that is up, if one is."""
    known = recall.kept(paths_of(os.environ.get("LVS_DR_LAB_STACK", "dev")))
    names = [machine.name for machine in known.machines] if known else []
    return [name for name in names if name.startswith(incomplete)]


MachineArgument = Annotated[str, typer.Argument(autocompletion=machines)]
DrillArgument = Annotated[str, typer.Argument(autocompletion=drills)]
ChallengeArgument = Annotated[str, typer.Argument(autocompletion=challenges)]
