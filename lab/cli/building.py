"""Building a lab and taking it away."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from lab.cli import doorway
from lab.cli.common import StackOption, err, out, paths_of, say
from lab.host import bundle as bundling
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


@contextmanager
def _image_progress() -> Iterator[Callable[[int, int | None], None]]:
    """A bar that appears when a download of the guest image begins."""
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

        yield progress


@app.command()
def up(
    stack: StackOption = "dev",
    on: Annotated[
        HypervisorChoice, typer.Option("--hypervisor", help="The system's libvirt, or one of the lab's own.")
    ] = HypervisorChoice.AUTO,
) -> None:
    """Build the lab, or bring it to what its configuration says now."""
    doorway.refuse_inside(paths_of(stack))
    with _image_progress() as progress:
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
def bundle(
    stack: StackOption = "dev",
    folder: Annotated[Path, typer.Option("--to", help="Directory of the file.")] = Path("dist"),
) -> None:
    """Pack what `make up` needs on a computer without a network into one file."""
    settings = lifecycle.read_settings(paths_of(stack))
    with _image_progress() as progress:
        made = bundling.pack(settings.image, folder, say, progress)
    out.print(f"{made.file}: {made.size >> 20} MiB, unpacked {made.unpacked >> 20} MiB", soft_wrap=True)
    out.print(f"sha256 {made.sha256}", soft_wrap=True)
    out.print("There, in a checkout of the same version: [bold]make up BUNDLE=FILE[/]")


@app.command()
def down(stack: StackOption = "dev") -> None:
    """Take the lab away: machines, disks, network, hypervisor, state."""
    doorway.refuse_inside(paths_of(stack))
    lifecycle.down(paths_of(stack), say)


@image_app.command()
def repin() -> None:
    """Pin the newest Ubuntu release instead of the one this project was tested with."""
    out.print(image.repin())
