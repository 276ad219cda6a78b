"""Steady traffic and a failover a minute, ``SOAK_MINUTES`` long: nothing grows, and no gap."""

import os
import time
from collections.abc import Iterator

import pytest

from lab.inventory import Inventory
from lab.operate.checks.traffic import sources_needed
from lab.operate.outputs import pinned_sources
from tests.e2e.harness import TheLab

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(60 * MINUTES + 3600)]

# Minutes after which memory and entries have become what they stay: an entry outlives its connection for two.
SETTLED = 3


def held(lab: TheLab, director: str) -> int:
    """KiB of all processes of keepalived."""
    said = lab.on(
        director, "cat $(printf '/proc/%s/status ' $(pidof keepalived)) | awk '/^VmRSS/ {print $2}'"
    )
    return sum(int(number) for number in said.split())


def entries(lab: TheLab) -> tuple[int, int]:
    """Connections that the master's IPVS knows, and persistence templates."""
    listed = lab.on("master", "ipvsadm -Lcn")
    templates = len(pinned_sources(listed))
    return listed.count("192.168.1.20:80") - templates, templates


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
    connections = 0
    with lab.started("traffic", "--seconds", str(60 * MINUTES + 60)):
        for _ in minutes():
            measure = lab.measured("graceful-failover", "clients without an answer")
            assert measure.value is not None
            gaps.append(measure.value)
            if not measure.kept:
                late.append(measure.in_words())
            if len(gaps) == SETTLED:
                before = {director: held(lab, director) for director in ("master", "backup")}
                connections, _ = entries(lab)
        in_the_end, templates = entries(lab)
    after = {director: held(lab, director) for director in ("master", "backup")}
    lab.note(
        f"{len(gaps)} failovers in {MINUTES:.0f} minutes: longest gap {max(gaps):.2f} s, "
        f"keepalived {before} KiB after {SETTLED}, {after} in the end, "
        f"IPVS {connections} connections after {SETTLED}, {in_the_end} in the end, {templates} templates"
    )
    assert late == []
    for director, kib in after.items():
        assert kib < before[director] * 1.2 + 1024, (before, after)
    assert connections > 0
    assert in_the_end < connections * 1.5 + 100
    # One for each address that has asked in the last two hours: the client's own, and those of the
    # experiment that looks at the lab after each drill, never the same ones.
    own = Inventory.model_validate(lab.output("inventory"))
    assert templates <= len(own.client_addresses) + len(gaps) * 2 * sources_needed(own)
