"""The launcher of the Debian guest: the first start does the work of importing for those that follow."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import eventually

# What stands for cloud-init: says what it was given, and counts in memory how often this process ran it.
STAGES = """
import os, sys
sys.argv[0:1] = ["cloud-init"]
from lab.host.guest_image import cloud_init_launcher as launcher
launcher.SOCKET = os.environ["SOCKET"]
runs = []
def main():
    runs.append(1)
    print("ran", sys.argv[1:], os.environ.get("WHO"), len(runs))
    print("complains", file=sys.stderr)
    if "broken" in sys.argv:
        raise ValueError("a bug")
    if "refuses" in sys.argv:
        sys.exit("no")
    return 3 if "three" in sys.argv else None
"""
FIRST = STAGES + "launcher.wait_for_stages(main)\nsys.exit(launcher.run(main))\n"
NEXT = STAGES + "status = launcher.ask()\nsys.exit(99 if status is None else status)\n"

Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    before = {process.pid for process in psutil.process_iter()}
    own = str(tmp_path / "socket")

    def begin(program: str, *arguments: str, who: str = "nobody") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={"SOCKET": own, "WHO": who, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    yield begin
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in before and process.environ().get("SOCKET") == own:
                process.kill()


def test_those_that_follow_run_in_a_fresh_copy_with_what_they_were_given(start: Start) -> None:
    first = start(FIRST, "init", "--local", who="one")
    assert (first.returncode, first.stdout) == (0, "ran ['init', '--local'] one 1\n")
    second = start(NEXT, "init", who="two")
    assert (second.returncode, second.stdout) == (0, "ran ['init'] two 1\n")
    assert second.stderr == "complains\n"
    assert start(NEXT, "modules", "three").returncode == 3


def test_a_stage_that_fails_says_why_and_the_next_one_runs(start: Start) -> None:
    start(FIRST, "init", "--local")
    broken = start(NEXT, "modules", "broken")
    assert broken.returncode == 1
    assert "ValueError: a bug" in broken.stderr
    assert start(NEXT, "modules", "refuses").returncode == 1
    assert start(NEXT, "init").returncode == 0


def test_nobody_waits_after_the_last_stage(start: Start, tmp_path: Path) -> None:
    start(FIRST, "init", "--local")
    assert start(NEXT, "modules", "--mode=final").returncode == 0
    eventually(lambda: not (tmp_path / "socket").exists(), 10, "the socket is gone")
    assert start(NEXT, "init").returncode == 99


def test_a_socket_that_nobody_listens_at_is_passed_by_and_replaced(start: Start, tmp_path: Path) -> None:
    (tmp_path / "socket").touch()
    assert start(NEXT, "init").returncode == 99
    start(FIRST, "init", "--local")
    assert start(NEXT, "init").returncode == 0
