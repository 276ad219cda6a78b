"""Getting beside the machines: a command that talks to them is started again in their namespaces.

What is imported here is imported twice by each such command, so it is little.
"""

import os
import socket
import stat
import sys
from collections.abc import Sequence

from lab.errors import LabError
from lab.host import whereabouts
from lab.host.paths import StackPaths, project_dir

# Set in the process that runs beside the machines; its value is the stack.
BESIDE = "LVS_DR_LAB_BESIDE"
# What works without the machines, or goes its own way to them.
_OUTSIDE = {"setup", "up", "down", "bundle", "image", "shell", "exec", "board", "ssh-config"}


def is_beside(stack: str) -> bool:
    """Whether this process runs beside the machines of ``stack``."""
    return os.environ.get(BESIDE) == stack


def refuse_inside(paths: StackPaths) -> None:
    """Refuse what must be done from outside the embedded hypervisor.

    Raises:
        LabError: this process runs in it.
    """
    if is_beside(paths.stack) and whereabouts.noted(paths) == "embedded":
        raise LabError(
            "this is the shell beside the machines; building and removing them is for the outside.\n"
            "    Type `exit` first."
        )


def carried_socket() -> socket.socket | None:
    """The listening socket that this process was started with, if it was."""
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        return None
    carried = socket.socket(fileno=os.dup(0))
    # A terminal that is a socket, as some programs give, does not listen.
    listens = carried.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return carried if listens else None


def step_through(paths: StackPaths, *, carrying: socket.socket | None = None) -> None:
    """Start this command again beside the machines, in place of this process; return if it is there.

    Args:
        paths: of the stack.
        carrying: a socket that becomes its standard input. It stays in the network it was made in.

    Raises:
        LabError: the stack is not up.
    """
    if is_beside(paths.stack):
        return
    if sandbox := whereabouts.existing(paths):
        command = sandbox.command([sys.executable, "-m", "lab.cli", *sys.argv[1:]])
        sys.stdout.flush()
        if carrying:
            os.dup2(carrying.fileno(), 0)
        os.execvpe(command[0], command, dict(os.environ) | {BESIDE: paths.stack})  # noqa: S606


def shortcut(arguments: Sequence[str]) -> None:
    """Step through at once if that is plainly what will come of it; else leave it to the command.

    It saves the second or so that it takes to import all commands only to leave.
    """
    if not arguments or arguments[0].startswith("-") or arguments[0] in _OUTSIDE:
        return
    if {"--help", "--list", "list", "show", "show-completion"} & set(arguments):
        return
    try:
        step_through(StackPaths(project_dir(), _stack(arguments)))
    except LabError:
        # The command says it, after it has looked at its own arguments.
        return


def _stack(arguments: Sequence[str]) -> str:
    for place, word in enumerate(arguments):
        if word in ("--stack", "-s") and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith("--stack="):
            return word.removeprefix("--stack=")
    return os.environ.get("LVS_DR_LAB_STACK", "dev")
