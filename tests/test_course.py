"""The course: its units have one form, and name only machines, checks and drills that there are."""

import re
from pathlib import Path

import pytest

from lab.operate.challenges import CHALLENGES
from lab.operate.checks import CHECKS
from lab.operate.drills import DRILLS

DOCS = Path(__file__).parents[1] / "docs"
UNITS = sorted((DOCS / "exercises").glob("0*.md"))
MACHINES = {"master", "backup", "server1", "server2", "server3", "client", "$S"}


def commands(unit: Path) -> list[str]:
    """What the unit has its reader type: the text of each block."""
    text = unit.read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```sh\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.strip() for line in body.splitlines()) for _, body in blocks]


def test_there_are_eight_units() -> None:
    assert len(UNITS) >= 8


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_has_the_form_of_all(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Start", "Tasks", "What you should see", "Verify", "Why it is so", "Reset"]
    assert "**Goal.**" in text
    for picture in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (unit.parent / picture).is_file(), picture
    assert f"]({unit.name})" in (unit.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_names_only_what_there_is(unit: Path) -> None:
    for line in "\n".join(commands(unit)).splitlines():
        for machine in re.findall(r"\bssh (\S+)", line):
            assert machine in MACHINES, line
        if found := re.match(r"lab (check|drill run|drill show|challenge start) ([^|;&]*)", line):
            known = {
                "check": {check.name for check in CHECKS},
                "challenge start": {challenge.name for challenge in CHALLENGES},
            }.get(found[1], {drill.name for drill in DRILLS})
            assert set(found[2].split()) <= known, line


def test_the_spanish_unit_has_the_commands_of_the_english_one() -> None:
    assert commands(DOCS / "es" / "01-quien-es-el-maestro.md") == commands(UNITS[0])
