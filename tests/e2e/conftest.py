import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import MEASURED, TheLab, checkout


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker measured to the process that tells of it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["measured"] = MEASURED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    MEASURED.extend(getattr(node, "workeroutput", {}).get("measured", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MEASURED:
        terminalreporter.section("measured on the real lab")
        for line in MEASURED:
            terminalreporter.line(line)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First whatever needs the one lab, then what takes it away, then what builds labs of its own.

    With ``--dist loadgroup`` the last of these run beside the others.
    """
    items.sort(key=_turn)
    for item in items:
        if item.get_closest_marker("lab"):
            group = "labs of their own" if _turn(item) == _OWN else "the lab"
            item.add_marker(pytest.mark.xdist_group(group))


_OWN = 2


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("ends_the_lab"):
        return 1
    return 0 if "lab" in getattr(item, "fixturenames", ()) else _OWN


@pytest.fixture(autouse=True)
def _stand_back(request: pytest.FixtureRequest) -> None:
    """Leave the processors to the lab that is measured beside: who is nicer than it gets what is left."""
    if "PYTEST_XDIST_WORKER" in os.environ and _turn(request.node) == _OWN:
        os.nice(_NICE - os.nice(0))


_NICE = 10


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
