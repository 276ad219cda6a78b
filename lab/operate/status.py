"""How the lab is doing: one row for each machine."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from lab.errors import LabError
from lab.inventory import Inventory, InventoryMachine
from lab.operate import facts as telling
from lab.operate import outputs
from lab.operate.facts import Facts
from lab.operate.guests import Guests, UnreachableError
from lab.operate.running import RunningLab
from lab.topology import Role

# Seconds for one machine; emulated ones are slow at making connections.
PATIENCE = 15.0
# Seconds between an answer and the next question.
_AGAIN = 1.0


@dataclass(frozen=True)
class Row:
    """One machine as a person wants to see it."""

    name: str
    role: Role
    address: str
    reachable: bool
    why_not: str | None
    """Why it cannot be reached."""
    service: str | None
    """``keepalived active``; ``None`` if the machine cannot be reached."""
    healthy: bool
    vrrp: str | None
    holds_vip: bool
    servers: tuple[outputs.Destination, ...]
    """Directors: the real servers in the IPVS table of the lab's virtual server."""
    fault: str | None
    """What is wrong with it, in words."""
    uptime: float | None
    """Seconds."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


async def look(guests: Guests) -> list[Row]:
    """Ask all machines side by side; a dead one holds up nobody for longer than `PATIENCE`."""
    return await asyncio.gather(*(one(guests, machine) for machine in guests.inventory.machines))


async def one(guests: Guests, machine: InventoryMachine) -> Row:
    """Ask one machine; if it says nothing within `PATIENCE`, its row says so."""
    told: Facts | LabError
    try:
        async with asyncio.timeout(PATIENCE):
            told = await telling.ask(guests, machine)
    except TimeoutError:
        told = UnreachableError(machine.name, f"no answer within {PATIENCE:g} s")
    except LabError as error:
        told = error
    return row(guests.inventory, machine, told)


async def follow(guests: Guests, heard: Callable[[Row], None]) -> None:
    """Ask every machine again and again, each at its own pace, without end; ``heard`` gets what it says."""

    async def ask(machine: InventoryMachine) -> None:
        while True:
            heard(await one(guests, machine))
            await asyncio.sleep(_AGAIN)

    async with asyncio.TaskGroup() as group:
        for machine in guests.inventory.machines:
            group.create_task(ask(machine))


async def of(lab: RunningLab) -> list[Row]:
    """The same with connections of its own."""
    async with lab.guests(connect_timeout=PATIENCE) as guests:
        return await look(guests)


def row(inventory: Inventory, machine: InventoryMachine, told: Facts | LabError) -> Row:
    """What is shown of one machine, from what it said or why it said nothing."""
    if not isinstance(told, Facts):
        reason = told.reason if isinstance(told, UnreachableError) else str(told)
        return Row(
            machine.name,
            machine.role,
            machine.address,
            False,
            reason,
            None,
            False,
            None,
            False,
            (),
            None,
            None,
        )
    table = told.service_table(inventory)
    fault = _fault(inventory, machine, told)
    return Row(
        name=machine.name,
        role=machine.role,
        address=machine.address,
        reachable=True,
        why_not=None,
        service=f"{telling.UNITS[machine.role]} {told.service}",
        healthy=told.service == "active" and fault is None,
        vrrp=told.vrrp,
        holds_vip=machine.role is Role.DIRECTOR and told.holds(inventory.vip),
        servers=table.destinations if table else (),
        fault=fault,
        uptime=told.uptime,
    )


def _fault(inventory: Inventory, machine: InventoryMachine, told: Facts) -> str | None:
    if machine.role in (Role.REAL_SERVER, Role.SORRY_SERVER):
        return telling.dr_fault(told, inventory.vip)
    if machine.role is Role.DIRECTOR:
        if told.service == "active" and told.service_table(inventory) is None:
            return f"no virtual server {inventory.vip}:{inventory.port} in the IPVS table"
        if told.holds(inventory.vip) and told.vrrp in ("BACKUP", "FAULT", "STOP"):
            return f"holds the VIP though VRRP says {told.vrrp}"
    return None


def remarks(inventory: Inventory, rows: list[Row]) -> list[str]:
    """What is wrong with the lab as a whole, a sentence each."""
    holders = [one.name for one in rows if one.holds_vip]
    if not holders:
        return [f"No director holds the VIP {inventory.vip}."]
    if len(holders) > 1:
        return [f"{' and '.join(holders)} hold the VIP {inventory.vip} at the same time (split brain)."]
    return []
