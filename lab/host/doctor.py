"""Looks at the operator's computer before anything is built, and says what is in the way.

``observe`` collects facts, ``diagnose`` judges them; only the first touches the machine.
"""

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from lab.errors import LabError
from lab.host.paths import StackPaths, project_dir
from lab.settings import Problem, Settings, SettingsError, load, stack_values
from lab.topology import Topology, plan

_MIB = 1024**2
_GIB = 1024**3
# What a QEMU process takes beyond the guest's memory, in MiB. An emulator that is left its 1 GiB of
# translated code grew to 1.6 GiB in all; with 256 MiB (templates/domain.xslt.j2) to 0.72 GiB, and a web
# server was ready after 198 s instead of 204 s.
_OVERHEAD = {"kvm": 64, "qemu": 400}
# What a machine writes on top of the shared image while packages are installed, and the image itself.
_DISK_PER_MACHINE = 400 * _MIB
_DISK_IMAGE = 2 * _GIB
_ANSWER_TIMEOUT = 10


@dataclass(frozen=True)
class Host:
    """What the program needs to know of the machine it runs on."""

    accelerator: str
    """libvirt's domain type: ``kvm`` or ``qemu``."""
    boot_limit: int
    """How many guests may boot at a time."""


@dataclass(frozen=True)
class Facts:
    """What was seen on the machine; sizes in bytes."""

    processors: int
    kvm: bool
    memory_available: int
    disk_free: int
    disk_path: str
    subnets: tuple[tuple[str, IPv4Network], ...]
    """Every subnet in use, as (who owns it in words, subnet)."""
    bridges: frozenset[str]
    running: frozenset[str]
    """Names of the libvirt domains that run."""
    volumes: bool
    """Whether the stack's disks are there already."""


def examine(settings: Settings, topology: Topology) -> Host:
    """Check that the lab fits this machine.

    Raises:
        LabError: libvirt does not answer, or something is in the way; every problem is named.
    """
    facts = observe(settings, topology)
    problems = list(diagnose(settings, topology, facts))
    if problems:
        raise SettingsError(problems)
    return host(settings, facts)


def host(settings: Settings, facts: Facts) -> Host:
    """How guests run here. ``auto`` takes KVM only where it can work, else emulation."""
    chosen = accelerator(settings.virtualization, kvm=facts.kvm)
    # Under KVM a booting guest mostly waits; under emulation it takes a whole processor.
    return Host(chosen, boot_limit=10_000 if chosen == "kvm" else max(1, facts.processors))


def accelerator(asked: str, *, kvm: bool | None = None) -> str:
    """The libvirt domain type for the setting ``virtualization``: ``kvm`` or ``qemu``."""
    if asked != "auto":
        return asked
    return "kvm" if (has_kvm() if kvm is None else kvm) else "qemu"


def has_kvm() -> bool:
    """Whether hardware virtualisation can work: the processor has it and its device is open to us.

    The device alone proves nothing: in some virtual machines it exists and guests hang on it.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    words = set(flags.split())
    return bool(words & {"vmx", "svm"}) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def virsh(uri: str, *arguments: str) -> str:
    """Output of ``virsh`` at ``uri``.

    Raises:
        LabError: virsh is missing, or the hypervisor does not answer within ten seconds.
    """
    if not shutil.which("virsh"):
        raise LabError(
            "virsh is missing, which the lab asks about the hypervisor.\n    Install libvirt-clients."
        )
    try:
        done = subprocess.run(
            ["virsh", "-q", "-c", uri, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=_ANSWER_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        said = f"no answer within {_ANSWER_TIMEOUT} s"
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines()[-1:]
        said = said[0].removeprefix("error: ") if said else "no reason given"
    else:
        return done.stdout
    raise SettingsError(
        [
            Problem(
                "libvirt_uri",
                uri,
                f"the hypervisor does not answer ({said}).",
                "Start libvirt (`systemctl start libvirtd`), or let `make up` bring a hypervisor of its own.",
            )
        ]
    )


def is_local(uri: str) -> bool:
    """Whether the hypervisor at ``uri`` is this machine, so that its memory and disk are ours to look at."""
    return not urlsplit(uri).hostname


def observe(settings: Settings, topology: Topology) -> Facts:
    """Look at this machine and its libvirt; changes nothing."""
    uri = settings.libvirt_uri
    virsh(uri, "version")
    running = frozenset(virsh(uri, "list", "--name").split())
    disk_path = _existing(Path("/var/lib/libvirt/images"))
    subnets = [*_libvirt_subnets(uri, topology.names.prefix)]
    if is_local(uri):
        subnets += _host_subnets()
    return Facts(
        processors=os.cpu_count() or 1,
        kvm=has_kvm(),
        memory_available=psutil.virtual_memory().available,
        disk_free=shutil.disk_usage(disk_path).free,
        disk_path=str(disk_path),
        subnets=tuple((owner, subnet) for owner, subnet in subnets),
        bridges=frozenset(
            name for name in psutil.net_if_addrs() if Path(f"/sys/class/net/{name}/bridge").is_dir()
        ),
        running=running,
        volumes=topology.names.prefix in virsh(uri, "pool-list", "--all", "--name").split(),
    )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _libvirt_subnets(uri: str, own: str) -> Iterator[tuple[str, IPv4Network]]:
    for name in virsh(uri, "net-list", "--all", "--name").split():
        if name == own:
            continue
        document = ET.fromstring(virsh(uri, "net-dumpxml", name))  # noqa: S314  libvirt's own answer
        for entry in document.findall("ip"):
            if entry.get("family", "ipv4") == "ipv4" and (address := entry.get("address")):
                mask = entry.get("netmask") or entry.get("prefix") or "24"
                yield f"libvirt network {name}", IPv4Interface(f"{address}/{mask}").network


def _host_subnets() -> Iterator[tuple[str, IPv4Network]]:
    """Subnets that this machine reaches through one of its interfaces: addresses and routes."""
    listing = subprocess.run(
        ["ip", "-j", "-4", "route", "show", "table", "main"], check=False, capture_output=True, text=True
    )
    for route in json.loads(listing.stdout or "[]"):
        if route.get("dst", "default") != "default" and "dev" in route:
            yield f"interface {route['dev']}", IPv4Network(route["dst"], strict=False)


def diagnose(settings: Settings, topology: Topology, facts: Facts) -> Iterator[Problem]:
    """Judge the facts: everything that would make the lab fail later, said now."""
    if settings.virtualization == "kvm" and not facts.kvm:
        yield Problem(
            "virtualization",
            "kvm",
            "this machine has no usable KVM (CPU flag vmx or svm, and /dev/kvm open to you).",
            "Set it to auto or qemu; emulation works but boots slowly.",
        )
    yield from _network_problems(settings, topology, facts)
    if settings.image.startswith("/") and not Path(settings.image).is_file():
        yield Problem(
            "image", settings.image, "there is no such file.", "Correct the path, or set image to auto."
        )
    if is_local(settings.libvirt_uri):
        yield from _room_problems(settings, topology, facts)


def _network_problems(settings: Settings, topology: Topology, facts: Facts) -> Iterator[Problem]:
    if settings.network == "bridge":
        if settings.bridge not in facts.bridges and is_local(settings.libvirt_uri):
            known = ", ".join(sorted(facts.bridges)) or "none"
            yield Problem(
                "bridge",
                settings.bridge,
                f"this machine has no such bridge (it has: {known}).",
                "Create it or name another.",
            )
        return
    for owner, subnet in facts.subnets:
        if owner == f"interface {topology.names.bridge}":
            continue
        if subnet.overlaps(topology.segment.cidr):
            yield Problem(
                "cidr",
                settings.cidr,
                f"already in use here: {owner} has {subnet}.",
                "Choose another cidr and VIP, or use `make up`: its own hypervisor keeps the two apart.",
            )
            return


def _room_problems(settings: Settings, topology: Topology, facts: Facts) -> Iterator[Problem]:
    overhead = _OVERHEAD[host(settings, facts).accelerator]
    missing = [m for m in topology.machines if topology.names.domain(m.name) not in facts.running]
    wanted = sum(machine.size.memory + overhead for machine in missing)
    available = facts.memory_available // _MIB
    if wanted > available:
        yield Problem(
            "sizes",
            f"{wanted} MiB for {len(missing)} machines",
            f"only {available} MiB of memory are free.",
            "Close other programs, have fewer servers, or lower sizes.*.memory.",
        )
    needed = 0 if facts.volumes else _DISK_IMAGE + _DISK_PER_MACHINE * len(missing)
    if needed > facts.disk_free:
        yield Problem(
            "sizes",
            f"{needed // _MIB} MiB of disk for {len(missing)} machines",
            f"only {facts.disk_free // _MIB} MiB are free where {facts.disk_path} lies.",
            "Free some space there.",
        )


def main(stack: str) -> None:
    """Examine this machine for ``stack``: what is in the way goes to standard error, with status 1."""
    paths = StackPaths(project_dir(), stack)
    try:
        settings = load(
            stack_values(paths.config.read_text(encoding="utf-8")) if paths.config.exists() else {}
        )
        examine(settings, plan(settings, stack))
    except LabError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1])
