import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import MEASURED, TheLab, checkout


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MEASURED:
        terminalreporter.section("measured on the real lab")
        for line in MEASURED:
            terminalreporter.line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may leave the one lab in pieces comes late, what takes it away after it, then what builds others.

    Guests beyond the number of processors slow each other down, and what is measured with them.
    """
    late = ("own_lab", "ends_the_lab", "risks_the_lab")
    items.sort(key=lambda item: [bool(item.get_closest_marker(mark)) for mark in late])


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TheLab]:
    """The tutorial's lab, built once per run by `lab up`; the tests leave it as they found it.

    ``LVS_DR_LAB_TREE`` names a checkout whose lab stands already: who works on one test need not wait.
    """
    if standing := os.environ.get("LVS_DR_LAB_TREE"):
        yield TheLab(Path(standing))
        return
    tree = checkout(tmp_path_factory.mktemp("lab"))
    the_lab = TheLab(tree)
    begun = time.monotonic()
    try:
        done = the_lab.up()
        Path(tree / "up.out").write_text(done.stdout + done.stderr, encoding="utf-8")
        guests = next(line for line in done.stdout.splitlines() if line.startswith("Guests run"))
        the_lab.note(f"up, {time.monotonic() - begun:.0f} s: {guests}")
        yield the_lab
    finally:
        the_lab.lab("down", check=False)
