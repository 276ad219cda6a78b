"""Building a lab and taking it away."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from lab.cli import doorway
from lab.cli.common import StackOption, err, out, paths_of, say
from lab.host import image, lifecycle

app = typer.Typer()
image_app = typer.Typer(no_args_is_help=True, help="The guest image.")
app.add_typer(image_app, name="image")


class HypervisorChoice(StrEnum):
    """Where the machines run."""

    AUTO = "auto"
    SYSTEM = "system"
    EMBEDDED = "embedded"


@app.command()
def setup() -> None:
    """Install what the lab needs on this computer: packages, the Pulumi engine and its plugins."""
    engine = lifecycle.install(say)
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
    doorway.refuse_inside(paths_of(stack))
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

        built = lifecycle.up(paths_of(stack), say, progress, asked=on.value)
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
    doorway.refuse_inside(paths_of(stack))
    lifecycle.down(paths_of(stack), say)


@image_app.command()
def repin() -> None:
    """Pin the newest Ubuntu release instead of the one this project was tested with."""
    out.print(image.repin())
