"""The course's commands, typed as they are written: none of them may rot."""

import re
from pathlib import Path

import pytest

from tests.e2e.harness import PROJECT, TheLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

UNITS = sorted((PROJECT / "docs" / "exercises").glob("0*.md"))


def commands(unit: Path) -> list[str]:
    """What the unit has its reader type, by block; drills are left out, they have tests of their own."""
    text = unit.read_text(encoding="utf-8")
    found = []
    for _, body in re.findall(r"^( *)```sh\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        lines = [line.strip() for line in body.splitlines() if "lab drill run" not in line]
        if lines:
            found.append("\n".join(lines))
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_units_commands_work_and_leave_a_whole_lab(lab: TheLab, unit: Path) -> None:
    for script in commands(unit):
        lab.beside("bash", "-e", "-c", f"exec 2>&1\n{script}", within=240)
    assert lab.lab("check", "vip-holder", "ipvs-table", "dr-settings", "drift", "services").returncode == 0
