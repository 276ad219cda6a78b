"""One row a machine, each as soon as it answers."""

import asyncio
from contextlib import suppress

import pytest
from rich.console import Console

from lab.cli.looking import _status_view
from lab.inventory import Inventory, InventoryMachine
from lab.operate import status
from lab.operate.facts import Facts
from lab.operate.guests import Guests
from lab.operate.running import RunningLab


@pytest.fixture
def deaf_master(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab whose master takes questions and never answers."""
    monkeypatch.setattr(status, "PATIENCE", 0.3)
    monkeypatch.setattr(status, "_AGAIN", 0.02)

    async def ask(_: Guests, machine: InventoryMachine) -> Facts:
        if machine.name == "master":
            await asyncio.sleep(60)
        return Facts(machine.name, machine.role, 5.0, "active", {})

    monkeypatch.setattr("lab.operate.status.telling.ask", ask)


@pytest.mark.usefixtures("deaf_master")
@pytest.mark.asyncio
async def test_a_machine_that_says_nothing_holds_up_nobody(inventory: Inventory) -> None:
    heard: list[status.Row] = []
    following = asyncio.create_task(status.follow(Guests(inventory, None), heard.append))  # type: ignore[arg-type]
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(following), 1.0)
    following.cancel()
    counts = {machine.name: 0 for machine in inventory.machines}
    for row in heard:
        counts[row.name] += 1
    assert 1 <= counts["master"] <= 3
    assert min(count for name, count in counts.items() if name != "master") > 6
    silent = next(row for row in heard if row.name == "master")
    assert (silent.reachable, silent.why_not) == (False, "no answer within 0.3 s")


def test_what_is_not_known_yet_is_shown_as_being_asked(inventory: Inventory) -> None:
    lab = RunningLab(inventory, None, None)  # type: ignore[arg-type]
    server = inventory.machine("server1")
    told = Facts("server1", server.role, 65.0, "active", {"lo": ("192.168.1.20/32",)}, arp={})
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(_status_view(lab, [status.row(inventory, server, told)]))
    shown = console.export_text()
    assert "server1  192.168.1.50   apache2 active" in shown
    assert "1 min 05 s" in shown
    assert "! server1: arp_ignore is 0, not 1" in shown
    assert "master   192.168.1.21   asking …" in shown
    # Who has not been heard may hold it.
    assert "holds the VIP" not in shown
