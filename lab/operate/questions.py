"""Questions to machines, asked at one go: to begin a command costs an emulated machine more than to answer.

Whatever is asked of a machine before the event loop turns goes there as one command.
"""

import asyncio
from collections.abc import Sequence

from lab.operate.guests import Guests

# Stands between the answers: ASCII's record separator, octal 36, which none of the programs prints.
_BETWEEN = "\x1e"


class Questions:
    """Gathers scripts by machine; none of them may hang or read its standard input."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests
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
        answer = await self._guests.run(machine, together(scripts), check=False)
        return apart(answer.stdout, len(scripts))


def together(scripts: Sequence[str]) -> str:
    """One command of several; each runs in a shell of its own, so that none can end the others."""
    return "\nprintf '\\n\\036\\n'\n".join(f"(\n{script}\n)" for script in scripts)


def apart(text: str, count: int) -> list[str]:
    """The answers to ``count`` scripts; an empty one for each that an early end has cut off."""
    found = text.split(f"\n{_BETWEEN}\n")
    return (found + [""] * count)[:count]
