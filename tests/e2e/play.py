"""Plays challenges beside the machines, in one process: ``python -m tests.e2e.play NAME=CHECK,…``.

Each is begun, judged until the checks that it must break do not hold, mended in the documented way, judged
until it is solved, and ended; ending one fails if the lab is not as it was built. One line of JSON for each:
``name``, ``seconds``, ``failed`` (checks that did not hold), ``left`` (those that did not in the end).
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from lab.cli.common import beside
from lab.operate.challenges import CHALLENGES, Challenge, runner
from lab.operate.checks import Check, Examination, Outcome, examine
from lab.operate.guests import Guests
from lab.operate.running import RunningLab

# Seconds until a fault has its effect, and until a lab that was mended works: one of the ways to mend it is
# to switch a machine off and on.
SHOWS = 60
SETTLES = 180
# Seconds. What is broken stays so: there is no need to wait for it to come true.
HASTE = 2.0


def judges(must: set[str]) -> tuple[list[Check], list[Check]]:
    """Those asked while it is broken, and when it was mended; no traffic if that must show nothing."""
    traffic = any(check.traffic and check.name in must for check in runner.JUDGES)
    asked = [check for check in runner.JUDGES if traffic or not check.traffic]
    return [replace(one, within=HASTE) if one.name in must else one for one in asked], asked


async def play(lab: RunningLab, challenge: Challenge, must: set[str]) -> dict[str, object]:
    """Play one challenge."""
    await runner.start(lab, challenge, lambda _: None)
    async with lab.guests() as guests:
        broken, mended = judges(must)
        failed = await _wrong(guests, broken)
        if not must <= failed:
            # A health check has yet to see it, or keepalived to fall over it.
            due = [check for check in broken if check.name in must]
            await _until(lambda wrong: must <= wrong, guests, due, SHOWS)
            failed = await _wrong(guests, broken)
        for fix in challenge.solution(lab.inventory):
            if fix.machine:
                await guests.run(fix.machine, fix.command, timeout=60)
            else:
                subprocess.run(["sh", "-c", fix.command], check=True, stdout=subprocess.DEVNULL)
        left = await _until(lambda wrong: not wrong, guests, mended, SETTLES)
    await runner.reset(lab, lambda _: None)
    return {"name": challenge.name, "failed": sorted(failed), "left": sorted(left)}


async def _until(
    judged: Callable[[set[str]], bool], guests: Guests, checks: Sequence[Check], within: float
) -> set[str]:
    """Those of ``checks`` that do not hold, when they are ``judged`` to be right or the time is over."""
    deadline = time.monotonic() + within
    while True:
        wrong = await _wrong(guests, checks)
        if judged(wrong) or time.monotonic() > deadline:
            return wrong


async def _wrong(guests: Guests, checks: Sequence[Check]) -> set[str]:
    results = await examine(Examination(guests), checks, lambda _: None)
    return {one.check.name for one in results if one.verdict.outcome is not Outcome.PASSED}


async def _healthy(_: Guests) -> None:
    return None


async def main() -> None:
    """Play those that are named."""
    lab = beside(os.environ["LVS_DR_LAB_STACK"])
    asked = dict(argument.split("=") for argument in sys.argv[1:])
    for challenge in CHALLENGES:
        if challenge.name in asked:
            begun = time.monotonic()
            played = await play(lab, challenge, set(asked[challenge.name].split(",")))
            # Ending one has looked whether the lab is whole.
            runner.refuse_unhealthy = _healthy
            print(json.dumps(played | {"seconds": round(time.monotonic() - begun)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
