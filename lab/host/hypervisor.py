"""Which hypervisor a stack runs on: the system's libvirt, or one of its own."""

import os
import shutil
from dataclasses import dataclass

from lab.errors import LabError
from lab.host import doctor
from lab.host.paths import StackPaths
from lab.host.sandbox import Sandbox, why_not_rootless
from lab.settings import Settings
from lab.topology import Topology

_DEFAULT_URI = "qemu:///system"
_CHOICE = "hypervisor-kind"


@dataclass(frozen=True)
class Choice:
    """A hypervisor, and why this one."""

    embedded: bool
    reason: str


def choose(settings: Settings, topology: Topology, paths: StackPaths, asked: str) -> Choice:
    """Decide where the stack runs; a stack that exists stays where it is.

    Args:
        settings: for the URI; one that is not the default is always taken at its word.
        topology: for the subnet that must be free.
        paths: where an earlier choice was noted.
        asked: ``auto``, ``system`` or ``embedded``.

    Raises:
        LabError: the stack runs on the other kind, or the asked kind cannot serve.
    """
    noted = paths.stack_dir / _CHOICE
    if noted.exists():
        kind = noted.read_text(encoding="utf-8").strip()
        if asked not in ("auto", kind):
            raise LabError(
                f"stack {paths.stack} runs on the {kind} hypervisor, not on the {asked} one.\n"
                "    `make down` first, then choose again."
            )
        return Choice(kind == "embedded", "the stack is there")
    if asked == "embedded":
        return Choice(embedded=True, reason="asked for")
    if asked == "system" or settings.libvirt_uri != _DEFAULT_URI:
        doctor.virsh(settings.libvirt_uri, "version")
        return Choice(embedded=False, reason="asked for")
    if hindrance := _why_not_system(settings, topology):
        return Choice(embedded=True, reason=hindrance)
    return Choice(embedded=False, reason="the system's libvirt answers and the subnet is free")


def note(choice: Choice, paths: StackPaths) -> None:
    """Remember the choice for the life of the stack."""
    paths.stack_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    (paths.stack_dir / _CHOICE).write_text("embedded\n" if choice.embedded else "system\n", encoding="utf-8")


def noted(paths: StackPaths) -> bool | None:
    """Whether the stack's hypervisor is embedded; None if it never had one."""
    file = paths.stack_dir / _CHOICE
    return file.read_text(encoding="utf-8").strip() == "embedded" if file.exists() else None


def _why_not_system(settings: Settings, topology: Topology) -> str | None:
    if not shutil.which("virsh"):
        return "there is no libvirt on this machine"
    try:
        facts = doctor.observe(settings, topology)
    except LabError:
        return "the system's libvirt does not answer"
    for problem in doctor.diagnose(settings, topology, facts):
        if problem.key == "cidr":
            return problem.rule.rstrip(".")
    return None


def embedded(paths: StackPaths) -> Sandbox:
    """The stack's own hypervisor, not yet started: without root where the kernel allows it, else by sudo.

    Raises:
        LabError: neither is possible; says why.
    """
    if os.geteuid() == 0:
        return Sandbox(paths.hypervisor)
    hindrance = why_not_rootless()
    if hindrance is None:
        return Sandbox(paths.hypervisor)
    if not shutil.which("sudo"):
        raise LabError(
            f"the embedded hypervisor cannot run without root here: {hindrance}\n"
            "    Install sudo, run as root, or remove the hindrance."
        )
    return Sandbox(paths.hypervisor, sudo=True)
