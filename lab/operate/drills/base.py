"""What a drill is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from lab.inventory import Inventory
from lab.operate.drills.stage import Stage
from lab.operate.recording import Bound


def count_bound(quantity: str, low: float | None, high: float | None, formula: str, source: str) -> Bound:
    """A bound without a unit."""
    return Bound(quantity=quantity, low=low, high=high, unit="", formula=formula, source=source)


class Drill(ABC):
    """One fault or change, what it shows, and what is promised of it.

    Restoring is not the drill's business: the stage knows every fault and takes all of them back.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    shows: ClassVar[str]
    """What a trainee learns, in one or two sentences."""
    steps: ClassVar[tuple[str, ...]]
    seconds: ClassVar[int] = 30
    """About how long it takes under emulation, restoring not counted."""
    directors: ClassVar[int] = 1
    """How many directors it needs at least."""
    servers: ClassVar[int] = 1
    interval: ClassVar[float] = 0.1
    """Seconds between two requests of the probe."""
    persistent: ClassVar[bool] = False
    """Whether it shows nothing in a lab without persistence."""

    @abstractmethod
    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """What is promised, for this lab."""

    @abstractmethod
    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Do it and measure.

        Returns:
            A value for each bound's ``quantity``; ``None`` where the thing never happened.
        """

    def why_not(self, inventory: Inventory) -> str | None:
        """Why this lab is too small for the drill; ``None`` if it is not."""
        if small := inventory.lacks(self.directors, self.servers):
            return small
        if self.persistent and not inventory.persistence_timeout:
            return "it needs persistence (lvs-dr-lab:persistence_timeout)"
        return None
