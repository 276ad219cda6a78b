"""Running a drill from a healthy lab to a healthy lab."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.errors import LabError
from lab.operate.drills.base import Drill
from lab.operate.drills.live import LiveDrill, Teller
from lab.operate.drills.stage import Stage
from lab.operate.exercise import Logbook
from lab.operate.guests import Guests
from lab.operate.recording import Band, Event, Measure, Recording, Request
from lab.operate.repair import make_whole, refuse_unhealthy
from lab.operate.running import RunningLab
from lab.operate.sources import newcomers
from lab.say import Say
from lab.topology import Role

# Client addresses that take turns: three for each of three servers.
_SOURCES = 9
# Unknown addresses that a drill may need besides.
_SPARE = 30
# Seconds of undisturbed traffic before a drill begins and after it ended.
_WARM_UP = 1.5


@dataclass(frozen=True)
class Outcome:
    """A drill that ended: what was measured and where it is written."""

    recording: Recording
    files: tuple[Path, ...]

    @property
    def kept(self) -> bool:
        """Whether everything lay within its bounds."""
        return all(measure.kept for measure in self.recording.measures)


async def run_drills(
    lab: RunningLab,
    drills: Sequence[Drill],
    say: Say,
    done: Callable[[Outcome], None],
    folder: Path | None = None,
) -> None:
    """Run drills one after the other: healthy lab, fault, measurement, restoring, healthy lab.

    Args:
        lab: where.
        drills: which.
        say: hears what is being done.
        done: hears of each drill when it has ended and the lab is whole again.
        folder: where figures and pictures go; with the lab's own files, which go with the lab, if not given.

    Raises:
        LabError: the lab is too small, not healthy or in use; or restoring failed, and then how to go on.
    """
    for drill in drills:
        if reason := drill.why_not(lab.inventory):
            raise LabError(f"drill {drill.name} cannot run here: {reason}.")
    folder = folder or lab.directory / "drills"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LabError(f"{folder}: {error.strerror}.\n    Give another directory with --out.") from None
    logbook = Logbook(lab.directory)
    with logbook.held():
        logbook.refuse_if_open()
        async with lab.guests() as guests:
            say("looking whether the lab is healthy")
            await refuse_unhealthy(guests)
            for drill in drills:
                sources = await _sources(guests)
                stage = Stage(lab, guests, logbook, logbook.begin("drill", drill.name))
                done(await _run(stage, drill, sources, folder, say))


async def _run(stage: Stage, drill: Drill, sources: Sequence[str], folder: Path, say: Say) -> Outcome:
    teller = Teller(stage.lab.directory, stage.began)

    def listen(told: Request | Event | Band) -> None:
        if isinstance(told, Band):
            teller.drill(_live(stage, drill, "running"))
        else:
            teller.hear(told)

    stage.listen = listen
    teller.drill(_live(stage, drill, "running"))
    try:
        async with stage.watching(sources, drill.interval):
            # Two turns of all addresses: who is pinned where is known then.
            await stage.calm(max(_WARM_UP, 2.2 * len(sources) * drill.interval))
            say(f"{drill.title}: about {drill.seconds} s")
            measured = await drill.run(stage)
            await asyncio.sleep(_WARM_UP)
            seconds = stage.now()
        recording = _recording(drill, stage, seconds, measured)
        teller.drill(_live(stage, drill, "done", recording.measures))
        # Drawn while the lab is put back, and kept whatever comes of that.
        written = asyncio.create_task(asyncio.to_thread(_write, folder, recording))
    except BaseException:
        teller.drill(_live(stage, drill, "failed"))
        raise
    finally:
        # Also on Ctrl-C: what was broken is mended before anything else.
        await _to_the_end(_restore(stage, say), say)
        teller.close()
    return Outcome(recording, await written)


def _live(
    stage: Stage,
    drill: Drill,
    phase: Literal["running", "done", "failed"],
    measures: tuple[Measure, ...] = (),
) -> LiveDrill:
    return LiveDrill(
        name=drill.name,
        title=drill.title,
        phase=phase,
        began=stage.began,
        seconds=drill.seconds,
        bands=tuple(stage.bands),
        measures=measures,
    )


async def _to_the_end(work: Coroutine[Any, Any, None], say: Say) -> None:
    """Wait for ``work`` even when it is this very wait that Ctrl-C cuts off."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            say("the lab is being put back: half a minute more")
            await task
        raise


async def _restore(stage: Stage, say: Say) -> None:
    say("putting the lab back")
    with suppress(LabError):
        await stage.restore()
    if wrong := await make_whole(stage.lab, stage.guests, say):
        raise LabError(
            f"the lab is not as it was: {wrong[0].in_words()}.\n"
            "    Try `lab drill restore`, then `lab check`."
        )
    stage.logbook.end()


async def restore(lab: RunningLab, say: Say) -> str | None:
    """Put the lab back after a drill whose process died.

    Returns:
        What was under way; ``None`` if nothing was.

    Raises:
        LabError: a drill is running, or the lab cannot be put back.
    """
    logbook = Logbook(lab.directory)
    with logbook.held():
        found = logbook.current()
        if found is None:
            return None
        if found.kind != "drill":
            raise LabError(f"the lab is in {found.in_words()}.\n    `lab challenge reset` puts it back.")
        async with lab.guests() as guests:
            stage = Stage(lab, guests, logbook, found)
            await _restore(stage, say)
    return found.in_words()


async def _sources(guests: Guests) -> Sequence[str]:
    """Client addresses that no persistence template binds, if enough are left of those; else its own."""
    inventory = guests.inventory
    directors = [director.name for director in inventory.directors]
    sources = await newcomers(guests, _SOURCES, directors=directors, spare=_SPARE)
    if len(sources) < min(_SOURCES, len(inventory.real_servers)):
        return inventory.client_addresses[:_SOURCES]
    return sources


def _recording(drill: Drill, stage: Stage, seconds: float, measured: dict[str, float | None]) -> Recording:
    bounds = drill.bounds(stage.inventory)
    if missing := [bound.quantity for bound in bounds if bound.quantity not in measured]:
        raise AssertionError(f"drill {drill.name} does not measure {missing}")
    return Recording(
        drill=drill.name,
        title=drill.title,
        stack=stage.lab.stack,
        began=stage.began,
        seconds=seconds,
        interval=drill.interval,
        directors=tuple(director.name for director in stage.directors),
        servers=tuple(
            machine.name
            for machine in stage.inventory.machines
            if machine.role in (Role.REAL_SERVER, Role.SORRY_SERVER)
        ),
        requests=tuple(sorted(stage.requests, key=lambda request: request.at)),
        events=tuple(
            sorted((event for event in stage.events if event.at <= seconds), key=lambda one: one.at)
        ),
        bands=tuple(stage.bands),
        measures=tuple(Measure(bound=bound, value=measured[bound.quantity]) for bound in bounds),
    )


def _write(directory: Path, recording: Recording) -> tuple[Path, ...]:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(recording.began))
    base = directory / f"{recording.drill}-{stamp}"
    numbers = base.with_name(base.name + ".json")
    recording.save(numbers)
    # It brings matplotlib, which takes a second: who lists drills need not wait for it.
    from lab.operate.timeline import draw  # noqa: PLC0415

    return (numbers, *draw(recording, base))
