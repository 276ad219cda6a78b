"""What peers have in common: each builds the lab's six machines from the lab's guest image with another tool.

Same packages by apt-get, same configuration by the same scripts, same emulation, in a hypervisor of its own
like the lab's. What differs is the tool, and what it is told.
"""

import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bench.figures import Results
from bench.templates import TEMPLATES
from lab.host import guest_image, packages
from lab.host.packages import Package
from lab.host.paths import cache_dir
from lab.host.sandbox import Sandbox
from lab.keys import KeyPair, derive
from lab.render import guest, pushes
from lab.say import Say
from lab.settings import Settings
from lab.topology import Machine, Topology, plan

# What is measured of each.
UP = "up, six machines"
UP_AGAIN = "up with nothing to do"
DESTROY = "destroy"
# Seconds, after the tool says that it is done or has given up waiting.
_ANSWERS_WITHIN = 900


class Peer(ABC):
    """A tool beside which the lab is measured."""

    name: ClassVar[str]
    packages: ClassVar[tuple[Package, ...]]
    segment_nic: ClassVar[str]
    """The interface of its machines that is on the segment."""

    def __init__(self, folder: Path, sandbox: Sandbox, say: Say) -> None:
        self.folder = folder
        self.topology: Topology = plan(Settings(), "dev")
        self.login: KeyPair = derive("0" * 64, "login")
        self.key = folder / "id_ed25519"
        self.key.write_text(self.login.private, encoding="utf-8")
        self.key.chmod(0o600)
        self._sandbox = sandbox
        self._say = say

    @abstractmethod
    def prepare(self) -> None:
        """Whatever is done once and not measured."""

    @abstractmethod
    def commands(self) -> dict[str, list[str]]:
        """Those for `UP`, `UP_AGAIN` and `DESTROY`."""

    def environment(self) -> Mapping[str, str]:
        """What its commands are executed with."""
        return os.environ

    def image(self) -> Path:
        """The lab's guest image."""
        return guest_image.build(cache_dir() / "images", self._say)

    def run(self, what: str) -> None:
        """Run one of its commands to its end.

        Raises:
            RuntimeError: it failed; with the end of what it printed.
        """
        argv = self.commands()[what]
        log = self.folder / f"{what.replace(' ', '-')}.log"
        with log.open("w", encoding="utf-8") as out:
            done = self.inside(argv, stdout=out, stderr=out, timeout=3000)
        if done.returncode != 0:
            last = "\n".join(log.read_text(encoding="utf-8").splitlines()[-120:])
            raise RuntimeError(f"{' '.join(argv)}: status {done.returncode}\n{last}")

    def inside(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` beside its machines; ``options`` as for subprocess.run."""
        environment = self.environment()
        return subprocess.run(  # noqa: PLW1510  the caller decides
            self._sandbox.command(argv, self.folder, environment),
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            text=True,
            **options,
        )

    def wait_for_answers(self) -> None:
        """Wait until a client has had an answer of each server through the VIP.

        Raises:
            RuntimeError: some server never answered.
        """
        loop = "; ".join(
            f"curl -s -m 2 --interface {source} http://{self.topology.service.vip}/ || true"
            for source in self.topology.client.extra_addresses
        )
        servers = {server.name for server in self.topology.real_servers}
        deadline = time.monotonic() + _ANSWERS_WITHIN
        answered: set[str] = set()
        # A login costs an emulated machine seconds: the client is asked once the VIP answers this computer.
        while not (self._vip_answers() and (answered := self._ask_client(loop)) == servers):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the lab of {self.name} does not work: {answered or 'nobody'} answered")
            time.sleep(0.5)

    def _vip_answers(self) -> bool:
        argv = ["curl", "-s", "-f", "-m", "2", "-o", "/dev/null", f"http://{self.topology.service.vip}/"]
        return self.inside(argv).returncode == 0

    def _ask_client(self, command: str) -> set[str]:
        options = [
            word
            for option in ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=5")
            for word in ("-o", option)
        ]
        argv = ["ssh", "-q", "-i", str(self.key), *options, f"root@{self.topology.client.address}", command]
        return set(self.inside(argv, capture_output=True, timeout=300).stdout.split())

    def script(self, machine: Machine) -> str:
        """What a machine is told: its packages, and what the lab pushes over SSH."""
        settings = pushes.script(self.topology, machine)
        return TEMPLATES.get_template("provision.sh.j2").render(
            packages=guest.PACKAGES[machine.role],
            settings=settings.replace("interface eth0", f"interface {self.segment_nic}"),
        )


def measure(kind: type[Peer], folder: Path, results: Results, say: Say) -> None:
    """Have a peer build its lab, look that nothing is to be done, and take it down.

    Raises:
        RuntimeError: it could not.
    """
    packages.install(packages.missing(kind.packages), say)
    folder.mkdir()
    sandbox = Sandbox(folder / "hypervisor")
    sandbox.ensure(say)
    try:
        peer = kind(folder, sandbox, say)
        peer.prepare()
        for what in (UP, UP_AGAIN, DESTROY):
            begun = time.monotonic()
            peer.run(what)
            if what == UP:
                peer.wait_for_answers()
            took = time.monotonic() - begun
            say(f"  {kind.name}: {what}: {took:.1f} s")
            results.add(f"{kind.name}: {what}", "s", took)
    finally:
        sandbox.remove()
