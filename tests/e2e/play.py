"""Plays challenges to their end in one process: ``python -m tests.e2e.play NAME…``, beside the machines.

Each is begun, judged, mended in the documented way, judged until it is solved, and ended. One line of JSON
for each: ``name``, ``failed`` (checks that did not hold), ``left`` (those that did not after it was mended).
Ending one fails if the lab is not as it was built.
"""

import asyncio
import json
import os
import subprocess
import sys
import time

from lab.cli.common import beside
from lab.operate.challenges import CHALLENGES, Challenge, runner
from lab.operate.guests import Guests
from lab.operate.running import RunningLab

# Seconds until a lab that was mended works: one of the ways to mend it is to switch a machine off and on.
SETTLES = 180


async def play(lab: RunningLab, challenge: Challenge) -> dict[str, object]:
    """Play one challenge."""
    await runner.start(lab, challenge, lambda _: None)
    async with lab.guests() as guests:
        failed = await _judged(guests)
        for fix in challenge.solution(lab.inventory):
            if fix.machine:
                await guests.run(fix.machine, fix.command, timeout=60)
            else:
                subprocess.run(["sh", "-c", fix.command], check=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + SETTLES
        while (left := await _judged(guests)) and time.monotonic() < deadline:
            pass
    await runner.reset(lab, lambda _: None)
    return {"name": challenge.name, "failed": failed, "left": left}


async def _judged(guests: Guests) -> list[str]:
    return [check.name for check in await runner.judge(guests, lambda _: None)]


def main() -> None:
    """Play those that are named."""
    lab = beside(os.environ["LVS_DR_LAB_STACK"])
    for challenge in CHALLENGES:
        if challenge.name in sys.argv[1:]:
            begun = time.monotonic()
            played = asyncio.run(play(lab, challenge))
            print(json.dumps(played | {"seconds": round(time.monotonic() - begun)}), flush=True)


if __name__ == "__main__":
    main()
