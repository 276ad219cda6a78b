"""A lab that does not exist, telling the board a story that could be true.

``python -m tests.board.fake [SERVERS [DIRECTORS]]`` serves it, to look at.
"""

import asyncio
import random
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.board import (
    BoardMachine,
    DrillMessage,
    DrillStatus,
    EventMessage,
    Feed,
    LabMessage,
    MachineState,
    RequestsMessage,
    StateMessage,
    TableRow,
    serve,
)
from lab.operate.recording import Band, Bound, Event, Measure, Request
from lab.topology import Role

VIP = "192.168.1.20"


def lab(servers: int = 3, directors: int = 2, *, sorry: bool = False) -> LabMessage:
    """A lab of some size, with the tutorial's names and addresses."""
    names = ["master", "backup", "reserve"]
    machines = [
        _machine(names[place], Role.DIRECTOR, 21 + place, priority=150 - 50 * place)
        for place in range(directors)
    ]
    machines += [
        _machine(f"server{place + 1}", Role.REAL_SERVER, 50 + place, weight=1) for place in range(servers)
    ]
    if sorry:
        machines.append(_machine("sorry", Role.SORRY_SERVER, 90, weight=0))
    machines.append(_machine("client", Role.CLIENT, 100))
    return LabMessage(
        stack="dev",
        vip=VIP,
        url=f"http://{VIP}/",
        cidr="192.168.1.0/24",
        virtual_router_id=21,
        lb_algo="rr",
        advert_int=1.0,
        machines=tuple(machines),
    )


def _machine(name: str, role: Role, last: int, **more: int) -> BoardMachine:
    return BoardMachine(
        name=name, role=role, address=f"192.168.1.{last}", mac=f"52:54:00:a8:01:{last:02x}", **more
    )


@dataclass
class FakeLab:
    """Publishes what a real lab would have shown."""

    feed: Feed
    lab: LabMessage = field(default_factory=lab)
    clock: Callable[[], float] = time.time
    states: dict[str, MachineState] = field(init=False)
    weights: dict[str, int] = field(init=False)
    """Of the real servers in the tables."""
    silent: set[str] = field(default_factory=set)
    """Servers that do not answer though they are in the table."""
    _turn: int = 0

    def __post_init__(self) -> None:
        self.weights = {server.name: 1 for server in self.of(Role.REAL_SERVER)}
        self.states = {
            machine.name: MachineState(reachable=True, service="active") for machine in self.lab.machines
        }
        for director in self.of(Role.DIRECTOR):
            self.change(director.name, vrrp="BACKUP")
        self.change(self.of(Role.DIRECTOR)[0].name, vrrp="MASTER", holds_vip=True)

    def of(self, role: Role) -> list[BoardMachine]:
        return [machine for machine in self.lab.machines if machine.role is role]

    def change(self, machine: str, **what: object) -> None:
        self.states[machine] = self.states[machine].model_copy(update=what)

    @property
    def holder(self) -> str | None:
        return next((name for name, state in self.states.items() if state.holds_vip), None)

    def announce(self) -> None:
        self.feed.publish(self.lab)
        self.tell()

    def tell(self, at: float | None = None) -> None:
        rows = tuple(
            TableRow(
                address=server.address,
                weight=self.weights[server.name],
                active=self._turn % 4,
                inactive=10 + self._turn % 7,
            )
            for server in (*self.of(Role.REAL_SERVER), *self.of(Role.SORRY_SERVER))
            if server.name in self.weights
        )
        tables = {one.name: rows for one in self.of(Role.DIRECTOR) if self.states[one.name].reachable}
        self.feed.publish(StateMessage(at=at or self.clock(), machines=dict(self.states), tables=tables))

    def event(
        self, machine: str, kind: str, text: str, *, state: str | None = None, at: float | None = None
    ) -> None:
        self.feed.publish(
            EventMessage(
                event=Event(at=at or self.clock(), machine=machine, kind=kind, text=text, state=state)
            )
        )

    def ask(self, at: float | None = None) -> None:
        """One request, answered as the lab stands now."""
        self._turn += 1
        names = [name for name, weight in self.weights.items() if weight]
        server = names[self._turn % len(names)] if names and self.holder else None
        error = None if server and server not in self.silent else "timeout"
        self.answer(None if error else server, error=error, at=at)

    def answer(self, server: str | None, *, error: str | None = None, at: float | None = None) -> None:
        request = Request(
            at=at or self.clock(),
            took=1.0 if error else random.uniform(0.002, 0.02),
            source=f"192.168.1.{100 + self._turn % 10}",
            server=server,
            error=error,
        )
        self.feed.publish(RequestsMessage(requests=(request,)))

    def enter(self, director: str, state: str, at: float | None = None) -> None:
        self.event(director, "vrrp", f"(externa) Entering {state} STATE", state=state, at=at)
        self.change(director, vrrp=state, holds_vip=state == "MASTER")

    def power_cut(self, machine: str) -> None:
        self.states[machine] = MachineState(reachable=False, note="no route to host")

    def remove(self, server: str, at: float | None = None) -> None:
        address = next(one.address for one in self.lab.machines if one.name == server)
        for director in self.of(Role.DIRECTOR):
            if self.states[director.name].reachable:
                text = f"Removing service [{address}]:tcp:80 from VS [{VIP}]:tcp:80"
                self.event(director.name, "check", text, at=at)
        self.weights.pop(server, None)

    def restore_server(self, server: str) -> None:
        address = next(one.address for one in self.lab.machines if one.name == server)
        text = f"Adding service [{address}]:tcp:80 to VS [{VIP}]:tcp:80"
        for director in self.of(Role.DIRECTOR):
            if self.states[director.name].reachable:
                self.event(director.name, "check", text)
        self.weights[server] = 1


def bound(low: float, high: float, quantity: str = "clients without an answer") -> Bound:
    return Bound(
        quantity=quantity,
        low=low,
        high=high,
        formula="3 x advert_int + skew of the backup",
        source="RFC 3768, 6.4.2",
    )


def crash_drill(began: float, **changes: object) -> DrillStatus:
    return DrillStatus(
        name="crash-failover",
        title="Crash failover: the master loses its power",
        phase="running",
        began=began,
        seconds=15.0,
    ).model_copy(update=changes)


def measured(drill: DrillStatus, value: float = 3.41) -> DrillStatus:
    """The drill at its end."""
    return drill.model_copy(
        update={
            "phase": "done",
            "measures": (
                Measure(bound=bound(2.41, 3.91), value=value),
                Measure(bound=bound(2.41, 3.91, "from the crash to the new master"), value=value - 0.2),
            ),
        }
    )


def past_drill(fake: FakeLab, now: float, *, elapsed: float = 12.0, ended: bool = False) -> None:
    """A crash failover that began ``elapsed`` seconds ago, told at once: for still pictures."""
    began = now - elapsed
    master, backup = (one.name for one in fake.of(Role.DIRECTOR)[:2])
    drill = crash_drill(
        began, bands=(Band(begin=began + 5.4, end=began + 6.9, label="promised: 2.41 to 3.91 s"),)
    )
    fake.tell(at=began - 60)
    fake.feed.publish(DrillMessage(drill=drill))
    fake.event(master, "action", f"{master}: power cut", at=began + 3)
    at = began
    while at < now:
        if began + 3 <= at < began + 6.3:
            fake.answer(None, error="timeout", at=at)
        else:
            fake.ask(at)
        at += 0.1
    fake.power_cut(master)
    fake.enter(backup, "MASTER", at=began + 6.2)
    fake.tell(at=began + 6.3)
    fake.tell()
    if ended:
        fake.feed.publish(DrillMessage(drill=measured(drill)))


def past_traffic(fake: FakeLab, now: float, *, rate: float = 5.0, seconds: float = 60.0) -> None:
    """Undisturbed requests of the last minute."""
    fake.tell(at=now - seconds - 5)
    for step in range(int(rate * seconds)):
        fake.ask(now - seconds + step / rate)


async def traffic(fake: FakeLab, rate: float = 5.0) -> None:
    """Requests and looks at the lab until cancelled."""
    looked = 0.0
    while True:
        fake.ask()
        if fake.clock() - looked > 1.0:
            looked = fake.clock()
            fake.tell()
        await asyncio.sleep(1 / rate)


async def story(fake: FakeLab) -> None:
    """Calm, a server dies and comes back, the master crashes in a drill and comes back; and again."""
    master, backup = (one.name for one in fake.of(Role.DIRECTOR)[:2])
    while True:
        await asyncio.sleep(8)
        fake.silent.add("server2")
        fake.change("server2", service="inactive")
        await asyncio.sleep(4)
        fake.remove("server2")
        fake.tell()
        await asyncio.sleep(8)
        fake.silent.clear()
        fake.change("server2", service="active")
        fake.restore_server("server2")
        fake.tell()
        await asyncio.sleep(6)
        drill = crash_drill(fake.clock())
        fake.feed.publish(DrillMessage(drill=drill))
        await asyncio.sleep(3)
        at = fake.clock()
        fake.event(master, "action", f"{master}: power cut")
        drill = crash_drill(drill.began, bands=(Band(begin=at + 2.41, end=at + 3.91, label="promised"),))
        fake.feed.publish(DrillMessage(drill=drill))
        fake.power_cut(master)
        await asyncio.sleep(3.3)
        fake.enter(backup, "MASTER")
        fake.tell()
        await asyncio.sleep(6)
        fake.feed.publish(DrillMessage(drill=measured(drill)))
        fake.states[master] = MachineState(reachable=True, service="active", vrrp="BACKUP")
        fake.enter(backup, "BACKUP")
        fake.enter(master, "MASTER")
        fake.tell()
        await asyncio.sleep(15)
        fake.feed.publish(DrillMessage(drill=None))


async def _look(servers: int, directors: int) -> None:
    feed = Feed()
    fake = FakeLab(feed, lab(servers, directors))
    fake.announce()
    sock = socket.create_server(("127.0.0.1", 8765))
    told = [asyncio.create_task(traffic(fake)), asyncio.create_task(story(fake))]
    await serve(feed, sock)
    for task in told:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(_look(*([int(one) for one in sys.argv[1:]] + [3, 2])[:2]))
