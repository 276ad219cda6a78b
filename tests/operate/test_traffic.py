"""Requests one after the other, on a probe that the test plays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lab.operate import traffic
from lab.operate.recording import Request


@pytest.mark.parametrize(
    ("answers", "made"),
    [
        # Every third is answered: all are made.
        ([None, None, "server1"] * 4, 12),
        # Nobody answered while each of three servers had its turn: the rest would show the same.
        ([None] * 12, 4),
        # It may come late, but not after that.
        ([None] * 3 + ["server2"] * 9, 12),
        ([None] * 4 + ["server2"] * 8, 4),
    ],
)
def test_whom_nobody_answers_asks_no_more(
    answers: list[str | None], made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def played(*_: Any, **__: Any) -> AsyncIterator[AsyncIterator[Request]]:
        async def requests() -> AsyncIterator[Request]:
            for server in answers:
                yield Request(at=0.0, took=0.1, source="192.168.1.100", server=server)

        yield requests()

    monkeypatch.setattr(traffic, "probe", played)
    asked = traffic.ask_one_by_one(None, ["192.168.1.100"], len(answers), nobody=4)  # type: ignore[arg-type]
    assert len(asyncio.run(asked)) == made
