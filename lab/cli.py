"""The command line: thin commands over ``lab.host`` and ``lab.operate``."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from lab.errors import LabError
from lab.host import hypervisor, image, lifecycle
from lab.host.engine import ensure_engine
from lab.host.paths import StackPaths, cache_dir, project_dir
from lab.host.stack import Stack
from lab.operate.access import Access

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A Keepalived + LVS Direct Routing lab: build it, look into it, take it away.",
)
image_app = typer.Typer(no_args_is_help=True, help="The guest image.")
app.add_typer(image_app, name="image")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
# 128 and the number of SIGINT, as shells have it.
_INTERRUPTED = 130

StackOption = Annotated[
    str, typer.Option("--stack", "-s", envvar="LVS_DR_LAB_STACK", help="Which lab: Pulumi.<stack>.yaml.")
]


class HypervisorChoice(StrEnum):
    """Where the machines run."""

    AUTO = "auto"
    SYSTEM = "system"
    EMBEDDED = "embedded"


def _say(sentence: str) -> None:
    err.print("[bold cyan]lab[/] ", end="")
    err.print(sentence, markup=False, soft_wrap=True)


def _paths(stack: str) -> StackPaths:
    return StackPaths(project_dir(), stack)


def _stack(name: str) -> Stack:
    """The stack as it is; starts nothing."""
    paths = _paths(name)
    embedded = hypervisor.noted(paths)
    if embedded is None:
        raise LabError(f"stack {name} is not up.\n    `make up` builds it.")
    sandbox = hypervisor.embedded(paths) if embedded else None
    if sandbox and not sandbox.running():
        raise LabError(
            f"the hypervisor of stack {name} is not running (was the machine restarted?).\n"
            "    `make up` brings the lab back."
        )
    return Stack(paths, ensure_engine(cache_dir(), _say), sandbox)


@app.command()
def setup() -> None:
    """Install what the lab needs on this computer: packages, the Pulumi engine and its plugins."""
    engine = lifecycle.install(_say)
    for piece, origin in sorted(engine.origin.items()):
        out.print(f"{piece:<28}{engine.versions.get(piece, ''):<12}{origin}")


@app.command()
def up(
    stack: StackOption = "dev",
    on: Annotated[
        HypervisorChoice, typer.Option("--hypervisor", help="The system's libvirt, or one of the lab's own.")
    ] = HypervisorChoice.AUTO,
) -> None:
    """Build the lab, or bring it to what its configuration says now."""
    with Progress(
        TextColumn("guest image"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task("guest image", start=False, visible=False)

        def progress(done: int, total: int | None) -> None:
            bar.start_task(task)
            bar.update(task, completed=done, total=total, visible=total is None or done < total)

        built = lifecycle.up(_paths(stack), _say, progress, asked=on.value)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("machine", "role", "address"):
        table.add_column(title)
    for machine in built.inventory.machines:
        table.add_row(machine.name, str(machine.role), machine.address)
    out.print(table)
    phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in built.seconds.items() if seconds >= 1)
    out.print(f"\nThe VIP is [bold]{built.inventory.vip}[/]: {built.inventory.url}")
    out.print(f"Guests run {built.image}. {built.changed.capitalize()}; it took {phases or 'no time'}.")
    out.print("Go in with [bold]make shell[/]; in there `ssh master`, `lab`, `pulumi` and this work:")
    out.print(f"    curl {built.inventory.url}", markup=False)


@app.command()
def down(stack: StackOption = "dev") -> None:
    """Take the lab away: machines, disks, network, hypervisor, state."""
    lifecycle.down(_paths(stack), _say)


@app.command()
def shell(stack: StackOption = "dev") -> None:
    """Open a shell beside the machines: `pulumi`, `ssh NAME`, `virsh` and `curl` reach the lab."""
    found = _stack(stack)
    environment = _environment(found)
    environment["PS1"] = f"(lab {stack}) \\w \\$ "
    argv = [os.environ.get("SHELL", "/bin/sh")]
    if Path(argv[0]).name == "bash":
        argv += ["--norc"]
    _become(found, argv, environment)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def ssh(context: typer.Context, name: str, stack: StackOption = "dev") -> None:
    """Log in to machine NAME, or run a command there."""
    found = _stack(stack)
    machines = {machine.name for machine in found.inventory().machines}
    if name not in machines:
        raise LabError(f"no machine {name} in stack {stack}.\n    It has: {', '.join(sorted(machines))}.")
    _become(found, _access(found).ssh(name, *context.args), dict(os.environ))


@app.command(name="exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def execute(context: typer.Context, stack: StackOption = "dev") -> None:
    """Run a command beside the machines, as `lab shell` would: `lab exec -- pulumi stack output vip`."""
    found = _stack(stack)
    if not context.args:
        raise LabError("nothing to run.\n    Give a command: lab exec -- virsh list")
    _become(found, context.args, _environment(found))


def _access(stack: Stack) -> Access:
    return Access(stack.paths.stack_dir / "ssh")


def _environment(stack: Stack) -> dict[str, str]:
    """The engine's environment, with `ssh` and its kin set up for the stack's machines."""
    environment = stack.environment()
    environment["PATH"] = f"{_access(stack).bin}:{environment['PATH']}"
    return environment


def _become(stack: Stack, argv: list[str], environment: dict[str, str]) -> None:
    sys.stdout.flush()
    command = stack.command(argv)
    os.execvpe(command[0], command, environment)  # noqa: S606  the user's own command


@image_app.command()
def repin() -> None:
    """Pin the newest Ubuntu release instead of the one this project was tested with."""
    out.print(image.repin())


def main() -> None:
    """Entry point: a user's mistake is a sentence and an exit status, never a traceback."""
    try:
        app(standalone_mode=True)
    except LabError as error:
        first, _, rest = str(error).partition("\n")
        err.print("[bold red]error[/] ", end="")
        err.print(first, markup=False, soft_wrap=True)
        if rest:
            err.print(rest, markup=False, soft_wrap=True)
        sys.exit(1)
    except SystemExit as end:
        # What Typer makes of Ctrl-C, without a word of its own.
        if end.code == _INTERRUPTED:
            err.print("\n[bold red]stopped[/] `make up` goes on from here; `make down` takes it away.")
        raise
