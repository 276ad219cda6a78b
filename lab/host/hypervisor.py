"""Which hypervisor a stack runs on: the system's libvirt, or one of its own."""

import shutil
from dataclasses import dataclass

from lab.errors import LabError
from lab.host import doctor, whereabouts
from lab.host.paths import StackPaths
from lab.settings import Settings
from lab.topology import Topology

_DEFAULT_URI = "qemu:///system"


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
    if kind := whereabouts.noted(paths):
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
