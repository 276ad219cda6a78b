"""Questions to machines, asked at one go: to begin a command costs an emulated machine more than to answer.

Whatever is asked of a machine before the event loop turns goes there as one command.
"""

import asyncio
from collections.abc import Sequence

from lab.operate.guests import Guests

# Stands between the answers: ASCII's record separator, octal 36, which none of the programs prints.
_BETWEEN = "\x1e"

_Waiting = list[tuple[str, asyncio.Future[str]]]


class Questions:
    """Gathers scripts by machine; none of them may hang or read its standard input."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests
        self._waiting: dict[str, _Waiting] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def ask(self, machine: str, script: str) -> str:
        """What ``script`` prints on ``machine``; its status does not matter.

        Raises:
            UnreachableError: the machine does not answer.
        """
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(machine, [])
        waiting.append((script, answer))
        if len(waiting) == 1:
            task = asyncio.create_task(self._put(machine))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return await answer

    async def _put(self, machine: str) -> None:
        await asyncio.sleep(0)
        waiting = self._waiting.pop(machine)
        try:
            answer = await self._guests.run(machine, together([script for script, _ in waiting]), check=False)
            parts = apart(answer.stdout, len(waiting))
        except Exception as error:  # Whatever it is, those who asked must hear of it.
            for _, asked in waiting:
                if not asked.done():
                    asked.set_exception(error)
        else:
            for (_, asked), part in zip(waiting, parts, strict=True):
                if not asked.done():
                    asked.set_result(part)


def together(scripts: Sequence[str]) -> str:
    """One command of several; each runs in a shell of its own, so that none can end the others."""
    return "\nprintf '\\n\\036\\n'\n".join(f"(\n{script}\n)" for script in scripts)


def apart(text: str, count: int) -> list[str]:
    """The answers to ``count`` scripts; an empty one for each that an early end has cut off."""
    found = text.split(f"\n{_BETWEEN}\n")
    return (found + [""] * count)[:count]
