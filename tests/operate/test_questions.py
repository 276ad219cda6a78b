"""Questions to one machine go there together, and none of them spoils another's answer."""

import asyncio
import subprocess
from typing import Any

import pytest

from lab.inventory import Inventory
from lab.operate.guests import Answer, Guests, UnreachableError, clock_between
from lab.operate.questions import Questions, apart


class Here(Guests):
    """Machines that are this computer's shell."""

    def __init__(self, inventory: Inventory) -> None:
        super().__init__(inventory, None)  # type: ignore[arg-type]
        self.commands: list[str] = []

    async def run(self, machine: str, command: str, **_: Any) -> Answer:
        self.commands.append(machine)
        if machine == "backup":
            raise UnreachableError(machine, "no answer")
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        return Answer(done.stdout, done.stderr, done.returncode)


async def _asked(guests: Here, *asked: tuple[str, str]) -> list[str | BaseException]:
    questions = Questions(guests)
    return await asyncio.gather(
        *(questions.ask(machine, script) for machine, script in asked), return_exceptions=True
    )


def test_questions_of_one_moment_are_one_command_each_with_its_answer(inventory: Inventory) -> None:
    guests = Here(inventory)
    scripts = {"echo one; exit 3": "one\n", "printf two": "two", "false": "", "cd /; pwd": "/\n"}
    said = asyncio.run(_asked(guests, *(("master", script) for script in scripts), ("client", "echo")))
    assert [str(one).strip() for one in said] == [*(answer.strip() for answer in scripts.values()), ""]
    assert sorted(guests.commands) == ["client", "master"]


def test_everybody_hears_of_a_machine_that_does_not_answer(inventory: Inventory) -> None:
    guests = Here(inventory)
    lost, other, fine = asyncio.run(_asked(guests, ("backup", "a"), ("backup", "b"), ("master", "echo c")))
    assert isinstance(lost, UnreachableError)
    assert isinstance(other, UnreachableError)
    assert fine == "c\n"


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("a\n\n\x1e\nb\n", ["a\n", "b\n"]),
        ("a\n\n\x1e\n", ["a\n", ""]),
        ("a", ["a", ""]),
        ("", ["", ""]),
    ],
)
def test_answers_that_were_cut_off_are_empty(text: str, answers: list[str]) -> None:
    assert apart(text, 2) == answers


def test_every_answer_tells_the_clock_too(inventory: Inventory) -> None:
    async def clocks() -> dict[str, tuple[float, float]]:
        questions = Questions(Here(inventory))
        await questions.ask("master", "sleep 0.2")
        await questions.ask("client", "kill -KILL $$")
        return questions.clocks

    known = asyncio.run(clocks())
    assert list(known) == ["master"]
    off, doubt = known["master"]
    assert abs(off) <= doubt < 0.1


def test_what_an_answer_takes_of_its_own_is_not_in_doubt() -> None:
    # Sent at 100, a second on its way, four at work, half a second back; that clock is a minute ahead.
    assert clock_between(100, 161, 165, 105.5) == (60.25, 0.75)
