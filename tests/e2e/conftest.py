import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import MEASURED, TheLab, checkout


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MEASURED:
        terminalreporter.section("measured on the real lab")
        for line in MEASURED:
            terminalreporter.line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes the one lab away comes after all that need it."""
    items.sort(key=lambda item: item.get_closest_marker("ends_the_lab") is not None)


@pytest.fixture(scope="session", autouse=True)
def courtesy() -> Iterator[None]:
    """A run that nice(1) began lets others go first with its guests too.

    Each guest is a session of its own. Where the kernel groups processes by session (sched(7), autogroup),
    nice values count within a session only, and a session has a value of its own.
    """
    if (value := os.nice(0)) <= 0:
        yield
        return
    over = threading.Event()

    def lower() -> None:
        while not over.wait(2):
            for process in psutil.process_iter(["nice"]):
                with suppress(OSError, psutil.Error):
                    if process.info["nice"] == value and os.getsid(process.pid) != os.getsid(0):
                        Path(f"/proc/{process.pid}/autogroup").write_text(str(value), encoding="ascii")

    threading.Thread(target=lower, daemon=True).start()
    yield
    over.set()


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
