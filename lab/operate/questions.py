"""Questions to machines, asked at one go: to begin a command costs an emulated machine more than to answer.

Whatever is asked of a machine before the event loop turns goes there as one command.
"""

import asyncio
import time
from collections.abc import Sequence

from lab.operate.guests import Guests, clock_between

# Stands between the answers: ASCII's record separator, octal 36, which none of the programs prints.
_BETWEEN = "\x1e"
_SEPARATE = "\nprintf '\\n\\036\\n'\n"
# The shell's own: to start a program takes longer than all else about a clock.
_CLOCK = "echo $EPOCHREALTIME"


class Questions:
    """Gathers scripts by machine; none of them may hang or read its standard input."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests
        self.clocks: dict[str, tuple[float, float]] = {}
        """Seconds that a machine's clock was ahead when it answered last, and how wrong that may be."""
        self._gathering: dict[str, tuple[list[str], asyncio.Task[list[str]]]] = {}

    async def ask(self, machine: str, script: str) -> str:
        """What ``script`` prints on ``machine``; its status does not matter.

        Raises:
            UnreachableError: the machine does not answer.
        """
        if machine not in self._gathering:
            scripts: list[str] = []
            self._gathering[machine] = (scripts, asyncio.create_task(self._put(machine, scripts)))
        scripts, answers = self._gathering[machine]
        place = len(scripts)
        scripts.append(script)
        # Shielded: one who gives up must not take the answers from the others.
        return (await asyncio.shield(answers))[place]

    async def _put(self, machine: str, scripts: list[str]) -> list[str]:
        await asyncio.sleep(0)
        del self._gathering[machine]
        before = time.time()
        answer = await self._guests.run(machine, together(scripts), check=False)
        first, *answers, last = apart(answer.stdout, len(scripts) + 2)
        try:
            self.clocks[machine] = clock_between(before, float(first), float(last), time.time())
        except ValueError:
            self.clocks.pop(machine, None)
        return answers


def together(scripts: Sequence[str]) -> str:
    """One command of several between two looks at the clock.

    Each runs in a shell of its own, so that none can end the others.
    """
    return _SEPARATE.join([_CLOCK, *(f"(\n{script}\n)" for script in scripts), _CLOCK])


def apart(text: str, count: int) -> list[str]:
    """The ``count`` answers; an empty one for each that an early end has cut off."""
    found = text.split(f"\n{_BETWEEN}\n")
    return (found + [""] * count)[:count]
