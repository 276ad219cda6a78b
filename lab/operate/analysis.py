"""Figures from the requests and events of a recording.

Pure. All times are seconds since the recording began. A request counts when it was begun, however long it
took: those that hang do not delay the next ones, so requests overlap and end out of order. The requests of
an argument may come in any order.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lab.operate.recording import Event, Request

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outage:
    """A span in which no request that was begun in it was answered."""

    begin: float
    """When its first failed request was begun."""
    end: float | None
    """When the first answered request after it was begun; ``None`` if there was none."""
    failed: int
    """How many requests failed in it."""

    @property
    def seconds(self) -> float:
        """Its length; infinite if it never ended."""
        return math.inf if self.end is None else self.end - self.begin


@dataclass(frozen=True)
class Span:
    """A director in one VRRP state."""

    begin: float
    end: float
    state: str


def answered(request: Request) -> bool:
    """Whether anybody answered, even one who did not say its name."""
    return request.server is not None


def in_order(requests: Iterable[Request]) -> list[Request]:
    """The requests as they were begun; of two at the same time the one that came first stays first."""
    return sorted(requests, key=lambda request: request.at)


def outages(requests: Iterable[Request]) -> list[Outage]:
    """The spans without any answer, in order.

    Where several requests were begun at the same instant, one answer among them is enough: the instant
    belongs to no outage, and those that failed in it are not counted.
    """
    known = list(requests)
    answers = {request.at for request in known if answered(request)}
    failures = Counter(request.at for request in known if request.at not in answers)
    found: list[Outage] = []
    begin: float | None = None
    failed = 0
    for at in sorted(answers | failures.keys()):
        if at in failures:
            begin = at if begin is None else begin
            failed += failures[at]
        elif begin is not None:
            found.append(Outage(begin, at, failed))
            begin, failed = None, 0
    if begin is not None:
        found.append(Outage(begin, None, failed))
    return found


def longest_outage(requests: Iterable[Request], since: float = 0.0) -> float:
    """Seconds of the longest span without an answer among the requests begun at ``since`` or later.

    Returns:
        0.0 if there was none. Infinite if the last of them failed, which a single request can do where
        only some fail: let the traffic go on until it is answered, or ask `failures_window`.
    """
    late = (request for request in requests if request.at >= since)
    return max((outage.seconds for outage in outages(late)), default=0.0)


def failures_window(requests: Iterable[Request], since: float = 0.0) -> tuple[float, float] | None:
    """When the first and the last failed request at ``since`` or later were begun; ``None`` without any.

    For drills in which only some requests fail; answered ones may lie between.
    """
    failed = [request.at for request in requests if not answered(request) and request.at >= since]
    return (min(failed), max(failed)) if failed else None


def shares(requests: Iterable[Request], begin: float, end: float) -> dict[str, int]:
    """Answers of each server, by name, to requests begun at ``begin`` or later and before ``end``.

    Spans that follow each other count no request twice. A server without an answer is missing.
    """
    found = Counter(
        request.server for request in requests if request.server is not None and begin <= request.at < end
    )
    return dict(sorted(found.items()))


def states(events: Iterable[Event], director: str, end: float) -> list[Span]:
    """From when to when a director was in which VRRP state, from 0 to ``end`` without gaps.

    Before its first event it is `UNKNOWN`: what an event says of the time before it is a guess. The same
    state told twice is one span; of two events at the same time the later told holds.
    """
    found: list[Span] = []
    state, since = UNKNOWN, 0.0
    told = [event for event in events if event.kind == "vrrp" and event.machine == director]
    for event in sorted(told, key=lambda event: event.at):
        if event.state is None or event.state == state or event.at >= end:
            continue
        if event.at > since:
            found.append(Span(since, event.at, state))
            since = event.at
        elif found and found[-1].state == event.state:
            # Two events at one instant led back to the state before them.
            since = found.pop().begin
        state = event.state
    return [*found, Span(since, end, state)]
