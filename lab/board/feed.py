"""The hub between what watches the lab and the pages that show it."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager

from lab.board.messages import (
    Counts,
    DrillMessage,
    DrillStatus,
    EventMessage,
    LabMessage,
    Message,
    RequestsMessage,
    Snapshot,
    StateMessage,
    VrrpChange,
)
from lab.operate.recording import Event, Request

# Seconds of requests that a new page is told of, and how many at most: a load test must not make
# a snapshot of megabytes.
_MINUTE = 60.0
_MOST_REQUESTS = 6_000
_MOST_DRILL_REQUESTS = 12_000
_MOST_EVENTS = 200
_MOST_CHANGES = 400
# Seconds that requests are collected before they are sent.
_BATCH = 0.1
# Messages that may wait for one page: half a minute of a busy lab.
_QUEUE = 256


class Feed:
    """Takes messages, remembers what a new page needs, and hands them to every page.

    Not thread-safe: publish on the event loop that serves the pages.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, queue: int = _QUEUE) -> None:
        self._clock = clock
        self._queue = queue
        self._subscribers: set[_Subscriber] = set()
        self._waiting: list[Request] = []
        self._flush_at: asyncio.TimerHandle | None = None
        self._lab: LabMessage | None = None
        self._state: StateMessage | None = None
        self._requests: deque[Request] = deque(maxlen=_MOST_REQUESTS)
        self._events: deque[EventMessage] = deque(maxlen=_MOST_EVENTS)
        self._vrrp: deque[VrrpChange] = deque(maxlen=_MOST_CHANGES)
        self._drill = _DrillMemory()
        self._count_from_zero()

    @property
    def subscribers(self) -> int:
        """How many pages are open."""
        return len(self._subscribers)

    def publish(self, message: Message) -> None:
        """Remember a message and hand it on; never waits for a page."""
        match message:
            case RequestsMessage():
                self._collect(message.requests)
                return
            case LabMessage():
                if self._lab is not None and self._lab != message:
                    self._count_from_zero()
                self._lab = message
            case StateMessage():
                self._state = message
                self._note_states(message)
            case EventMessage():
                self._note_event(message)
            case DrillMessage():
                # The requests before the end of a drill belong to it, so they go first.
                self._flush()
                self._drill.update(message.drill, self._requests, (one.event for one in self._events))
        self._hand_out(message)

    def snapshot(self) -> Snapshot:
        """All that a page needs which knows nothing yet."""
        self._flush()
        now = self._clock()
        drill = self._drill.status
        return Snapshot(
            at=now,
            lab=self._lab,
            state=self._state,
            counts=Counts(since=self._since, answered=dict(self._answered), failed=self._failed),
            requests=tuple(request for request in self._requests if request.at > now - _MINUTE),
            events=tuple(self._events),
            vrrp=self._changes_since(min(now - _MINUTE, drill.began if drill else now)),
            drill=drill,
            drill_requests=tuple(self._drill.requests),
            drill_events=tuple(self._drill.events),
        )

    async def subscribe(self) -> AsyncIterator[Message | Snapshot]:
        """A snapshot, then every message from then on, until `hang_up`.

        Who reads too slowly misses messages and gets another snapshot in their stead.
        """
        with self._subscriber() as subscriber:
            while not subscriber.hung_up:
                if subscriber.behind:
                    # First the snapshot, then the mark: it flushes requests, which it contains.
                    snapshot = self.snapshot()
                    subscriber.behind = False
                    yield snapshot
                elif subscriber.messages:
                    yield subscriber.messages.popleft()
                else:
                    subscriber.news.clear()
                    await subscriber.news.wait()

    def hang_up(self) -> None:
        """End every subscription that is open."""
        for subscriber in self._subscribers:
            subscriber.hung_up = True
            subscriber.news.set()

    @contextmanager
    def _subscriber(self) -> Iterator["_Subscriber"]:
        subscriber = _Subscriber(self._queue)
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    def _hand_out(self, message: Message) -> None:
        for subscriber in self._subscribers:
            subscriber.put(message)

    def _collect(self, requests: tuple[Request, ...]) -> None:
        for request in requests:
            self._requests.append(request)
            self._drill.take_request(request)
            if request.server is None:
                self._failed += 1
            else:
                self._answered[request.server] += 1
        self._waiting.extend(requests)
        if self._flush_at is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Nobody can have subscribed yet.
            self._waiting.clear()
            return
        self._flush_at = loop.call_later(_BATCH, self._flush)

    def _flush(self) -> None:
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        if self._waiting:
            batch = RequestsMessage(requests=tuple(self._waiting))
            self._waiting.clear()
            self._hand_out(batch)

    def _note_event(self, message: EventMessage) -> None:
        self._events.append(message)
        self._drill.take_event(message.event)
        if message.event.kind == "vrrp":
            self._note_change(message.event.at, message.event.machine, message.event.state)

    def _note_states(self, message: StateMessage) -> None:
        for name, state in message.machines.items():
            vrrp = state.vrrp if state.reachable else None
            if vrrp is not None or self._last_change(name) is not None:
                self._note_change(message.at, name, vrrp)

    def _note_change(self, at: float, machine: str, state: str | None) -> None:
        last = self._last_change(machine)
        change = VrrpChange(at=at, machine=machine, state=state)
        if last is None or (last.state != state and last.at <= at):
            self._vrrp.append(change)
        elif last.state == state and at < last.at:
            # The journal knows exactly when, but is sometimes read later than the machine was looked at.
            self._vrrp[self._vrrp.index(last)] = change

    def _last_change(self, machine: str) -> VrrpChange | None:
        return next((change for change in reversed(self._vrrp) if change.machine == machine), None)

    def _changes_since(self, begin: float) -> tuple[VrrpChange, ...]:
        before = {change.machine: change for change in self._vrrp if change.at < begin}
        return (*before.values(), *(change for change in self._vrrp if change.at >= begin))

    def _count_from_zero(self) -> None:
        self._since = self._clock()
        self._answered: Counter[str] = Counter()
        self._failed = 0


class _Subscriber:
    """What waits for one page."""

    def __init__(self, limit: int) -> None:
        self.messages: deque[Message] = deque()
        self.news = asyncio.Event()
        self.behind = True
        self.hung_up = False
        self._limit = limit

    def put(self, message: Message) -> None:
        """Queue it, or give up on the queue: the page starts again from a snapshot."""
        if self.behind:
            return
        if len(self.messages) >= self._limit:
            self.messages.clear()
            self.behind = True
        else:
            self.messages.append(message)
        self.news.set()


class _DrillMemory:
    """The drill on the board, with what was seen since it began."""

    def __init__(self) -> None:
        self.status: DrillStatus | None = None
        self.requests: deque[Request] = deque(maxlen=_MOST_DRILL_REQUESTS)
        self.events: deque[Event] = deque(maxlen=_MOST_EVENTS)

    def update(
        self, status: DrillStatus | None, requests: Iterable[Request], events: Iterable[Event]
    ) -> None:
        """Follow the drill; a new one begins with what was seen since then."""
        same = status and self.status and (status.name, status.began) == (self.status.name, self.status.began)
        if not same:
            self.requests.clear()
            self.events.clear()
            if status is not None:
                self.requests.extend(one for one in requests if one.at >= status.began)
                self.events.extend(one for one in events if one.at >= status.began)
        self.status = status

    def take_request(self, request: Request) -> None:
        """Keep it if the drill is still running."""
        if self.status and self.status.phase == "running" and request.at >= self.status.began:
            self.requests.append(request)

    def take_event(self, event: Event) -> None:
        """Keep it if the drill is still running."""
        if self.status and self.status.phase == "running" and event.at >= self.status.began:
            self.events.append(event)
