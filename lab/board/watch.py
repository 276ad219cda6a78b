"""Looks at a running lab and tells the board: journals as they grow, states, traffic, a running drill."""

import asyncio
import json
import time

from lab.board.feed import Feed
from lab.board.messages import (
    DrillMessage,
    DrillStatus,
    EventMessage,
    LabMessage,
    MachineState,
    RequestsMessage,
    Service,
    StateMessage,
    TableRow,
    VrrpState,
)
from lab.errors import LabError
from lab.inventory import InventoryMachine
from lab.operate import events, status
from lab.operate import facts as telling
from lab.operate.drills.live import live_file
from lab.operate.exercise import Logbook
from lab.operate.facts import Facts
from lab.operate.guests import Guests
from lab.operate.recording import Event, Request
from lab.operate.running import RunningLab
from lab.operate.traffic import probe
from lab.topology import Role

# Seconds between two looks at a machine, at least and at most, and until one that says nothing is shown so;
# what the journals say is shown at once.
_LOOK_AGAIN = 2.0
_LOOK_AT_LAST = 5.0
_PATIENCE = 10.0
# Seconds for a login: emulated machines that are all asked at once take their time.
_LOGIN = 30.0
# Seconds between two looks at the file in which a drill tells of itself.
_GLANCE = 0.1


class Watch:
    """Everything that is followed for one board."""

    def __init__(self, lab: RunningLab, feed: Feed, *, interval: float) -> None:
        """Watch ``lab`` for ``feed``; ``interval`` seconds between two requests, 0 for none of its own."""
        self._lab = lab
        self._feed = feed
        self._interval = interval
        self._states: dict[str, MachineState] = {}
        self._tables: dict[str, tuple[TableRow, ...]] = {}
        self._news: dict[str, float] = {}
        self._looked: dict[str, float] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        self._feed.publish(LabMessage.of(self._lab.inventory))
        async with self._lab.guests(connect_timeout=_LOGIN) as guests, asyncio.TaskGroup() as group:
            for director in self._lab.inventory.directors:
                group.create_task(self._follow(guests, director.name))
            for machine in self._lab.inventory.machines:
                group.create_task(self._look(guests, machine))
            group.create_task(self._drill())
            if self._interval:
                group.create_task(self._ask(guests))

    async def _follow(self, guests: Guests, director: str) -> None:
        async for event in events.follow(guests, director):
            self._feed.publish(EventMessage(event=event))
            if event.kind == "vrrp":
                self._moved(director, event)

    def _moved(self, director: str, event: Event) -> None:
        """A director's state changed: the journal is faster than the next look."""
        if event.state not in ("MASTER", "BACKUP", "FAULT", "STOP"):
            return
        if event.at < self._looked.get(director, 0.0):
            # The director was lost for a while: what it tells now is older than what was seen since.
            return
        state: VrrpState = event.state  # type: ignore[assignment]
        known = self._states.get(director, MachineState(reachable=True))
        self._states[director] = known.model_copy(
            update={"vrrp": state, "holds_vip": state == "MASTER", "reachable": True, "note": ""}
        )
        self._news[director] = time.monotonic()
        if state == "MASTER":
            # Whoever held it before may be dead and unable to say so; the next look tells if both do.
            for other in self._states.keys() - {director}:
                self._states[other] = self._states[other].model_copy(update={"holds_vip": False})
                self._news[other] = time.monotonic()
        self._publish(event.at)

    def _publish(self, at: float) -> None:
        self._feed.publish(StateMessage(at=at, machines=dict(self._states), tables=dict(self._tables)))

    async def _look(self, guests: Guests, machine: InventoryMachine) -> None:
        """Ask one machine again and again; a dead one holds up nobody else's."""
        while True:
            begun, at = time.monotonic(), time.time()
            try:
                await guests.connect(machine.name)
                begun, at = time.monotonic(), time.time()
                told: Facts | LabError = await self._told(guests, machine)
            except LabError as error:
                told = error
            # What a journal has said since then is younger than this answer.
            if self._news.get(machine.name, 0.0) < begun:
                self._take(status.row(guests.inventory, machine, told), at)
            # A machine that needs long for its answer is asked less often, but the page counts the seconds.
            await asyncio.sleep(min(max(_LOOK_AGAIN, time.monotonic() - begun), _LOOK_AT_LAST))

    async def _told(self, guests: Guests, machine: InventoryMachine) -> Facts:
        """What the machine says of itself, however long it takes; it is shown as silent meanwhile."""
        asking = asyncio.create_task(telling.ask(guests, machine))
        try:
            answered, _ = await asyncio.wait({asking}, timeout=_PATIENCE)
            if not answered:
                # Not given up: it may only be slow, and another login would make it slower.
                silent = LabError(f"no answer within {_PATIENCE:g} s")
                self._take(status.row(guests.inventory, machine, silent), time.time())
            return await asking
        finally:
            asking.cancel()

    def _take(self, row: status.Row, at: float) -> None:
        self._states[row.name] = _state(row)
        self._looked[row.name] = at
        if row.role is Role.DIRECTOR and row.reachable:
            self._tables[row.name] = tuple(
                TableRow(
                    address=entry.address, weight=entry.weight, active=entry.active, inactive=entry.inactive
                )
                for entry in row.servers
            )
        self._publish(at)

    async def _ask(self, guests: Guests) -> None:
        sources = self._lab.inventory.client_addresses
        while True:
            try:
                async with probe(guests, sources, interval=self._interval) as running:
                    async for request in running:
                        if self._drill_runs():
                            break
                        self._feed.publish(RequestsMessage(requests=(request,)))
            except LabError:
                pass
            # A drill counts requests: those of the board would take turns of the scheduler.
            while self._drill_runs():
                await asyncio.sleep(_GLANCE)
            await asyncio.sleep(1)

    def _drill_runs(self) -> bool:
        try:
            found = Logbook(self._lab.directory).current()
        except LabError:
            return False
        return found is not None and found.kind == "drill"

    async def _drill(self) -> None:
        """Follow the file in which drills tell of themselves, line by line."""
        file, place = live_file(self._lab.directory), 0
        place = file.stat().st_size if file.exists() else 0
        rest = ""
        while True:
            await asyncio.sleep(_GLANCE)
            size = file.stat().st_size if file.exists() else 0
            if size < place:
                # Another drill has begun its file anew.
                place, rest = 0, ""
            if size == place:
                continue
            with file.open(encoding="utf-8") as stream:
                stream.seek(place)
                *lines, rest = (rest + stream.read()).split("\n")
                place = stream.tell()
            for line in lines:
                self._hear(line)

    def _hear(self, line: str) -> None:
        kind, told = json.loads(line)
        if kind == "drill":
            self._feed.publish(DrillMessage(drill=DrillStatus.model_validate(told)))
        elif kind == "request":
            self._feed.publish(RequestsMessage(requests=(Request.model_validate(told),)))
        elif told["kind"] in ("action", "restore"):
            # What the directors' journals say is followed already.
            self._feed.publish(EventMessage(event=Event.model_validate(told)))
        elif told["state"] == "OFF":
            # No journal says so, and the machine itself would be missed only after a while.
            self._states[told["machine"]] = MachineState(reachable=False, note="switched off")
            self._news[told["machine"]] = time.monotonic()
            self._publish(told["at"])


def _state(row: status.Row) -> MachineState:
    known: tuple[Service, ...] = ("active", "inactive", "failed")
    service = (row.service or "").rsplit(" ", 1)[-1]
    return MachineState(
        reachable=row.reachable,
        service=next((one for one in known if one == service), "unknown"),
        vrrp=row.vrrp if row.vrrp in ("MASTER", "BACKUP", "FAULT", "STOP") else None,
        holds_vip=row.holds_vip,
        note=row.fault or row.why_not or "",
    )
