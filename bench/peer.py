"""The peer: Vagrant with vagrant-libvirt builds the same six machines from the same image.

Same packages by apt-get, same configuration by the same scripts, same emulation, in a hypervisor of its own
like the lab's. What differs is the tool. The image is the lab's with cloud-init off and DHCP on eth0, as a
Vagrant box has it; Vagrant's network for management comes first, so the segment is eth1.
"""

import json
import os
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.figures import Results
from bench.templates import TEMPLATES
from lab.host import guest_image, packages
from lab.host.packages import Package
from lab.host.paths import cache_dir
from lab.host.sandbox import Sandbox
from lab.keys import derive
from lab.render import guest, pushes
from lab.say import Say
from lab.settings import Settings
from lab.topology import Client, Director, Machine, RealServer, Topology, plan

PACKAGES = (
    Package("vagrant", "vagrant", "the peer"),
    Package("vagrant-libvirt", "/usr/share/doc/vagrant-libvirt", "the peer's provider"),
)
# Where the root file system of the Debian guest begins (lab/host/guest_image/build.sh).
_ROOT = 64 << 20
_DHCP = "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\n"


def measure(folder: Path, results: Results, say: Say) -> None:
    """Build the box, then `vagrant up`, again, and `vagrant destroy`."""
    packages.install(packages.missing(PACKAGES), say)
    folder.mkdir()
    box = _box(folder, say)
    sandbox = Sandbox(folder / "hypervisor")
    sandbox.ensure(say)
    try:
        vagrant = _Vagrant(folder, sandbox)
        vagrant.run("box", "add", "--name", "lab", str(box))
        _write_project(folder)
        took = vagrant.run("up", "--provider", "libvirt", "--no-color")
        served = vagrant.served()
        if served != {"server1", "server2", "server3"}:
            raise RuntimeError(f"the peer's lab does not work: {served or 'nobody'} answered")
        say(f"  vagrant up: {took:.0f} s")
        results.add("Vagrant: up, six machines", "s", took)
        results.add("Vagrant: up with nothing to do", "s", vagrant.run("up", "--no-color"))
        results.add("Vagrant: destroy", "s", vagrant.run("destroy", "-f", "--no-color"))
    finally:
        sandbox.remove()


class _Vagrant:
    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self._folder = folder
        self._sandbox = sandbox
        self._environment = os.environ | {
            "VAGRANT_HOME": str(folder / "home"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
        }

    def run(self, *arguments: str) -> float:
        """Run it to its end; seconds that took."""
        begun = time.monotonic()
        log = self._folder / f"{arguments[0]}.log"
        with log.open("w", encoding="utf-8") as out:
            done = self._execute(arguments, stdout=out, stderr=out, timeout=3000)
        if done.returncode != 0:
            last = "\n".join(log.read_text(encoding="utf-8").splitlines()[-120:])
            raise RuntimeError(f"vagrant {arguments[0]}: status {done.returncode}\n{last}")
        return time.monotonic() - begun

    def served(self) -> set[str]:
        """Which servers answer the peer's client through its VIP."""
        loop = (
            "for n in $(seq 100 109); do "
            "curl -s -m 5 --interface 192.168.1.$n http://192.168.1.20/ || true; done"
        )
        done = self._execute(["ssh", "client", "-c", loop], capture_output=True, timeout=300)
        return set(done.stdout.split())

    def _execute(self, arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it beside its machines; ``options`` as for subprocess.run."""
        return subprocess.run(  # noqa: PLW1510  the caller decides
            self._sandbox.command(["vagrant", *arguments], self._folder, self._environment),
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            text=True,
            **options,
        )


def _box(folder: Path, say: Say) -> Path:
    """The lab's guest image as a Vagrant box."""
    image = guest_image.build(cache_dir() / "images", say)
    disk = folder / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, disk], check=True)
    login, host = derive("0" * 64, "login"), derive("0" * 64, "host")
    key = folder / "id_ed25519"
    key.write_text(login.private, encoding="utf-8")
    key.chmod(0o600)
    commands = [
        "rm /etc/systemd/system/multi-user.target.wants/cloud-init.target",
        "mkdir /root/.ssh",
        "set_inode_field /root/.ssh mode 040700",
    ]
    for number, (path, text, mode) in enumerate(
        (
            ("/root/.ssh/authorized_keys", login.public + "\n", "0100600"),
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
        ["debugfs", "-w", "-f", folder / "debugfs", f"{disk}?offset={_ROOT}"], check=True, capture_output=True
    )
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", disk, folder / "box.img"], check=True)
    disk.unlink()
    (folder / "metadata.json").write_text(
        json.dumps({"provider": "libvirt", "format": "qcow2", "virtual_size": 3}), encoding="utf-8"
    )
    (folder / "Vagrantfile").write_text("Vagrant.configure('2') {}\n", encoding="utf-8")
    box = folder / "lab.box"
    with tarfile.open(box, "w") as archive:
        for name in ("metadata.json", "Vagrantfile", "box.img"):
            archive.add(folder / name, name)
    (folder / "box.img").unlink()
    return box


def _write_project(folder: Path) -> None:
    """A Vagrantfile and one script for each machine."""
    topology = plan(Settings(), "dev")
    (folder / "provision").mkdir()
    machines = []
    for machine in topology.machines:
        script = folder / "provision" / f"{machine.name}.sh"
        script.write_text(_script(topology, machine), encoding="utf-8")
        machines.append({"name": machine.name, "address": str(machine.address), "script": str(script)})
    vagrantfile = TEMPLATES.get_template("Vagrantfile.j2").render(
        machines=machines, key=folder / "id_ed25519"
    )
    (folder / "Vagrantfile").write_text(vagrantfile, encoding="utf-8")


def _script(topology: Topology, machine: Machine) -> str:
    own = (machine.address, *machine.extra_addresses) if isinstance(machine, Client) else (machine.address,)
    return TEMPLATES.get_template("provision.sh.j2").render(
        machine=machine,
        addresses=[f"{address}/{topology.segment.cidr.prefixlen}" for address in own],
        packages=guest.PACKAGES[machine.role],
        settings=_settings(topology, machine),
    )


def _settings(topology: Topology, machine: Machine) -> str:
    """What the lab pushes over SSH, for a segment on eth1."""
    match machine:
        case Director():
            script = pushes.director_script(topology, machine)
            return script.replace("interface eth0", "interface eth1")
        case RealServer():
            return pushes.server_script(topology, machine)
        case Client():
            return pushes.client_script(topology, machine)
    raise TypeError(machine)
