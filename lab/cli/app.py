"""All commands together, and how their errors end."""

import sys

import typer

from lab.cli import building, looking, teaching, tools
from lab.cli.common import err
from lab.errors import LabError

# 128 and the number of SIGINT, as shells have it.
_INTERRUPTED = 130


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A Keepalived + LVS Direct Routing lab: build it, look into it, break it, mend it, remove it.",
)
for room in (building, looking, tools, teaching):
    app.add_typer(room.app)


def main() -> None:
    """Run the command: a user's mistake is a sentence and an exit status, never a traceback."""
    try:
        app(standalone_mode=True)
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
