"""What a challenge is: a hidden fault, told by its symptom."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from lab.inventory import Inventory
from lab.operate.faults import Fault
from lab.operate.guests import Guests
from lab.operate.running import RunningLab


@dataclass(frozen=True)
class Fix:
    """One command of the solution."""

    machine: str
    """Where it is typed; empty for beside the machines (``lab exec --``)."""
    command: str


@dataclass(frozen=True)
class Cast:
    """The machines a challenge plays with."""

    lab: RunningLab
    guests: Guests

    @property
    def inventory(self) -> Inventory:
        """Of the lab."""
        return self.lab.inventory

    @property
    def vip(self) -> str:
        """The virtual address."""
        return self.inventory.vip

    @property
    def master(self) -> str:
        """The director that should hold the VIP."""
        return self.inventory.directors[0].name

    @property
    def backup(self) -> str:
        """The director that should take over."""
        return self.inventory.directors[1].name

    @property
    def servers(self) -> list[str]:
        """The real servers."""
        return [server.name for server in self.inventory.real_servers]


class Challenge(ABC):
    """A fault that a practitioner meets, for a trainee to find."""

    name: ClassVar[str]
    """Says nothing of the cause."""
    symptom: ClassVar[str]
    """What somebody reports."""
    hints: ClassVar[tuple[str, ...]]
    """From vague to nearly the answer."""
    cause: ClassVar[str]
    """What was wrong and why it shows as it does."""
    directors: ClassVar[int] = 1
    servers: ClassVar[int] = 1

    @abstractmethod
    async def faults(self, cast: Cast) -> list[Fault]:
        """What is done to the lab.

        Raises:
            LabError: a machine cannot be asked for what it has now.
        """

    @abstractmethod
    def solution(self, inventory: Inventory) -> list[Fix]:
        """Commands that put it right."""

    def why_not(self, inventory: Inventory) -> str | None:
        """Why this lab is too small for it; ``None`` if it is not."""
        return inventory.lacks(self.directors, self.servers)
