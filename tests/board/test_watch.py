"""What the board makes of journals and looks that contradict each other."""

import asyncio
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from lab.board.feed import Feed
from lab.board.watch import Watch
from lab.inventory import Inventory, InventoryMachine
from lab.operate.drills.live import LiveDrill, Teller, live_file
from lab.operate.facts import Facts
from lab.operate.guests import UnreachableError
from lab.operate.recording import Band, Event, Request
from lab.operate.running import RunningLab
from lab.operate.status import row
from lab.topology import Role, Topology
from tests.conftest import inventory_of

pytestmark = pytest.mark.asyncio


@pytest.fixture
def inventory(tutorial: Topology) -> Inventory:
    return inventory_of(tutorial)


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def watch(inventory: Inventory, feed: Feed, tmp_path: Path) -> Watch:
    lab = RunningLab(inventory, None, tmp_path)  # type: ignore[arg-type]
    return Watch(lab, feed, interval=0)


def told(name: str, *, vip: bool) -> Facts:
    addresses = {"eth0": ("192.168.1.20/24",)} if vip else {}
    return Facts(name, Role.DIRECTOR, 5.0, "active", addresses, vrrp="MASTER" if vip else "BACKUP")


def holders(feed: Feed) -> set[str]:
    state = feed.snapshot().state
    assert state is not None
    return {name for name, machine in state.machines.items() if machine.holds_vip}


def entering(director: str, state: str) -> Event:
    return Event(at=100.0, machine=director, kind="vrrp", text=f"Entering {state} STATE", state=state)


async def test_a_new_master_takes_the_badge_from_a_dead_one(
    watch: Watch, feed: Feed, inventory: Inventory
) -> None:
    for name, vip in (("master", True), ("backup", False)):
        watch._take(row(inventory, inventory.machine(name), told(name, vip=vip)), 99.0)
    assert holders(feed) == {"master"}
    watch._moved("backup", entering("backup", "MASTER"))
    assert holders(feed) == {"backup"}
    watch._take(row(inventory, inventory.machine("master"), UnreachableError("master", "no answer")), 101.0)
    state = feed.snapshot().state
    assert state is not None
    assert not state.machines["master"].reachable
    assert "no answer" in state.machines["master"].note


async def test_what_a_lost_director_tells_late_does_not_undo_what_was_seen_since(
    watch: Watch, feed: Feed, inventory: Inventory
) -> None:
    watch._take(row(inventory, inventory.machine("master"), told("master", vip=True)), 101.0)
    watch._moved("master", entering("master", "BACKUP"))
    assert holders(feed) == {"master"}


async def test_a_drill_that_switches_a_machine_off_is_believed_at_once(
    watch: Watch, feed: Feed, inventory: Inventory, tmp_path: Path
) -> None:
    watch._take(row(inventory, inventory.machine("master"), told("master", vip=True)), 99.0)
    teller = Teller(tmp_path, began=100.0)
    teller.hear(Event(at=1.0, machine="master", kind="vrrp", text="OFF", state="OFF"))
    teller.close()
    watch._hear(live_file(tmp_path).read_text(encoding="utf-8").strip())
    state = feed.snapshot().state
    assert state is not None
    assert (state.machines["master"].reachable, state.machines["master"].note) == (False, "switched off")


async def test_two_holders_that_are_both_seen_are_both_shown(
    watch: Watch, feed: Feed, inventory: Inventory
) -> None:
    watch._moved("backup", entering("backup", "MASTER"))
    watch._take(row(inventory, inventory.machine("master"), told("master", vip=True)), 101.0)
    assert holders(feed) == {"master", "backup"}


async def test_a_machine_that_answers_late_is_silent_until_then_and_asked_once(
    watch: Watch, feed: Feed, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = [], asyncio.Event()

    async def ask(_: object, machine: InventoryMachine) -> Facts:
        asked.append(machine.name)
        await answer.wait()
        return told(machine.name, vip=True)

    monkeypatch.setattr("lab.board.watch.telling.ask", ask)
    monkeypatch.setattr("lab.board.watch._PATIENCE", 0.05)
    guests = AsyncMock(inventory=inventory)
    looking = asyncio.create_task(watch._look(guests, inventory.machine("master")))
    try:
        async with asyncio.timeout(10):
            while feed.snapshot().state is None:
                await asyncio.sleep(0.01)
            state = feed.snapshot().state
            assert state is not None
            assert state.machines["master"].note == "no answer within 0.05 s"
            answer.set()
            while not holders(feed):
                await asyncio.sleep(0.01)
    finally:
        looking.cancel()
    assert asked == ["master"]
    guests.forget.assert_not_called()


async def test_a_drill_tells_of_itself_line_by_line(watch: Watch, feed: Feed, tmp_path: Path) -> None:
    teller = Teller(tmp_path, began=1000.0)
    teller.drill(
        LiveDrill(
            name="x",
            title="X",
            phase="running",
            began=1000.0,
            bands=(Band(begin=1.0, end=2.0, label="promised"),),
        )
    )
    teller.hear(Request(at=0.5, took=0.1, source="192.168.1.101", server="server1"))
    teller.hear(Event(at=1.5, machine="master", kind="action", text="off"))
    teller.close()
    for line in live_file(tmp_path).read_text(encoding="utf-8").splitlines():
        watch._hear(line)
    snapshot = feed.snapshot()
    assert snapshot.drill is not None
    assert (snapshot.drill.name, snapshot.drill.bands[0].begin) == ("x", 1001.0)
    assert [event.event.at for event in snapshot.events] == [1001.5]
