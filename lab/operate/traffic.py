"""Requests from the client to the VIP, measured there."""

import json
import shlex
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from lab.operate.guests import Guests, Process, UnreachableError
from lab.operate.recording import Request

_PROGRAM = Path(__file__).with_name("on_guest") / "probe.py"
# Seconds until a request that hangs is given up.
GIVE_UP = 1.0
# The same where each waits for the one before: a lost SYN is sent again after a second (RFC 6298).
_GIVE_UP_IN_TURN = 2.5


class Probe:
    """The probe as it runs on the client; iterate over it for the requests as they end."""

    def __init__(self, process: Process, lines: AsyncIterator[str], monotonic: float) -> None:
        self._process = process
        self._lines = lines
        # What the client's clock shows now, but for the milliseconds that its line was on its way.
        self._to_operator = time.time() - monotonic

    async def __aiter__(self) -> AsyncIterator[Request]:
        """Requests in the order they end; ``at`` in seconds since the epoch on the operator's clock.

        Raises:
            UnreachableError: the client is lost.
        """
        async for line in self._lines:
            try:
                at, took, source, server, error = json.loads(line)
            except ValueError:
                continue
            # The line that was on its way for the shortest time tells the client's clock best.
            self._to_operator = min(self._to_operator, time.time() - (at + took))
            yield Request(at=at + self._to_operator, took=took, source=source, server=server, error=error)

    def stop(self) -> None:
        """Tell the probe to end; what is under way is dropped."""
        self._process.end_input()


@asynccontextmanager
async def probe(
    guests: Guests,
    sources: Sequence[str],
    *,
    interval: float = 0.0,
    count: int = 0,
    one_by_one: bool = False,
    give_up: float = GIVE_UP,
) -> AsyncIterator[Probe]:
    """Run the probe on the lab's client for the duration of the context.

    Args:
        guests: how the client is reached.
        sources: client addresses, used in turn.
        interval: seconds between the beginnings of two requests.
        count: how many; 0 for no end.
        one_by_one: whether each waits for the answer to the one before.
        give_up: seconds until a request counts as unanswered.

    Raises:
        UnreachableError: the client does not answer, or Python does not start there.
    """
    inventory = guests.inventory
    client = inventory.client.name
    options = {
        "address": inventory.vip,
        "port": inventory.port,
        "path": "/",
        "sources": list(sources),
        "interval": interval,
        "give_up": give_up,
        "count": count,
        "one_by_one": one_by_one,
    }
    program = _PROGRAM.read_text(encoding="utf-8")
    command = shlex.join(["python3", "-u", "-c", program, json.dumps(options)])
    process = await guests.process(client, command)
    try:
        lines = process.lines()
        first = await anext(lines, "")
        try:
            clock = json.loads(first)
        except ValueError:
            said = (await process.complaint()).strip().splitlines()[-1:]
            words = " ".join(said) or repr(first)
            raise UnreachableError(client, f"the probe does not start there: {words}") from None
        yield Probe(process, lines, clock["monotonic"])
    finally:
        process.close()


async def ask_one_by_one(
    guests: Guests, sources: Sequence[str], count: int, *, nobody: int = 0
) -> list[Request]:
    """``count`` requests, each after the answer to the one before, from ``sources`` in turn.

    No more than ``nobody`` are made if none of those was answered; 0 for all in any case.
    """
    made: list[Request] = []
    async with probe(guests, sources, count=count, one_by_one=True, give_up=_GIVE_UP_IN_TURN) as running:
        async for request in running:
            made.append(request)
            if len(made) == nobody and not any(one.server for one in made):
                break
    return made
