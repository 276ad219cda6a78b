"""What a check is, and how checks are run: each asked again until it holds or its deadline is over."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from lab.errors import LabError
from lab.inventory import Inventory, InventoryMachine
from lab.operate import facts as telling
from lab.operate.facts import Facts
from lab.operate.guests import Answer, Guests, UnreachableError
from lab.operate.questions import Questions

T = TypeVar("T")

# Seconds between two looks at the same thing, and how long what a machine said stays fresh.
_PAUSE = 1.0
_FRESH = 0.8


class Outcome(StrEnum):
    """How a check ended on one machine."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It could not be looked at; why is in the detail, and another check has failed for it."""


@dataclass(frozen=True)
class Verdict:
    """What one look at one machine gave."""

    outcome: Outcome
    detail: str

    @classmethod
    def of(cls, holds: bool, detail: str) -> "Verdict":
        """Passed or failed."""
        return cls(Outcome.PASSED if holds else Outcome.FAILED, detail)


@dataclass(frozen=True)
class Result:
    """A check settled on one machine."""

    check: "Check"
    machine: str
    verdict: Verdict
    seconds: float

    def in_words(self) -> str:
        """Which check, where, and what it saw."""
        return f"{self.check.name} on {self.machine}: {self.verdict.detail}"


class Examination:
    """One run of checks over a lab: what the machines said is asked once and shared."""

    def __init__(self, guests: Guests) -> None:
        self.guests = guests
        self.inventory = guests.inventory
        self._questions = Questions(guests)
        self._told: dict[tuple[str, str], tuple[float, str]] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._once: dict[str, asyncio.Task[Any]] = {}

    async def facts(self, name: str) -> Facts:
        """What machine ``name`` says of itself, less than a second old."""
        machine = self.inventory.machine(name)
        return telling.understand(machine, await self.told(name, telling.script(machine)))

    async def told(self, machine: str, script: str) -> str:
        """What a script printed on a machine less than a second ago; its status does not matter."""
        key = (machine, script)
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._told.get(key)
            if known is None or time.monotonic() - known[0] >= _FRESH:
                answer = await self._questions.ask(machine, script)
                known = self._told[key] = (time.monotonic(), answer)
            return known[1]

    async def clock_ahead(self, machine: str, limit: float) -> tuple[float, float]:
        """Seconds that a machine's clock is ahead, and the doubt; asked for alone if it may be ``limit``."""
        await self.facts(machine)
        known = self._questions.clocks.get(machine)
        if known and abs(known[0]) + known[1] < limit:
            return known
        return await self.guests.clock_ahead(machine, limit)

    async def run(self, machine: str, command: str, *, check: bool = True) -> Answer:
        """Run a command on a machine."""
        return await self.guests.run(machine, command, check=check)

    async def holders(self) -> list[InventoryMachine]:
        """The reachable directors that hold the VIP."""
        directors = self.inventory.directors
        told = await self.guests.on_each([director.name for director in directors], self.facts)
        return [
            director
            for director in directors
            if isinstance(known := told[director.name], Facts) and known.holds(self.inventory.vip)
        ]

    async def once(self, what: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``make`` gives, made once for all checks that ask for ``what``."""
        if what not in self._once:
            self._once[what] = asyncio.create_task(make())
        # Shielded: a check that is cancelled must not take it from the others.
        made: T = await asyncio.shield(self._once[what])
        return made


Look = Callable[[Examination, str], Awaitable[Verdict]]


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    name: str
    says: str
    """What holds when it passes, as a sentence."""
    hint: str
    """What to look at when it fails."""
    on: Callable[[Inventory], Sequence[str]]
    """The machines it is asked of."""
    look: Look = field(repr=False)
    within: float = 10.0
    """Seconds it may take to come true."""
    traffic: bool = False
    """Whether it judges the experiment, which is made when all else has settled."""


async def examine(
    examination: Examination, checks: Iterable[Check], report: Callable[[Result], None]
) -> list[Result]:
    """Run ``checks``; each result is reported when it settles.

    State is looked at on all machines side by side, and only then is traffic sent: while the lab is
    still settling it would show nothing.
    """
    chosen = list(checks)
    results: list[Result] = []

    async def settle(check: Check, machine: str) -> None:
        result = await _settle(examination, check, machine)
        results.append(result)
        report(result)

    for traffic in (False, True):
        await asyncio.gather(
            *(
                settle(check, machine)
                for check in chosen
                if check.traffic is traffic
                for machine in check.on(examination.inventory)
            )
        )
    return results


async def _settle(examination: Examination, check: Check, machine: str) -> Result:
    begun = time.monotonic()
    while True:
        try:
            verdict = await check.look(examination, machine)
        except UnreachableError as error:
            verdict = Verdict(
                Outcome.FAILED if check.name == "reachable" else Outcome.UNKNOWN, str(error).rstrip(".")
            )
        except LabError as error:
            verdict = Verdict(Outcome.FAILED, str(error).rstrip("."))
        seconds = time.monotonic() - begun
        if verdict.outcome is Outcome.PASSED or seconds + _PAUSE > check.within:
            return Result(check, machine, verdict, seconds)
        await asyncio.sleep(_PAUSE)
