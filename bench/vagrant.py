"""Vagrant with vagrant-libvirt, from Debian's packages.

The box is the lab's guest image with cloud-init off and DHCP on eth0, as a Vagrant box has it. Vagrant's
network for management comes first, so the segment is eth1.
"""

import json
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.peer import DESTROY, UP, UP_AGAIN, Peer
from bench.templates import TEMPLATES
from lab.host.packages import Package
from lab.keys import derive

# Where the root file system of the Debian guest begins (lab/host/guest_image/build.sh).
_ROOT = 64 << 20
_DHCP = "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\n"


class Vagrant(Peer):
    """`vagrant up`, which starts all machines at once and provisions each by shell."""

    name: ClassVar[str] = "Vagrant"
    packages: ClassVar[tuple[Package, ...]] = (
        Package("vagrant", "vagrant", "a peer"),
        Package("vagrant-libvirt", "/usr/share/doc/vagrant-libvirt", "a peer's provider"),
    )
    segment_nic: ClassVar[str] = "eth1"

    def prepare(self) -> None:
        """Make the box, the scripts and the Vagrantfile."""
        add = ["vagrant", "box", "add", "--name", "lab", str(self._box())]
        self.inside(add, check=True, capture_output=True)
        (self.folder / "provision").mkdir()
        machines = []
        for machine in self.topology.machines:
            script = self.folder / "provision" / f"{machine.name}.sh"
            prefix = self.topology.segment.cidr.prefixlen
            network = TEMPLATES.get_template("segment.sh.j2").render(
                nic=self.segment_nic, addresses=[f"{address}/{prefix}" for address in machine.addresses]
            )
            script.write_text(network + self.script(machine), encoding="utf-8")
            machines.append({"name": machine.name, "address": str(machine.address), "script": str(script)})
        vagrantfile = TEMPLATES.get_template("Vagrantfile.j2").render(machines=machines, key=self.key)
        (self.folder / "Vagrantfile").write_text(vagrantfile, encoding="utf-8")

    def commands(self) -> dict[str, list[str]]:
        """Vagrant's own."""
        return {
            UP: ["vagrant", "up", "--provider", "libvirt", "--no-color"],
            UP_AGAIN: ["vagrant", "up", "--no-color"],
            DESTROY: ["vagrant", "destroy", "-f", "--no-color"],
        }

    def environment(self) -> Mapping[str, str]:
        """Nothing of Vagrant's outside the folder, and no question to the vendor."""
        return os.environ | {
            "VAGRANT_HOME": str(self.folder / "home"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
        }

    def _box(self) -> Path:
        """The lab's guest image as a Vagrant box."""
        folder = self.folder
        disk = folder / "disk.raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", self.image(), disk], check=True)
        host = derive("0" * 64, "host")
        commands = [
            "rm /etc/systemd/system/multi-user.target.wants/cloud-init.target",
            "mkdir /root/.ssh",
            "set_inode_field /root/.ssh mode 040700",
        ]
        for number, (path, text, mode) in enumerate(
            (
                ("/root/.ssh/authorized_keys", self.login.public + "\n", "0100600"),
                ("/etc/ssh/ssh_host_ed25519_key", host.private, "0100600"),
                ("/etc/ssh/ssh_host_ed25519_key.pub", host.public + "\n", "0100644"),
                ("/etc/systemd/network/10-eth0.network", _DHCP, "0100644"),
            )
        ):
            source = folder / f"file{number}"
            source.write_text(text, encoding="utf-8")
            commands += [f"write {source} {path}", f"set_inode_field {path} mode {mode}"]
        (folder / "debugfs").write_text("\n".join(commands) + "\n", encoding="utf-8")
        subprocess.run(
            ["debugfs", "-w", "-f", folder / "debugfs", f"{disk}?offset={_ROOT}"],
            check=True,
            capture_output=True,
        )
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", disk, folder / "box.img"], check=True)
        disk.unlink()
        (folder / "metadata.json").write_text(
            json.dumps({"provider": "libvirt", "format": "qcow2", "virtual_size": 3}), encoding="utf-8"
        )
        # The box's own: `vagrant box add` wants one in the archive.
        (folder / "Vagrantfile").write_text("Vagrant.configure('2') {}\n", encoding="utf-8")
        box = folder / "lab.box"
        with tarfile.open(box, "w") as archive:
            for name in ("metadata.json", "Vagrantfile", "box.img"):
                archive.add(folder / name, name)
        (folder / "box.img").unlink()
        return box
