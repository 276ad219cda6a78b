"""Where a drill plays: the lab, its traffic, what its directors say, and every fault with its way back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from lab.errors import LabError
from lab.inventory import Inventory, InventoryMachine
from lab.operate import events, faults, outputs
from lab.operate import facts as telling
from lab.operate.analysis import longest_outage
from lab.operate.exercise import Exercise, Logbook
from lab.operate.facts import Facts
from lab.operate.faults import Fault
from lab.operate.guests import Guests, UnreachableError
from lab.operate.recording import Band, Event, Request
from lab.operate.running import RunningLab
from lab.operate.traffic import GIVE_UP, probe

Listener = Callable[[Request | Event | Band], None]

# Seconds between two looks at what has already arrived here, and between two questions to a machine.
_GLANCE = 0.02
_ASK_AGAIN = 0.25


class Stage:
    """One drill's hold on the lab. All times are seconds since the recording began."""

    def __init__(self, lab: RunningLab, guests: Guests, logbook: Logbook, exercise: Exercise) -> None:
        self.lab = lab
        self.guests = guests
        self.inventory: Inventory = lab.inventory
        self.began = time.time()
        self.requests: list[Request] = []
        self.events: list[Event] = []
        self.bands: list[Band] = []
        self.sources: Sequence[str] = ()
        self.logbook = logbook
        self._exercise = exercise
        self.listen: Listener = lambda _: None
        """Hears every request and event as it is seen."""
        self._tasks: list[asyncio.Task[None]] = []
        self._probing: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Seconds since the recording began."""
        return time.time() - self.began

    @property
    def directors(self) -> tuple[InventoryMachine, ...]:
        """By priority, the highest first."""
        return self.inventory.directors

    @property
    def master(self) -> InventoryMachine:
        """The director that holds the VIP in a healthy lab."""
        return self.directors[0]

    @property
    def backup(self) -> InventoryMachine:
        """The director that takes over first."""
        return self.directors[1]

    @property
    def servers(self) -> tuple[InventoryMachine, ...]:
        """The real servers."""
        return self.inventory.real_servers

    @property
    def client(self) -> InventoryMachine:
        """The client."""
        return self.inventory.client

    async def run(self, machine: str, command: str, *, check: bool = True) -> str:
        """What a command prints on a machine."""
        return (await self.guests.run(machine, command, check=check)).stdout

    async def facts(self, machine: str) -> Facts:
        """What a machine says of itself now."""
        return await telling.ask(self.guests, self.inventory.machine(machine))

    async def table(self, director: str) -> outputs.VirtualService | None:
        """The lab's virtual server in the IPVS table of a director."""
        table = outputs.ipvs_table(await self.run(director, "ipvsadm -Ln"))
        return outputs.service_at(table, self.inventory.vip, self.inventory.port)

    async def inject(self, fault: Fault) -> float:
        """Make a fault, remembered first; returns when it was asked for."""
        self._exercise.faults.append(fault)
        self.logbook.write(self._exercise)
        at = self.act(fault.title, fault.machine)
        await faults.inject(self.lab, self.guests, fault)
        return at

    async def take_back(self, fault: Fault) -> float:
        """Undo one fault within the drill; returns when it was asked for."""
        at = self._note("restore", f"no longer: {fault.title}", fault.machine)
        await faults.take_back(self.lab, self.guests, fault)
        self._exercise.faults.remove(fault)
        self.logbook.write(self._exercise)
        return at

    async def restore(self) -> None:
        """Undo all that is left, the latest first; goes on after one that fails, and then says so.

        Raises:
            LabError: something could not be undone.
        """
        failed = []
        for fault in reversed(list(self._exercise.faults)):
            try:
                await self.take_back(fault)
            except LabError as error:
                failed.append(str(error))
        if failed:
            raise LabError("\n".join(failed))

    def act(self, text: str, machine: str = "lab") -> float:
        """Note in the recording that something is done now; returns when."""
        return self._note("action", text, machine)

    def band(self, begin: float, end: float, label: str) -> None:
        """Mark the span in which something is promised to end."""
        self.bands.append(Band(begin=begin, end=end, label=label))
        self.listen(self.bands[-1])

    async def watch(self, seconds: float) -> None:
        """Let requests and events come in for so long."""
        await asyncio.sleep(seconds)

    async def until(self, condition: Callable[[], bool], within: float) -> float | None:
        """Wait for something that arrives here by itself; returns when it did, ``None`` if not in time."""
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(_GLANCE)
        return self.now()

    async def until_asked(self, question: Callable[[], Awaitable[bool]], within: float) -> float | None:
        """Ask a machine again and again; returns when it said yes, ``None`` if not in time.

        A machine that cannot be reached has not said yes.
        """
        deadline = time.monotonic() + within
        while time.monotonic() <= deadline:
            with suppress(UnreachableError):
                if await question():
                    return self.now()
            await asyncio.sleep(_ASK_AGAIN)
        return None

    async def transition(
        self, director: str, state: str, within: float, *, after: float = 0.0
    ) -> float | None:
        """When a director's journal said that it entered ``state``; waits for it."""
        found = await self.event(
            lambda event: event.machine == director and event.state == state, within, after=after
        )
        return found.at if found else None

    async def event(
        self, matches: Callable[[Event], bool], within: float, *, after: float = 0.0
    ) -> Event | None:
        """The first event after ``after`` that matches; waits for it."""

        def found() -> list[Event]:
            return [event for event in self.events if event.at >= after and matches(event)]

        await self.until(lambda: bool(found()), within)
        return next(iter(sorted(found(), key=lambda event: event.at)), None)

    async def said(self, director: str, words: str, within: float, *, after: float) -> float | None:
        """When the journal of a director's keepalived first said ``words`` after ``after``; waits for it."""
        found = await self.event(
            lambda event: event.machine == director and words in event.text, within, after=after
        )
        return found.at if found else None

    async def removal(
        self, director: str, server: InventoryMachine, within: float, after: float
    ) -> float | None:
        """When a director's keepalived took a real server out of its table."""
        return await self.said(director, f"Removing service [{server.address}]", within, after=after)

    async def answered(self, within: float, *, after: float) -> float | None:
        """When the first request that was begun after ``after`` was answered; waits for it."""

        def answers() -> list[float]:
            return [request.at for request in self.requests if request.server and request.at >= after]

        await self.until(lambda: bool(answers()), within)
        return min(answers(), default=None)

    async def outage(self, since: float) -> float:
        """Seconds of the longest span without an answer since ``since``; waits until all requests ended."""
        await asyncio.sleep(GIVE_UP + 0.3)
        return longest_outage(self.requests, since)

    async def calm(self, seconds: float = 1.5, within: float = 30.0) -> None:
        """Watch for ``seconds``, then wait until every request of the last ``seconds`` was answered.

        And until every source was answered once: which server each is pinned to is known then.

        Raises:
            LabError: that does not happen.
        """

        def quiet() -> bool:
            recent = [request for request in self.requests if request.at > self.now() - seconds - 1.0]
            known = {request.source for request in self.requests if request.server}
            return len(recent) >= 3 and all(request.server for request in recent) and known >= {*self.sources}

        await asyncio.sleep(seconds)
        if await self.until(quiet, within) is None:
            raise LabError(f"requests to {self.inventory.vip} go unanswered. `lab check` says why.")

    def victim(self) -> InventoryMachine:
        """The real server that answers most of the traffic: a fault on it is seen."""
        counts = {server.name: 0 for server in self.servers}
        for request in self.requests:
            if request.server in counts:
                counts[request.server] += 1
        return self.inventory.machine(max(counts, key=lambda name: counts[name]))

    @asynccontextmanager
    async def watching(self, sources: Sequence[str], interval: float) -> AsyncIterator[None]:
        """Send traffic and follow the directors' journals for the duration of the context."""
        self.sources = sources
        self._tasks = [asyncio.create_task(self._follow(director.name)) for director in self.directors]
        self._probing = asyncio.create_task(self._probe(sources, interval))
        self._tasks.append(self._probing)
        # The lab was found healthy a moment ago.
        for director in self.directors:
            self.is_now(director.name, "MASTER" if director == self.master else "BACKUP", at=0.0)
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def hush(self) -> None:
        """End the steady traffic: it would take turns of the scheduler."""
        if self._probing:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    def take(self, requests: Sequence[Request]) -> None:
        """Add requests that were made beside the steady traffic to the recording."""
        for request in requests:
            self._hear_request(request)

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let ``work`` go on until it is cancelled, at the latest when the drill ends."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def _follow(self, director: str) -> None:
        async for event in events.follow(self.guests, director):
            self._hear_event(event.model_copy(update={"at": event.at - self.began}))

    async def _probe(self, sources: Sequence[str], interval: float) -> None:
        async with probe(self.guests, sources, interval=interval) as running:
            async for request in running:
                self._hear_request(request)

    def _hear_request(self, request: Request) -> None:
        own = request.model_copy(update={"at": request.at - self.began})
        self.requests.append(own)
        self.listen(own)

    def is_now(self, director: str, state: str, *, at: float | None = None) -> None:
        """Note a director's state that no journal tells: at the beginning, or ``OFF``."""
        when = self.now() if at is None else at
        self._hear_event(Event(at=when, machine=director, kind="vrrp", text=state, state=state))

    def _note(self, kind: str, text: str, machine: str) -> float:
        at = self.now()
        self._hear_event(Event(at=at, machine=machine, kind=kind, text=text))
        return at

    def _hear_event(self, event: Event) -> None:
        self.events.append(event)
        self.listen(event)
