"""Figures from the requests of a recording. Pure; all times are seconds since the recording began."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lab.operate.recording import Request


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


def outages(requests: Iterable[Request]) -> list[Outage]:
    """The spans without any answer, in order; requests count by when they were begun."""
    found: list[Outage] = []
    begin: float | None = None
    failed = 0
    for request in sorted(requests, key=lambda one: one.at):
        if request.server is None:
            begin = request.at if begin is None else begin
            failed += 1
        elif begin is not None:
            found.append(Outage(begin, request.at, failed))
            begin, failed = None, 0
    if begin is not None:
        found.append(Outage(begin, None, failed))
    return found


def longest_outage(requests: Iterable[Request], since: float = 0.0) -> float:
    """Seconds of the longest span without an answer among the requests begun after ``since``."""
    return max(
        (outage.seconds for outage in outages(one for one in requests if one.at >= since)), default=0.0
    )


def failures_window(requests: Iterable[Request], since: float = 0.0) -> tuple[float, float] | None:
    """When the first and the last failed request after ``since`` were begun; ``None`` without any."""
    failed = [one.at for one in requests if one.server is None and one.at >= since]
    return (min(failed), max(failed)) if failed else None


def shares(requests: Iterable[Request], begin: float, end: float) -> dict[str, int]:
    """Answers of each server to requests begun between ``begin`` and ``end``."""
    return dict(Counter(one.server for one in requests if one.server and begin <= one.at <= end))
