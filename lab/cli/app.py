"""All commands together, and how their errors end."""

import sys
from importlib import import_module

import typer

from lab.cli.common import err
from lab.errors import LabError

# Which module has which command. Only the one that is asked for is imported: each brings libraries with it
# that the others do not need.
ROOMS = {
    "building": ("setup", "up", "down", "bundle", "image"),
    "looking": ("shell", "exec", "status", "check"),
    "tools": (
        *("ssh", "ssh-config", "console", "capture", "traffic"),
        *("mail", "logs", "collect", "diagram"),
    ),
    "teaching": ("board", "repair", "drill", "challenge"),
}

# 128 and the number of SIGINT, as shells have it.
_INTERRUPTED = 130


def assemble(command: str | None = None) -> typer.Typer:
    """The commands of the room that has ``command``; all of them if none has."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="A Keepalived + LVS Direct Routing lab: build it, look into it, break it, mend it, remove it.",
    )
    for room in [room for room, commands in ROOMS.items() if command in commands] or ROOMS:
        app.add_typer(import_module(f"lab.cli.{room}").app)
    return app


def main() -> None:
    """Run the command: a user's mistake is a sentence and an exit status, never a traceback."""
    try:
        assemble(sys.argv[1] if len(sys.argv) > 1 else None)(standalone_mode=True)
    except LabError as error:
        first, _, rest = str(error).partition("\n")
        err.print("[bold red]error[/] ", end="")
        err.print(first, markup=False, soft_wrap=True)
        if rest:
            err.print(rest, markup=False, soft_wrap=True)
        sys.exit(error.status)
    except SystemExit as end:
        # What Typer makes of Ctrl-C, without a word of its own.
        if end.code == _INTERRUPTED:
            building_it = sys.argv[1:2] == ["up"]
            rest = " `make up` goes on from here; `make down` takes it away." if building_it else ""
            err.print(f"\n[bold red]stopped[/]{rest}")
        raise
