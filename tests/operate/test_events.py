"""Journals of the directors: what is new, what is old, and what was missed while a director was lost."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from lab.operate import events
from lab.operate.guests import UnreachableError
from lab.operate.recording import Event

MASTER = "(externa) Entering MASTER STATE"
BACKUP = "(externa) Entering BACKUP STATE"


def entry(at: float, text: str, cursor: str = "c") -> str:
    return json.dumps({"__REALTIME_TIMESTAMP": str(int(at * 1e6)), "MESSAGE": text, "__CURSOR": cursor})


class Director:
    """Gives one answer for each connection, then cannot be reached; notes what it was asked."""

    def __init__(self, *answers: list[str] | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def process(self, _: str, command: str) -> Any:
        self.asked.append(command)
        if not self.answers:
            raise StopAsyncIteration
        answer = self.answers.pop(0)
        if answer is None:
            raise UnreachableError("master", "no answer")
        return Printed(answer)


BREAKS = "the connection breaks"


class Printed:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    async def lines(self) -> AsyncIterator[str]:
        for line in self._lines:
            if line == BREAKS:
                raise UnreachableError("master", "the connection broke")
            yield line

    def close(self) -> None:
        """Nothing is open."""


async def heard(director: Director, monkeypatch: pytest.MonkeyPatch, *, last: int = 0) -> list[Event]:
    monkeypatch.setattr(events, "_AGAIN", 0.0)
    monkeypatch.setattr(events.time, "time", lambda: 1000.0)
    found: list[Event] = []
    with suppress(RuntimeError):
        # The director's StopAsyncIteration, as a generator tells it.
        async for event in events.follow(director, "master", last=last):  # type: ignore[arg-type]
            found.append(event)  # noqa: PERF401  kept when it ends
    assert not director.answers
    return found


@pytest.mark.asyncio
async def test_what_was_written_before_is_heard_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["@1100.0\n", entry(1050.0, BACKUP), entry(1101.0, MASTER)]
    assert [event.state for event in await heard(Director(lines), monkeypatch)] == ["MASTER"]
    assert [event.state for event in await heard(Director(lines), monkeypatch, last=5)] == [
        "BACKUP",
        "MASTER",
    ]


@pytest.mark.asyncio
async def test_times_are_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock that was told last was on its way for a shorter time.
    lines = ["@1099.5\n", "@1100.0\n", entry(1103.5, MASTER)]
    assert [event.at for event in await heard(Director(lines), monkeypatch)] == [1003.5]


@pytest.mark.asyncio
async def test_what_was_missed_while_the_director_was_lost_comes_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    director = Director(
        ["@1100.0\n", entry(1050.0, "Running on Linux", "here it was"), BREAKS],
        None,
        ["@1120.0\n", entry(1110.0, MASTER, "later")],
    )
    found = await heard(director, monkeypatch)
    assert [(event.state, event.at) for event in found] == [("MASTER", 990.0)]
    assert "-n 1 " in director.asked[0]
    assert "--no-tail --after-cursor='here it was'" in director.asked[1]
    assert "--after-cursor=later" in director.asked[3]


@pytest.mark.asyncio
async def test_lines_that_are_no_entries_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = json.dumps({"__REALTIME_TIMESTAMP": "1101000000", "MESSAGE": [255, 254], "__CURSOR": "x"})
    lines = ["@1100.0\n", "-- no entries --", odd, entry(1101.0, "Sending gratuitous ARP")]
    assert await heard(Director(lines), monkeypatch) == []
