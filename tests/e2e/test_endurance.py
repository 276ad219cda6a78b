"""Steady traffic and a failover a minute, ``SOAK_MINUTES`` long: nothing grows, and no gap."""

import os
import time
from collections.abc import Iterator

import pytest

from lab.operate.outputs import pinned_sources
from tests.e2e.harness import TheLab

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(60 * MINUTES + 3600)]

# Persistence templates of ten client addresses, and what the drills' own addresses leave besides.
MOST_TEMPLATES = 60


def held(lab: TheLab, director: str) -> int:
    """KiB of all processes of keepalived."""
    said = lab.on(
        director, "cat $(printf '/proc/%s/status ' $(pidof keepalived)) | awk '/^VmRSS/ {print $2}'"
    )
    return sum(int(number) for number in said.split())


def minutes() -> Iterator[None]:
    """Comes round once a minute."""
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        begun = time.monotonic()
        yield
        time.sleep(max(0.0, 60 - (time.monotonic() - begun)))


def test_a_failover_a_minute(lab: TheLab) -> None:
    late: list[str] = []
    gaps: list[float] = []
    before: dict[str, int] = {}
    with lab.started("traffic", "--seconds", str(60 * MINUTES + 60)):
        for _ in minutes():
            measure = lab.measured("graceful-failover", "clients without an answer")
            assert measure.value is not None
            gaps.append(measure.value)
            if not measure.kept:
                late.append(measure.in_words())
            # From the second on: the first is what everything takes that is used for the first time.
            if len(gaps) == 2:
                before = {director: held(lab, director) for director in ("master", "backup")}
    after = {director: held(lab, director) for director in ("master", "backup")}
    templates = len(pinned_sources(lab.on("master", "ipvsadm -Lcn")))
    lab.note(
        f"{len(gaps)} failovers in {MINUTES:.0f} minutes: longest gap {max(gaps):.2f} s, "
        f"keepalived {before} KiB before, {after} after, {templates} templates"
    )
    assert late == []
    for director, kib in after.items():
        assert kib < before[director] * 1.2 + 1024, (before, after)
    assert templates <= MOST_TEMPLATES
