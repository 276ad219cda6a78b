"""What happens on the directors while it happens: their journals, followed."""

import asyncio
import json
import math
import shlex
import time
from collections.abc import AsyncIterator

from lab.errors import LabError
from lab.operate import outputs
from lab.operate.guests import Guests
from lab.operate.recording import Event

# Lines with @ tell the director's clock, more than once: the one that was on its way for the shortest time
# is right. The first comes before the journal, whose older lines are told from new ones by it.
_FOLLOW = (
    "date +@%s.%N; (for n in 1 2 3 4 5; do sleep 0.25; date +@%s.%N; done) & "
    "exec journalctl -u keepalived -f {where} -o json --output-fields=MESSAGE,__REALTIME_TIMESTAMP"
)
# Seconds until a director that was lost is asked again.
_AGAIN = 0.5


async def follow(guests: Guests, director: str, *, last: int = 0) -> AsyncIterator[Event]:
    """VRRP and health-check events of a director as they come, without end.

    A connection that breaks is made again, and what the journal says of the time between comes then.

    Args:
        guests: how it is reached.
        director: its name.
        last: how many earlier lines of the journal to begin with.

    Yields:
        Events with ``at`` in seconds since the epoch on the operator's clock.
    """
    journal = _Journal(director, earlier=last > 0)
    # One line is always read: its cursor is the place from which to go on.
    where = f"-n {max(last, 1)}"
    while True:
        try:
            process = await guests.process(director, _FOLLOW.format(where=where))
            try:
                journal.begin()
                async for line in process.lines():
                    if event := journal.read(line):
                        yield event
            finally:
                process.close()
        except LabError:
            # Switched off or cut off; it will be back.
            pass
        if journal.cursor:
            where = f"--no-tail --after-cursor={shlex.quote(journal.cursor)}"
        await asyncio.sleep(_AGAIN)


class _Journal:
    """Lines of one director's journal between its clock's."""

    def __init__(self, director: str, *, earlier: bool) -> None:
        """Read ``director``'s; with ``earlier`` also what was written before it was first asked."""
        self.cursor = ""
        """Of the last line that was read."""
        self._director = director
        self._from = -math.inf if earlier else math.nan
        self._ahead = -math.inf

    def begin(self) -> None:
        """Another connection: the clock is told anew."""
        self._ahead = -math.inf

    def read(self, line: str) -> Event | None:
        """The event in a line of ``journalctl -o json``, if it is one for trainees."""
        if line.startswith("@"):
            clock = float(line[1:])
            self._ahead = max(self._ahead, clock - time.time())
            if math.isnan(self._from):
                self._from = clock
            return None
        try:
            entry = json.loads(line)
            written = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            text = entry["MESSAGE"]
            self.cursor = entry.get("__CURSOR", self.cursor)
        except (ValueError, KeyError, TypeError):
            return None
        # journald gives what is not UTF-8 as a list of bytes.
        if written < self._from or not isinstance(text, str):
            return None
        at = written - (self._ahead if math.isfinite(self._ahead) else 0.0)
        if state := outputs.vrrp_state(text):
            return Event(at=at, machine=self._director, kind="vrrp", text=text, state=state)
        if outputs.is_health_check(text):
            return Event(at=at, machine=self._director, kind="check", text=text)
        return None
