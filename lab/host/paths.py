"""Where the project keeps files on the operator's computer."""

import os
from dataclasses import dataclass
from pathlib import Path

from lab import PROJECT


def cache_dir() -> Path:
    """Directory of what every lab of this user shares and can be fetched or built again.

    ``LVS_DR_LAB_CACHE`` overrides ``$XDG_CACHE_HOME/lvs-dr-lab``.
    """
    if given := os.environ.get("LVS_DR_LAB_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / PROJECT


def project_dir(start: Path | None = None) -> Path:
    """Nearest directory at or above ``start`` that holds this project's ``Pulumi.yaml``.

    Falls back to the checkout this package lies in, so that the command works from anywhere.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        manifest = folder / "Pulumi.yaml"
        if manifest.is_file() and f"name: {PROJECT}" in manifest.read_text(encoding="utf-8"):
            return folder
    return Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class StackPaths:
    """Everything one stack keeps on disk, below ``<project>/.lab``."""

    project: Path
    stack: str

    @property
    def lab(self) -> Path:
        """Directory of all stacks of this checkout; git ignores it."""
        return self.project / ".lab"

    @property
    def pulumi_home(self) -> Path:
        """``PULUMI_HOME``: workspaces and logs of the engine."""
        return self.lab / "pulumi-home"

    @property
    def backend(self) -> Path:
        """Directory of the embedded file backend."""
        return self.lab / "state"

    @property
    def state(self) -> Path:
        """What the engine knows of this stack, in the embedded file backend."""
        return self.backend / ".pulumi" / "stacks" / PROJECT / f"{self.stack}.json"

    @property
    def passphrase(self) -> Path:
        """File with the passphrase that seals the secrets of the file backend (mode 0600)."""
        return self.lab / "passphrase"

    @property
    def stack_dir(self) -> Path:
        """Directory of what belongs to this stack alone and goes with it."""
        return self.lab / "stacks" / self.stack

    @property
    def hypervisor(self) -> Path:
        """Directory of the embedded hypervisor."""
        return self.stack_dir / "hypervisor"

    @property
    def config(self) -> Path:
        """The stack's configuration file in the project."""
        return self.project / f"Pulumi.{self.stack}.yaml"
