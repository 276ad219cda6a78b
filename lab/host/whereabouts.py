"""Where a stack's machines run, as it was noted when the stack was built, and the way there.

Kept free of everything slow to import: each command of the tools begins here.
"""

import os
import shutil

from lab.errors import LabError
from lab.host.paths import StackPaths
from lab.host.sandbox import Sandbox, why_not_rootless

# Exit status where a lab should be and none answers.
NOT_REACHABLE = 3

_CHOICE = "hypervisor-kind"


def note(paths: StackPaths, kind: str) -> None:
    """Remember for the life of the stack that it runs on the ``embedded`` or the ``system`` hypervisor."""
    paths.stack_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    (paths.stack_dir / _CHOICE).write_text(f"{kind}\n", encoding="utf-8")


def noted(paths: StackPaths) -> str | None:
    """``embedded`` or ``system``; ``None`` if the stack never had a hypervisor."""
    file = paths.stack_dir / _CHOICE
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


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


def existing(paths: StackPaths) -> Sandbox | None:
    """The hypervisor that a stack runs on now; ``None`` for the system's.

    Raises:
        LabError: the stack is not up, or its hypervisor does not run.
    """
    kind = noted(paths)
    if kind is None:
        raise LabError(f"stack {paths.stack} is not up.\n    `make up` builds it.", status=NOT_REACHABLE)
    if kind != "embedded":
        return None
    sandbox = embedded(paths)
    if not sandbox.running():
        raise LabError(
            f"the hypervisor of stack {paths.stack} is not running (was the machine restarted?).\n"
            "    `make up` brings the lab back.",
            status=NOT_REACHABLE,
        )
    return sandbox
