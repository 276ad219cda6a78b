"""What happens on the directors while it happens: their journals, followed."""

import json
import math
import time
from collections.abc import AsyncIterator

from lab.operate import outputs
from lab.operate.guests import Guests
from lab.operate.recording import Event

# Lines with @ tell the director's clock, more than once: the one that was on its way for the shortest time
# is right. The journal is followed meanwhile.
_FOLLOW = (
    "(for n in 1 2 3 4 5 6; do date +@%s.%N; sleep 0.25; done) & "
    "exec journalctl -u keepalived -f -n {last} -o json --output-fields=MESSAGE,__REALTIME_TIMESTAMP"
)


async def follow(guests: Guests, director: str, *, last: int = 0) -> AsyncIterator[Event]:
    """VRRP and health-check events of a director, as they come.

    Args:
        guests: how it is reached.
        director: its name.
        last: how many earlier lines of the journal to begin with.

    Yields:
        Events with ``at`` in seconds since the epoch on the operator's clock. Ends when the connection does.

    Raises:
        UnreachableError: the director does not answer.
    """
    process = await guests.process(director, _FOLLOW.format(last=last))
    try:
        ahead = -math.inf
        async for line in process.stdout:
            if line.startswith("@"):
                ahead = max(ahead, float(line[1:]) - time.time())
            elif event := understand(director, line, ahead if math.isfinite(ahead) else 0.0):
                yield event
    finally:
        process.close()


def understand(director: str, line: str, clock_ahead: float) -> Event | None:
    """The event in a line of ``journalctl -o json``, if it is one for trainees."""
    try:
        entry = json.loads(line)
        at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6 - clock_ahead
        text = entry["MESSAGE"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(text, str):
        # journald gives what is not UTF-8 as a list of bytes.
        return None
    if state := outputs.vrrp_state(text):
        return Event(at=at, machine=director, kind="vrrp", text=text, state=state)
    if outputs.is_health_check(text):
        return Event(at=at, machine=director, kind="check", text=text)
    return None
