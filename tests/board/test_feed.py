"""The hub: what a page is told that comes late, reads slowly, or comes back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lab.board import DrillMessage, Feed, Message, RequestsMessage, Snapshot
from lab.operate.recording import Request
from tests.board.fake import FakeLab, crash_drill, lab, measured


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def feed(clock: Clock) -> Feed:
    return Feed(clock=clock, queue=8)


@pytest.fixture
def fake(feed: Feed, clock: Clock) -> FakeLab:
    return FakeLab(feed, lab(), clock)


Stream = AsyncIterator[Message | Snapshot]


async def soon(stream: Stream) -> Any:
    return await asyncio.wait_for(anext(stream), 2)


async def begun(feed: Feed) -> tuple[Stream, Snapshot]:
    stream = feed.subscribe()
    first = await soon(stream)
    assert isinstance(first, Snapshot)
    return stream, first


@pytest.mark.asyncio
async def test_who_comes_late_gets_all_of_it(feed: Feed, fake: FakeLab, clock: Clock) -> None:
    fake.announce()
    fake.ask()
    fake.event("master", "vrrp", "Entering MASTER STATE", state="MASTER")
    clock.now += 1
    _, snapshot = await begun(feed)
    assert snapshot.at == clock.now
    assert snapshot.lab == fake.lab
    assert snapshot.state is not None
    assert snapshot.state.machines["master"].holds_vip
    assert len(snapshot.requests) == 1
    assert sum(snapshot.counts.answered.values()) == 1
    assert [one.event.text for one in snapshot.events] == ["Entering MASTER STATE"]
    assert {(one.machine, one.state) for one in snapshot.vrrp} == {("master", "MASTER"), ("backup", "BACKUP")}


@pytest.mark.asyncio
async def test_a_page_may_come_before_the_lab(feed: Feed, fake: FakeLab) -> None:
    stream, snapshot = await begun(feed)
    assert snapshot.lab is None
    assert snapshot.drill is None
    fake.announce()
    assert (await soon(stream)).kind == "lab"
    assert (await soon(stream)).kind == "state"


@pytest.mark.asyncio
async def test_requests_travel_together(feed: Feed, fake: FakeLab) -> None:
    stream, _ = await begun(feed)
    for _ in range(5):
        fake.ask()
    message = await soon(stream)
    assert message.kind == "requests"
    assert len(message.requests) == 5
    fake.ask()
    assert len((await soon(stream)).requests) == 1


@pytest.mark.asyncio
async def test_nothing_is_told_twice(feed: Feed, fake: FakeLab) -> None:
    first, _ = await begun(feed)
    fake.ask()
    # The request waits for its batch when the second page comes: it is in the snapshot, and only there.
    second, snapshot = await begun(feed)
    assert len(snapshot.requests) == 1
    assert len((await soon(first)).requests) == 1
    fake.announce()
    assert (await soon(second)).kind == "lab"


@pytest.mark.asyncio
async def test_a_slow_page_holds_up_nobody_and_gets_a_snapshot(feed: Feed, fake: FakeLab) -> None:
    slow, _ = await begun(feed)
    quick, _ = await begun(feed)
    seen = 0
    for _ in range(30):
        fake.tell()
        assert (await soon(quick)).kind == "state"
        seen += 1
    assert seen == 30
    fake.event("lab", "action", "the last word")
    message = await soon(slow)
    assert isinstance(message, Snapshot)
    assert message.events[-1].event.text == "the last word"
    fake.tell()
    assert (await soon(slow)).kind == "state"


@pytest.mark.asyncio
async def test_who_comes_back_knows_what_happened_meanwhile(feed: Feed, fake: FakeLab) -> None:
    fake.announce()
    stream, _ = await begun(feed)
    await stream.aclose()  # type: ignore[attr-defined]
    assert feed.subscribers == 0
    fake.enter("backup", "MASTER")
    fake.tell()
    _, snapshot = await begun(feed)
    assert snapshot.state is not None
    assert snapshot.state.machines["backup"].holds_vip
    assert len(snapshot.events) == 1


@pytest.mark.asyncio
async def test_hanging_up_ends_every_stream(feed: Feed) -> None:
    streams = [(await begun(feed))[0] for _ in range(3)]

    async def rest(stream: Stream) -> list[Any]:
        return [message async for message in stream]

    waiting = [asyncio.create_task(rest(stream)) for stream in streams]
    await asyncio.sleep(0)
    feed.hang_up()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 2) == [[], [], []]
    assert feed.subscribers == 0


def test_publishing_needs_no_event_loop(feed: Feed, fake: FakeLab) -> None:
    fake.announce()
    fake.ask()
    assert len(feed.snapshot().requests) == 1


def test_only_the_last_minute_is_told_but_all_is_counted(feed: Feed, fake: FakeLab, clock: Clock) -> None:
    fake.ask()
    clock.now += 61
    fake.answer(None, error="timeout")
    snapshot = feed.snapshot()
    assert [request.error for request in snapshot.requests] == ["timeout"]
    assert sum(snapshot.counts.answered.values()) == 1
    assert snapshot.counts.failed == 1


def test_memory_is_bounded(feed: Feed, fake: FakeLab) -> None:
    for _ in range(300):
        fake.event("lab", "action", "again")
    feed.publish(
        RequestsMessage(requests=tuple(Request(at=1e6, took=0, source="", server="s") for _ in range(20_000)))
    )
    snapshot = feed.snapshot()
    assert len(snapshot.events) == 200
    assert len(snapshot.requests) <= 10_000
    assert snapshot.counts.answered["s"] == 20_000


def test_another_lab_is_counted_from_zero(feed: Feed, fake: FakeLab) -> None:
    fake.announce()
    fake.ask()
    fake.announce()
    assert feed.snapshot().counts.answered
    feed.publish(lab(5))
    assert feed.snapshot().counts.answered == {}


def test_a_drill_is_kept_from_its_beginning_to_its_end(feed: Feed, fake: FakeLab, clock: Clock) -> None:
    fake.ask()
    drill = crash_drill(clock.now + 1)
    clock.now += 2
    fake.ask()  # begun after the drill was, told before
    feed.publish(DrillMessage(drill=drill))
    fake.event("master", "action", "power cut")
    fake.ask()
    feed.publish(DrillMessage(drill=measured(drill)))
    clock.now += 100
    fake.ask()
    fake.event("lab", "action", "later")
    snapshot = feed.snapshot()
    assert snapshot.drill is not None
    assert snapshot.drill.phase == "done"
    assert snapshot.drill.kept == (True, True)
    assert len(snapshot.drill_requests) == 2
    assert [event.text for event in snapshot.drill_events] == ["power cut"]
    feed.publish(DrillMessage(drill=None))
    assert feed.snapshot().drill is None
    assert feed.snapshot().drill_requests == ()


def test_vrrp_history_starts_before_what_is_shown(feed: Feed, fake: FakeLab, clock: Clock) -> None:
    fake.tell()
    clock.now += 300
    fake.enter("backup", "MASTER")
    history = [(one.machine, one.state) for one in feed.snapshot().vrrp]
    assert history == [("master", "MASTER"), ("backup", "BACKUP"), ("backup", "MASTER")]


def test_an_old_look_does_not_overrule_the_journal(feed: Feed, fake: FakeLab, clock: Clock) -> None:
    fake.tell()
    fake.event("backup", "vrrp", "Entering MASTER STATE", state="MASTER", at=clock.now + 2)
    fake.tell(at=clock.now + 1)
    assert feed.snapshot().vrrp[-1].state == "MASTER"


def test_an_unreachable_director_is_in_no_state(feed: Feed, fake: FakeLab, clock: Clock) -> None:
    fake.tell()
    clock.now += 1
    fake.power_cut("master")
    fake.tell()
    last = feed.snapshot().vrrp[-1]
    assert (last.machine, last.state) == ("master", None)


def test_the_journal_corrects_when_it_was(feed: Feed, fake: FakeLab, clock: Clock) -> None:
    fake.tell()
    clock.now += 5
    fake.change("backup", vrrp="MASTER", holds_vip=True)
    fake.tell()
    fake.event("backup", "vrrp", "Entering MASTER STATE", state="MASTER", at=clock.now - 0.7)
    changes = [one for one in feed.snapshot().vrrp if one.machine == "backup"]
    assert [(one.state, one.at - clock.now) for one in changes][1:] == [("MASTER", pytest.approx(-0.7))]
