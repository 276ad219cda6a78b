"""The last word of a build: every machine answers, and their clocks agree.

``python -m lab.operate.settle STACK``, beside the machines, prints the names of those that do not answer.
"""

import asyncio
import sys

from lab.errors import LabError
from lab.host import recall
from lab.host.paths import StackPaths, project_dir
from lab.operate.guests import Guests
from lab.operate.repair import right_clock
from lab.operate.running import RunningLab

# Seconds between two knocks at a machine that still boots.
_KNOCK = 2.0
# Seconds that a boot may take, and that each machine adds that boots beside it (they share processors).
_BOOT = 60
_BOOT_BESIDE = 40


async def settle(lab: RunningLab) -> list[str]:
    """Wait for every machine, set the clock of each, and return the names of those that stay silent.

    A guest takes the time from its clock chip, which knows whole seconds only, early in a boot that may be
    slow; nobody on the segment could tell it better.
    """
    async with lab.guests() as guests:
        names = [machine.name for machine in lab.inventory.machines]
        silent = await _without_answer(guests, names, 0)
        if not silent:
            return []
        return await _without_answer(guests, silent, _BOOT + _BOOT_BESIDE * len(silent))


async def _without_answer(guests: Guests, machines: list[str], within: float) -> list[str]:
    done = await guests.on_each(machines, lambda name: _settled(guests, name, within))
    return [name for name, found in done.items() if isinstance(found, LabError)]


async def _settled(guests: Guests, machine: str, within: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        try:
            await right_clock(guests, machine)
        except LabError:
            if loop.time() > deadline:
                raise
            await guests.forget(machine)
            await asyncio.sleep(_KNOCK)
        else:
            return


def main(stack: str) -> None:
    """Settle the lab of ``stack``."""
    paths = StackPaths(project_dir(), stack)
    if inventory := recall.kept(paths):
        lab = RunningLab(inventory, recall.access(paths), paths.stack_dir)
        sys.stdout.write(" ".join(asyncio.run(settle(lab))))


if __name__ == "__main__":
    main(sys.argv[1])
