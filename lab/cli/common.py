"""What all commands share: the terminal, the stack option, the way to the machines."""

import asyncio
import os
import socket
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from lab.cli import doorway
from lab.host import recall, whereabouts
from lab.host.engine import ensure_engine
from lab.host.paths import StackPaths, cache_dir, project_dir
from lab.host.stack import Stack
from lab.operate.running import RunningLab

T = TypeVar("T")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

StackOption = Annotated[
    str, typer.Option("--stack", "-s", envvar="LVS_DR_LAB_STACK", help="Which lab: Pulumi.<stack>.yaml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]


def say(sentence: str) -> None:
    """Tell the operator, beside the output proper, what is being done."""
    err.print("[bold cyan]lab[/] ", end="")
    err.print(sentence, markup=False, soft_wrap=True)


def paths_of(stack: str) -> StackPaths:
    """Where the stack keeps its files."""
    return StackPaths(project_dir(), stack)


def existing(name: str) -> Stack:
    """The stack as it is; starts nothing.

    Raises:
        LabError: it is not up.
    """
    paths = paths_of(name)
    sandbox = None if doorway.is_beside(name) else whereabouts.existing(paths)
    return Stack(paths, ensure_engine(cache_dir(), say), sandbox)


def environment_of(stack: Stack) -> dict[str, str]:
    """The engine's environment, with `ssh` and its kin set up for the stack's machines."""
    environment = stack.environment()
    environment["PATH"] = f"{recall.access(stack.paths).bin}:{environment['PATH']}"
    # `lab` typed in there need not step through the doorway again.
    environment[doorway.BESIDE] = stack.name
    return environment


def become(stack: Stack, argv: list[str], environment: dict[str, str]) -> None:
    """Replace this process by ``argv``, run beside the machines; does not return."""
    sys.stdout.flush()
    command = stack.command(argv, environment=environment)
    os.execvpe(command[0], command, environment)  # noqa: S606  the user's own command


def beside(name: str, *, carrying: socket.socket | None = None) -> RunningLab:
    """The running lab, in a process that reaches its machines: this one, or this command started again there.

    Args:
        name: of the stack.
        carrying: a socket that the command started again finds as its standard input.

    Raises:
        LabError: it is not up.
    """
    doorway.step_through(paths_of(name), carrying=carrying)
    stack = existing(name)
    return RunningLab(recall.inventory(stack), recall.access(stack.paths), stack.paths.stack_dir)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; Ctrl-C cancels it and lets it clean up."""
    return asyncio.run(work)
