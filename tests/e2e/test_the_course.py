"""The course's commands, typed as they are written: none of them may rot."""

import pytest

from tests.e2e.harness import TheLab
from tests.test_course import UNITS, commands

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2700)]


def test_what_the_units_have_their_readers_type_works_and_leaves_a_whole_lab(lab: TheLab) -> None:
    typed: set[str] = set()
    for unit in UNITS:
        for script in commands(unit):
            # Drills have a test of their own; and what was typed once need not be typed in every unit.
            fresh = [line for line in script.splitlines() if "lab drill run" not in line]
            if fresh and not typed.issuperset(fresh):
                lab.beside("bash", "-e", "-c", f"exec 2>&1\n{chr(10).join(fresh)}", within=240)
            typed.update(fresh)
    lab.lab("repair")
