"""Starting a challenge, judging it, and putting the lab back."""

from collections.abc import Callable

from lab.errors import LabError
from lab.operate import faults
from lab.operate.challenges.base import Cast, Challenge
from lab.operate.challenges.catalogue import CHALLENGES
from lab.operate.checks import CHECKS, Check, Examination, Outcome, Result, examine
from lab.operate.exercise import Exercise, Logbook
from lab.operate.guests import Guests
from lab.operate.repair import make_whole, refuse_unhealthy, tidy
from lab.operate.running import RunningLab
from lab.say import Say

# A lab that works is what counts: whoever mends a file may write it otherwise than it was rendered.
JUDGES: tuple[Check, ...] = tuple(check for check in CHECKS if check.name != "drift")


async def start(lab: RunningLab, challenge: Challenge, say: Say) -> None:
    """Break the lab as ``challenge`` wants it.

    Raises:
        LabError: the lab is too small, not healthy or in use.
    """
    if reason := challenge.why_not(lab.inventory):
        raise LabError(f"challenge {challenge.name} cannot be had here: {reason}.")
    logbook = Logbook(lab.directory)
    with logbook.held():
        logbook.refuse_if_open()
        async with lab.guests() as guests:
            say("looking whether the lab is healthy")
            await refuse_unhealthy(guests)
            made = await challenge.faults(Cast(lab, guests))
            exercise = logbook.begin("challenge", challenge.name)
            exercise.faults = made
            logbook.write(exercise)
            for fault in made:
                await faults.inject(lab, guests, fault)


def current(lab: RunningLab) -> tuple[Challenge, Exercise]:
    """The challenge under way.

    Raises:
        LabError: none is.
    """
    found = Logbook(lab.directory).current()
    if found is None or found.kind != "challenge":
        raise LabError("no challenge is under way.\n    `lab challenge list` says which there are.")
    return next(one for one in CHALLENGES if one.name == found.name), found


def hint(lab: RunningLab) -> tuple[int, str]:
    """The next hint and its number; the last one again when there are no more.

    Raises:
        LabError: no challenge is under way.
    """
    challenge, exercise = current(lab)
    exercise.hints = min(exercise.hints + 1, len(challenge.hints))
    Logbook(lab.directory).write(exercise)
    return exercise.hints, challenge.hints[exercise.hints - 1]


async def judge(guests: Guests, report: Callable[[Result], None]) -> list[Check]:
    """The checks that do not hold, in their order.

    Args:
        guests: how the machines are reached.
        report: hears of each result as it settles.
    """
    results = await examine(Examination(guests), JUDGES, report)
    wrong = {result.check.name for result in results if result.verdict.outcome is not Outcome.PASSED}
    return [check for check in JUDGES if check.name in wrong]


async def reset(lab: RunningLab, say: Say) -> str | None:
    """Put the lab back, whatever was done to it meanwhile.

    Returns:
        The name of the challenge; ``None`` if none was under way.

    Raises:
        LabError: a drill is under way, or the lab cannot be put back.
    """
    logbook = Logbook(lab.directory)
    with logbook.held():
        found = logbook.current()
        if found and found.kind != "challenge":
            raise LabError(f"the lab is in {found.in_words()}.\n    `lab drill restore` puts it back.")
        async with lab.guests() as guests:
            for fault in reversed(found.faults if found else []):
                try:
                    await faults.take_back(lab, guests, fault)
                except LabError as error:
                    # Mended by the trainee in another way, or made worse: repairing sees to it.
                    say(str(error))
            await tidy(guests)
            if wrong := await make_whole(lab, guests, say):
                raise LabError(
                    f"the lab is not as it was: {wrong[0].in_words()}.\n"
                    "    Try `lab challenge reset` again, or rebuild: `make down`, `make up`."
                )
        logbook.end()
    return found.name if found else None
