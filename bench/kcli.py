"""kcli, from PyPI: one plan of a network and six machines.

Its cloud-init disk comes as a SATA CD-ROM, for which Debian's cloud kernel has no driver: so the machines get
the same file as a virtio disk as well. cloud-init is told to make one host key instead of three; an RSA key
alone costs an emulated machine half a minute.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from bench.peer import DESTROY, UP, UP_AGAIN, Peer
from lab.host.packages import Package
from lab.topology import Machine

# libvirt-python is compiled against the computer's libvirt.
_REQUIREMENTS = ("kcli==99.0.202610251748", "libvirt-python==12.8.0")
_PLAN = "lab"


class Kcli(Peer):
    """`kcli create plan`, which starts all machines at once; cloud-init's runcmd provisions them."""

    name: ClassVar[str] = "kcli"
    packages: ClassVar[tuple[Package, ...]] = (
        Package("genisoimage", "genisoimage", "a peer's cloud-init disks"),
        Package("gcc", "gcc", "libvirt-python"),
        Package("pkg-config", "pkg-config", "libvirt-python"),
        Package("libvirt-dev", "/usr/include/libvirt/libvirt.h", "libvirt-python"),
    )
    segment_nic: ClassVar[str] = "eth0"

    def prepare(self) -> None:
        """Install kcli, give it a home, a pool with the image, and a plan."""
        # `uv run` says where it is.
        uv = os.environ["UV"]
        subprocess.run([uv, "venv", "--quiet", self._venv], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(self._venv / "bin/python")]
        subprocess.run([*install, *_REQUIREMENTS], check=True)
        home = Path(self.environment()["HOME"])
        for folder in (home / ".kcli", home / ".ssh", self._pool):
            folder.mkdir(parents=True)
        (home / ".ssh/id_ed25519.pub").write_text(self.login.public + "\n", encoding="utf-8")
        # YAML is a superset of JSON.
        self._write(home / ".kcli/config.yml", {"default": {"client": "local"}, "local": {"type": "kvm"}})
        self._write(home / ".kcli/cloudinit.yml", {"ssh_genkeytypes": ["ed25519"]})
        shutil.copy(self.image(), self._pool / "lab.qcow2")
        for words in (
            ("pool-define-as", "default", "dir", "--target", str(self._pool)),
            ("pool-start", "default"),
        ):
            self.inside(["virsh", "--connect", "qemu:///system", *words], check=True, capture_output=True)
        segment = self.topology.segment
        network = {"type": "network", "cidr": str(segment.cidr), "nat": False, "dhcp": False}
        machines = {machine.name: self._machine(machine) for machine in self.topology.machines}
        self._write(self.folder / "plan.yml", {"segment": network} | machines)

    def commands(self) -> dict[str, list[str]]:
        """Those of the plan."""
        kcli = str(self._venv / "bin/kcli")
        create = [kcli, "create", "plan", "--inputfile", "plan.yml", _PLAN]
        return {UP: create, UP_AGAIN: create, DESTROY: [kcli, "delete", "plan", "--yes", _PLAN]}

    def environment(self) -> Mapping[str, str]:
        """Nothing of kcli's outside the folder."""
        return os.environ | {"HOME": str(self.folder / "home")}

    def _machine(self, machine: Machine) -> dict[str, Any]:
        script = self.folder / f"{machine.name}.sh"
        script.write_text(self.script(machine), encoding="utf-8")
        segment = self.topology.segment
        first, *more = map(str, machine.addresses)
        seed = self._pool / f"{machine.name}.ISO"
        return {
            "image": "lab.qcow2",
            "memory": 512,
            "numcpus": 1,
            "virttype": "qemu",
            "cpumodel": "qemu64",
            "nested": False,
            "vnc": False,
            "disks": [{"size": 6}],
            "nets": [
                {
                    "name": "segment",
                    "nic": self.segment_nic,
                    "ip": first,
                    "mask": segment.cidr.prefixlen,
                    "gateway": str(segment.gateway),
                    "vips": more,
                }
            ],
            "files": [{"path": "/root/provision.sh", "origin": str(script), "render": False}],
            "cmds": ["sh /root/provision.sh"],
            "qemuextra": f"-drive file={seed},if=none,id=seed,format=raw,readonly=on "
            "-device virtio-blk-pci,drive=seed,addr=0x1e",
        }

    @property
    def _venv(self) -> Path:
        return self.folder / "venv"

    @property
    def _pool(self) -> Path:
        return self.folder / "pool"

    @staticmethod
    def _write(file: Path, content: object) -> None:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
