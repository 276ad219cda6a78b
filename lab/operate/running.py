"""A lab that stands, as the tools know it: its inventory, the way in, the hypervisor's command line."""

import asyncio
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from lab import versions
from lab.errors import LabError
from lab.inventory import Inventory, InventoryMachine
from lab.operate.access import Access
from lab.operate.guests import CONNECT_TIMEOUT, Guests

_VIRSH_TIMEOUT = 60


@dataclass(frozen=True)
class RunningLab:
    """The lab of one stack, seen from beside its machines."""

    inventory: Inventory
    access: Access
    directory: Path
    """What the tools keep of this stack; it goes with the stack."""

    @property
    def stack(self) -> str:
        """Name of the stack."""
        return self.inventory.stack

    def guests(self, *, connect_timeout: float = CONNECT_TIMEOUT) -> Guests:
        """Connections to the machines, none opened yet."""
        return Guests(self.inventory, self.access, connect_timeout=connect_timeout)

    def machine(self, name: str) -> InventoryMachine:
        """The machine called ``name``.

        Raises:
            LabError: there is none; names the nearest.
        """
        try:
            return self.inventory.machine(name)
        except KeyError:
            known = [machine.name for machine in self.inventory.machines]
            raise LabError(unknown("machine", name, known)) from None

    def versions(self) -> str:
        """The output ``versions``, as JSON: what the lab was made of."""
        file = self.directory / versions.FILE
        return file.read_text(encoding="utf-8") if file.exists() else "{}\n"

    async def virsh(self, *arguments: str) -> str:
        """What the hypervisor answers.

        Raises:
            LabError: it refuses or does not answer within a minute.
        """
        argv = ["virsh", "-q", "-c", self.inventory.libvirt_uri, *arguments]

        def ask() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                argv,
                capture_output=True,
                text=True,
                check=False,
                timeout=_VIRSH_TIMEOUT,
                stdin=subprocess.DEVNULL,
            )

        try:
            done = await asyncio.to_thread(ask)
        except subprocess.TimeoutExpired:
            raise LabError(f"virsh {arguments[0]}: no answer within {_VIRSH_TIMEOUT} s") from None
        if done.returncode != 0:
            raise LabError(f"virsh {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """The error of a name that nothing has, with the nearest that something has."""
    near = [one for one in known if name and name in one] or get_close_matches(name, known, n=1)
    first = f"there is no {kind} {name}." + (f" Did you mean {near[0]}?" if near else "")
    return f"{first}\n    There is: {', '.join(known)}."
