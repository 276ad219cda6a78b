"""Looking into a lab: a way in, its state, its acceptance."""

import asyncio
import json
import os
import time
from collections import deque
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.cli import completion
from lab.cli.common import (
    JsonOption,
    StackOption,
    become,
    beside,
    environment_of,
    err,
    existing,
    out,
    run,
)
from lab.errors import LabError
from lab.host.whereabouts import NOT_REACHABLE
from lab.operate import checks, events, status
from lab.operate.checks import Examination, Outcome, Result
from lab.operate.guests import Guests
from lab.operate.outputs import Destination
from lab.operate.recording import Event
from lab.operate.running import RunningLab, unknown
from lab.topology import Role

app = typer.Typer()

_EVENTS_SHOWN = 8
# Seconds between two paintings of what is known.
_REFRESH = 0.25


@app.command()
def shell(stack: StackOption = "dev") -> None:
    """Open a shell beside the machines: `pulumi`, `ssh NAME`, `virsh` and `curl` reach the lab."""
    found = existing(stack)
    environment = environment_of(found)
    environment["PS1"] = f"(lab {stack}) \\w \\$ "
    argv = [os.environ.get("SHELL", "/bin/sh")]
    if Path(argv[0]).name == "bash":
        argv += ["--norc"]
    become(found, argv, environment)


@app.command(name="exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def execute(context: typer.Context, stack: StackOption = "dev") -> None:
    """Run a command beside the machines, as `lab shell` would: `lab exec -- pulumi stack output vip`."""
    found = existing(stack)
    if not context.args:
        raise LabError("nothing to run.\n    Give a command: lab exec -- virsh list")
    become(found, context.args, environment_of(found))


@app.command(name="status")
def show_status(
    stack: StackOption = "dev",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep looking, and show events.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how every machine is doing: service, VRRP, VIP, IPVS, Direct Routing settings."""
    lab = beside(stack)
    if watch:
        run(_watch(lab))
        return
    # On a pipe it would be one more line to read past.
    with err.status("asking the machines") if err.is_terminal else nullcontext():
        rows = run(status.of(lab))
    if as_json:
        out.print_json(json.dumps({"machines": [row.as_json() for row in rows]}))
    else:
        out.print(_status_view(lab, rows))
    if not any(row.reachable for row in rows):
        raise typer.Exit(NOT_REACHABLE)


async def _watch(lab: RunningLab) -> None:
    seen: deque[Event] = deque(maxlen=_EVENTS_SHOWN)
    rows: dict[str, status.Row] = {}

    async def listen(guests: Guests, director: str) -> None:
        async for event in events.follow(guests, director, last=20):
            seen.append(event)

    def hear(row: status.Row) -> None:
        rows[row.name] = row

    def view() -> Group:
        return Group(_status_view(lab, list(rows.values())), _event_view(seen))

    async with lab.guests(connect_timeout=status.PATIENCE) as guests, asyncio.TaskGroup() as group:
        for director in lab.inventory.directors:
            group.create_task(listen(guests, director.name))
        group.create_task(status.follow(guests, hear))
        with Live(console=out, get_renderable=view, auto_refresh=False) as live:
            while True:
                live.refresh()
                await asyncio.sleep(_REFRESH)


def _event_view(seen: deque[Event]) -> Group:
    lines = [Text("\nlast events (Ctrl-C ends)", style="bold")]
    for event in sorted(seen, key=lambda event: event.at):
        clock = datetime.fromtimestamp(event.at, UTC).astimezone().strftime("%H:%M:%S")
        style = "yellow" if event.kind == "vrrp" else ""
        lines.append(Text(f"{clock}  {event.machine:<10} {event.text}", style=style))
    return Group(*lines)


def _status_view(lab: RunningLab, rows: list[status.Row]) -> Group:
    """What the machines said; those that have not said anything yet are shown as being asked."""
    told = {row.name: row for row in rows}
    machines = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("machine", "address", "service", "VRRP", "VIP", "up"):
        machines.add_column(title)
    for machine in lab.inventory.machines:
        if machine.name in told:
            machines.add_row(*_cells(told[machine.name]))
        else:
            machines.add_row(machine.name, machine.address, Text("asking …", style="dim"))
    remarks = status.remarks(lab.inventory, rows) if len(rows) == len(lab.inventory.machines) else []
    notes = [Text(f"! {remark}", style="bold red") for remark in remarks]
    for row in rows:
        if not row.reachable:
            notes.append(Text(f"! {row.name} cannot be reached: {row.why_not}", style="bold red"))
        elif row.fault:
            notes.append(Text(f"! {row.name}: {row.fault}", style="bold red"))
    return Group(machines, Text(), _ipvs_view(lab, rows), *notes)


def _cells(row: status.Row) -> list[Text]:
    if not row.reachable:
        return [Text(row.name), Text(row.address), Text("not reachable", style="red")]
    return [
        Text(row.name),
        Text(row.address),
        Text(row.service or "", style="green" if row.healthy else "red"),
        Text(row.vrrp or "", style="bold yellow" if row.vrrp == "MASTER" else ""),
        Text("VIP" if row.holds_vip else "", style="bold yellow"),
        Text(_duration(row.uptime or 0)),
    ]


def _ipvs_view(lab: RunningLab, rows: list[status.Row]) -> Table:
    """What each director's IPVS table says of each server: weight, active and inactive connections."""
    servers = [
        machine for machine in lab.inventory.machines if machine.role in (Role.REAL_SERVER, Role.SORRY_SERVER)
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("IPVS: weight active/ended")
    for server in servers:
        table.add_column(server.name)
    told = {row.name: row for row in rows}
    for director in lab.inventory.directors:
        if row := told.get(director.name):
            entries = {entry.address: entry for entry in row.servers}
            table.add_row(row.name, *(_entry(entries.get(server.address)) for server in servers))
    return table


def _entry(entry: Destination | None) -> Text:
    if entry is None:
        return Text("-", style="red")
    return Text(f"{entry.weight}  {entry.active}/{entry.inactive}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest:02} s"


@app.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Only these checks.", autocompletion=completion.checks),
    ] = None,
    stack: StackOption = "dev",
    listed: Annotated[bool, typer.Option("--list", help="Say which checks there are.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that the lab does all it should; ends with 0 (it does), 1 (not), 2 (usage), 3 (not reachable)."""
    known = [one.name for one in checks.CHECKS]
    for name in names or []:
        if name not in known:
            raise LabError(unknown("check", name, known), status=2)
    if listed:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("check")
        table.add_column("what holds when it passes")
        for one in checks.CHECKS:
            table.add_row(one.name, one.says)
        out.print(table)
        return
    lab = beside(stack)
    results = run(_examine(lab, names or [], quiet=as_json))
    if as_json:
        out.print_json(json.dumps([_result_json(result) for result in results]))
    reachable = [result.verdict.outcome for result in results if result.check.name == "reachable"]
    if reachable and Outcome.PASSED not in reachable:
        raise typer.Exit(NOT_REACHABLE)
    if any(result.verdict.outcome is not Outcome.PASSED for result in results):
        raise typer.Exit(1)


async def _examine(lab: RunningLab, names: list[str], *, quiet: bool) -> list[Result]:
    begun = time.monotonic()

    def report(result: Result) -> None:
        if not quiet:
            out.print(_result_line(result), soft_wrap=True)

    async with lab.guests() as guests:
        results = await checks.examine(Examination(guests), checks.named(names), report)
    if not quiet:
        _summary(results, time.monotonic() - begun)
    return results


_MARKS = {
    Outcome.PASSED: Text("PASS", style="green"),
    Outcome.FAILED: Text("FAIL", style="bold red"),
    Outcome.UNKNOWN: Text("????", style="yellow"),
}


def _result_line(result: Result) -> Text:
    return Text.assemble(
        _MARKS[result.verdict.outcome],
        f" {result.check.name:<14}{result.machine:<10} {result.verdict.detail}",
    )


def _summary(results: list[Result], seconds: float) -> None:
    failed = [result for result in results if result.verdict.outcome is not Outcome.PASSED]
    if not failed:
        out.print(Text(f"\nAll {len(results)} hold. {seconds:.0f} s.", style="bold green"))
        return
    out.print(Text(f"\n{len(failed)} of {len(results)} do not hold. {seconds:.0f} s.", style="bold red"))
    for one in dict.fromkeys(result.check for result in failed if result.verdict.outcome is Outcome.FAILED):
        out.print(Text(f"{one.name}: {one.says}\n    Look at: {one.hint}"), soft_wrap=True)


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "check": result.check.name,
        "machine": result.machine,
        "outcome": result.verdict.outcome.value,
        "detail": result.verdict.detail,
        "seconds": round(result.seconds, 2),
    }
