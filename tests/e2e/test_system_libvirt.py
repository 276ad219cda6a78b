"""A stack on a libvirt that the computer has: found by itself, used, and left as it was.

The computer is played by namespaces with a libvirtd of their own, so that the test touches no other.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.host.sandbox import Sandbox
from tests.e2e.harness import TheLab, checkout, eventually

pytestmark = [pytest.mark.lab, pytest.mark.own_lab, pytest.mark.soak, pytest.mark.timeout(3600)]

SMALL = {
    "lvs-dr-lab:cidr": "10.77.0.0/24",
    "lvs-dr-lab:vip": "10.77.0.20",
    "lvs-dr-lab:directors": [{"name": "lb", "address": "10.77.0.21", "priority": 100}],
    "lvs-dr-lab:servers": [{"name": "www", "address": "10.77.0.50"}],
    "lvs-dr-lab:client": {"address": "10.77.0.100", "extra_addresses": 2},
    "lvs-dr-lab:port": "8080",
    "lvs-dr-lab:vrrp_version": "3",
    "lvs-dr-lab:advert_int": "0.2",
    "lvs-dr-lab:auth_type": "none",
    "lvs-dr-lab:check": {"type": "http", "path": "/"},
}


class OnAComputer(TheLab):
    """The `lab` command as run on a computer with a libvirt of its own."""

    def __init__(self, tree: Path, stack: str, computer: Sandbox) -> None:
        super().__init__(tree, stack)
        self.computer = computer

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return self.computer.command(super()._command(arguments), self.tree)

    def bare(self, *argv: str) -> str:
        """Run a command on the computer, without the lab."""
        done = subprocess.run(self.computer.command(argv), check=True, capture_output=True, text=True)
        return done.stdout


@pytest.fixture
def computer(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path / "computer")
    sandbox.ensure(lambda _: None)
    try:
        yield sandbox
    finally:
        sandbox.remove()


def test_a_libvirt_that_is_there_is_used_and_left_clean(tmp_path: Path, computer: Sandbox) -> None:
    lab = OnAComputer(checkout(tmp_path / "tree"), "small", computer)
    (lab.tree / "Pulumi.small.yaml").write_text(yaml.safe_dump({"config": SMALL}), encoding="utf-8")
    begun = time.monotonic()
    said = lab.up(within=2400)
    lab.note(f"up of three machines on the system's libvirt: {time.monotonic() - begun:.0f} s")
    assert "the system's libvirt answers" in said.stderr
    machines = set(lab.bare("virsh", "-q", "list", "--name").split())
    assert machines == {f"lvs-dr-lab-small.{name}" for name in ("www", "lb", "client")}
    assert lab.on("client", "curl -s -m 5 http://10.77.0.20:8080/").strip() == "www"
    assert "Nothing changed" in lab.up(within=300).stdout
    lab.beside("pulumi", "up", "--yes", "--skip-preview", "--expect-no-changes", "--non-interactive")
    a_neighbour_comes_and_goes(lab)
    lab.lab("down", within=300)
    lab.assert_gone()
    for kind in ("list", "net-list", "pool-list"):
        assert lab.bare("virsh", "-q", kind, "--all", "--name").split() == []
    assert not (tmp_path / "computer/lib/images/lvs-dr-lab-small").exists()


def a_neighbour_comes_and_goes(lab: OnAComputer) -> None:
    """A second stack with a segment of its own on that libvirt, killed while it is built and taken down."""
    other = OnAComputer(lab.tree, "other", lab.computer)
    moved = json.loads(json.dumps(SMALL).replace("10.77.0.", "10.78.0."))
    (lab.tree / "Pulumi.other.yaml").write_text(yaml.safe_dump({"config": moved}), encoding="utf-8")

    def all_of(kind: str) -> set[str]:
        return set(lab.bare("virsh", "-q", kind, "--all", "--name").split())

    kinds = ("list", "net-list", "pool-list")
    before = {kind: all_of(kind) for kind in kinds}
    running = lab.bare("virsh", "-q", "list", "--uuid")
    with other.started("up") as process:
        eventually(lambda: other.domain("www") in all_of("list"), 300, "its first machine is there")
        os.killpg(process.pid, signal.SIGKILL)
    assert all_of("net-list") > before["net-list"]
    other.lab("down", within=300)
    other.assert_gone()
    assert {kind: all_of(kind) for kind in kinds} == before
    assert lab.bare("virsh", "-q", "list", "--uuid") == running
    assert lab.on("client", "curl -s -m 5 http://10.77.0.20:8080/").strip() == "www"
