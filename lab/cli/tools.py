"""Everyday tools: the way in, captures, traffic, mail, logs, pictures, one archive of it all."""

import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.cli import completion
from lab.cli.common import JsonOption, StackOption, beside, existing, out, run, say
from lab.errors import LabError
from lab.host import recall
from lab.operate import collect as collecting
from lab.operate import diagram as drawing
from lab.operate import mailbox, status
from lab.operate.recording import Request
from lab.operate.running import RunningLab
from lab.operate.traffic import probe

app = typer.Typer()

_BAR = 40


class Format(StrEnum):
    """How a diagram is written."""

    SVG = "svg"
    MERMAID = "mermaid"


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def ssh(context: typer.Context, name: completion.MachineArgument, stack: StackOption = "dev") -> None:
    """Log in to machine NAME, or run a command there."""
    lab = beside(stack)
    _log_in(lab, name, *context.args)


def _log_in(lab: RunningLab, name: str, *command: str) -> None:
    """Become ssh to machine ``name``; does not return."""
    argv = lab.access.ssh(lab.machine(name).name, *command)
    os.execvp(argv[0], argv)  # noqa: S606  the user's own command


@app.command(name="ssh-config")
def ssh_config(stack: StackOption = "dev") -> None:
    """Print an SSH configuration with which any program reaches the machines by name, from anywhere here."""
    found = existing(stack)
    text = recall.access(found.paths).unshared_config()
    if found.sandbox:
        relay = [sys.executable, "-m", "lab.cli", "exec", "--stack", stack, "--"]
        relay += [sys.executable, "-m", "lab.operate.relay"]
        # Which lab is meant is told by the directory.
        there = ["env", f"--chdir={found.paths.project}"]
        text += f"    ProxyCommand {shlex.join([*there, *relay])} %h %p\n"
    typer.echo(text, nl=False)


@app.command()
def console(name: completion.MachineArgument, stack: StackOption = "dev") -> None:
    """Open the serial console of machine NAME, which needs no network; Ctrl-] leaves it."""
    lab = beside(stack)
    domain = lab.machine(name).domain
    say(f"console of {name}: Enter shows its prompt, Ctrl-] leaves")
    os.execvp("virsh", ["virsh", "-q", "-c", lab.inventory.libvirt_uri, "console", domain])  # noqa: S606


@app.command()
def capture(
    name: completion.MachineArgument,
    expression: Annotated[
        list[str] | None, typer.Argument(metavar="[FILTER]...", help="As for tcpdump.")
    ] = None,
    stack: StackOption = "dev",
    write: Annotated[Path | None, typer.Option("--write", "-w", help="Write a pcap file instead.")] = None,
    count: Annotated[int, typer.Option("--count", "-c", help="End after so many packets.", min=0)] = 0,
) -> None:
    """Show what passes the network card of machine NAME, live; the tools' own SSH is left out."""
    lab = beside(stack)
    wanted = " ".join(expression or [])
    expression_text = f"not tcp port 22 and ({wanted})" if wanted else "not tcp port 22"
    form = "-U -w -" if write else "-l -e"
    limit = f"-c {count}" if count else ""
    command = f"exec tcpdump -nn -i eth0 {form} {limit} {shlex.quote(expression_text)}"
    if write is None:
        _log_in(lab, name, command)
        return
    lab.machine(name)
    say(f"writing to {write} until Ctrl-C")
    with write.open("wb") as file:
        os.dup2(file.fileno(), 1)
        _log_in(lab, name, command)


@app.command()
def traffic(
    stack: StackOption = "dev",
    sources: Annotated[int, typer.Option(help="How many addresses of the client take turns.", min=1)] = 10,
    interval: Annotated[float, typer.Option(help="Seconds between two requests.", min=0.02)] = 0.2,
    seconds: Annotated[float, typer.Option(help="End after so many seconds; 0: with Ctrl-C.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Send steady requests to the VIP and show who answers."""
    lab = beside(stack)
    own = lab.inventory.client_addresses
    if sources > len(own):
        raise LabError(
            f"--sources {sources}: the client has {len(own)} addresses.\n"
            "    lvs-dr-lab:client extra_addresses gives it more.",
            status=2,
        )
    seen: list[Request] = []
    with suppress(KeyboardInterrupt):
        run(_traffic(lab, own[:sources], interval, seconds, seen, quiet=as_json))
    counts = Counter(request.server or f"({request.error})" for request in seen)
    if as_json:
        out.print_json(json.dumps({"requests": len(seen), "answers": dict(counts)}))
    if any(request.server is None for request in seen):
        raise typer.Exit(1)


async def _traffic(
    lab: RunningLab,
    sources: Sequence[str],
    interval: float,
    seconds: float,
    seen: list[Request],
    *,
    quiet: bool,
) -> None:
    names = [machine.name for machine in lab.inventory.real_servers]
    async with lab.guests() as guests, probe(guests, sources, interval=interval) as running:
        # Not before: logging in and starting Python there takes an emulated client seconds.
        begun = time.monotonic()
        with Live(console=out, auto_refresh=False, transient=quiet) as live:
            async for request in running:
                seen.append(request)
                if not quiet:
                    live.update(_bars(names, seen, time.monotonic() - begun), refresh=True)
                if seconds and time.monotonic() - begun >= seconds:
                    return


def _bars(names: list[str], seen: list[Request], seconds: float) -> Table:
    counts = Counter(request.server or f"({request.error})" for request in seen)
    most = max(counts.values(), default=1)
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in [*names, *sorted(set(counts) - set(names))]:
        style = "red" if name.startswith("(") else "cyan"
        bar = "█" * round(_BAR * counts[name] / most)
        table.add_row(name, Text(bar.ljust(_BAR), style=style), str(counts[name]))
    table.add_row("", Text(f"{len(seen)} requests in {seconds:.0f} s", style="dim"), "")
    return table


@app.command()
def mail(
    number: Annotated[int | None, typer.Argument(metavar="[NUMBER]", help="Show this mail whole.")] = None,
    stack: StackOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Show what keepalived has mailed to the client's mail sink."""
    lab = beside(stack)

    async def read() -> list[mailbox.Mail]:
        async with lab.guests() as guests:
            return await mailbox.read(guests)

    mails = run(read())
    if as_json:
        out.print_json(json.dumps([one.as_json() for one in mails]))
    elif number is not None:
        if not 1 <= number <= len(mails):
            raise LabError(f"there is no mail {number}.\n    There are {len(mails)}.", status=2)
        chosen = mails[number - 1]
        out.print(f"Date: {chosen.date}\nFrom: {chosen.sender}\nTo: {chosen.to}", markup=False)
        out.print(f"Subject: {chosen.subject}\n\n{chosen.text}", markup=False)
    elif not mails:
        out.print("No mail yet.")
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("", "date", "from", "subject"):
            table.add_column(title, overflow="fold")
        for place, one in enumerate(mails, 1):
            table.add_row(str(place), one.date, one.sender, Text(one.subject))
        out.print(table)


@app.command()
def logs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A machine; the directors if not given.",
            autocompletion=completion.machines,
        ),
    ] = None,
    stack: StackOption = "dev",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.", min=0)] = 30,
) -> None:
    """Show the journal of keepalived on the directors, or the whole journal of machine NAME."""
    lab = beside(stack)
    if name:
        _log_in(lab, name, f"exec journalctl --no-pager -n {lines} {'-f' if follow else ''}")
    run(_logs(lab, lines, follow=follow))


async def _logs(lab: RunningLab, lines: int, *, follow: bool) -> None:
    directors = [director.name for director in lab.inventory.directors]
    command = f"exec journalctl -u keepalived --no-pager -o short-precise -n {lines} {'-f' if follow else ''}"

    async with lab.guests() as guests:

        async def show(director: str) -> None:
            process = await guests.process(director, command)
            async for line in process.lines():
                out.print(line.rstrip(), markup=False, soft_wrap=True)

        for error in (await guests.on_each(directors, show)).values():
            if isinstance(error, LabError):
                raise error


@app.command()
def collect(
    file: Annotated[Path, typer.Argument(help="The archive to write.")] = Path("lvs-dr-lab.tar.gz"),
    stack: StackOption = "dev",
) -> None:
    """Write one archive with configurations, journals, tables and versions of all machines; no secrets."""
    lab = beside(stack)
    say("asking all machines, up to a minute")

    async def work() -> list[str]:
        async with lab.guests(connect_timeout=status.PATIENCE) as guests:
            return await collecting.collect(guests, lab.versions(), file)

    for sentence in run(work()):
        say(sentence)
    out.print(f"{file}: {file.stat().st_size / 1024:.0f} KiB", soft_wrap=True)


@app.command()
def diagram(
    stack: StackOption = "dev",
    live: Annotated[bool, typer.Option("--live", help="Mark the master and what is broken now.")] = False,
    form: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.SVG,
    write: Annotated[Path | None, typer.Option("--write", "-w", help="Into this file.")] = None,
) -> None:
    """Draw the lab."""
    lab = beside(stack)
    rows = run(status.of(lab)) if live else []
    text = (drawing.svg if form is Format.SVG else drawing.mermaid)(lab.inventory, rows)
    if write:
        write.write_text(text, encoding="utf-8")
        out.print(f"{write}", soft_wrap=True)
    else:
        typer.echo(text, nl=False)
