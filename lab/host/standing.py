"""Whether a lab stands as the last ``up`` left it: then the engine need not be asked.

The engine takes seconds to find that there is nothing to do. All it could find is told by four things
that are quick to read: this project's files, the stack's configuration, the engine's own state, and what
the hypervisor has.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from lab.host import doctor, leftovers
from lab.host.engine import Engine
from lab.host.paths import StackPaths
from lab.host.stack import deployment_in, foreign_backend, write_private
from lab.settings import Settings

# What the program is made of; tests, docs and the tools that come later change no machine.
_PROGRAM = ("__main__.py", "Pulumi.yaml", "uv.lock", "lab", "cloud-init")


class Standing(BaseModel):
    """What an ``up`` that came to its end leaves for the next one."""

    fingerprint: str
    image: str
    """The output of that name."""


def note(paths: StackPaths, settings: Settings, engine: Engine, image: str) -> None:
    """Remember what the lab was built from."""
    if fingerprint := _fingerprint(paths, settings, engine):
        standing = Standing(fingerprint=fingerprint, image=image)
        write_private(_file(paths), standing.model_dump_json() + "\n")


def forget(paths: StackPaths) -> None:
    """From now on something may be half done."""
    _file(paths).unlink(missing_ok=True)


def unchanged(
    paths: StackPaths, settings: Settings, engine: Engine, virsh: leftovers.Virsh
) -> Standing | None:
    """What the last ``up`` left, if it all stands and runs and nothing that makes it has changed."""
    try:
        standing = Standing.model_validate_json(_file(paths).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    if standing.fingerprint != _fingerprint(paths, settings, engine):
        return None
    found = leftovers.present(virsh, paths.stack)
    whole = found == leftovers.recorded(deployment_in(paths)) and found.runs
    return standing if whole else None


def _fingerprint(paths: StackPaths, settings: Settings, engine: Engine) -> str | None:
    """One for all that decides what an ``up`` does; ``None`` if the engine's state is kept elsewhere."""
    if foreign_backend() or not paths.state.exists():
        return None
    digest = hashlib.sha256()
    for file in [*sorted(_program(paths.project)), paths.config, paths.state]:
        digest.update(f"{file}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    digest.update(json.dumps([engine.versions, engine.origin], sort_keys=True).encode())
    digest.update(doctor.accelerator(settings.virtualization).encode())
    return digest.hexdigest()


def _program(project: Path) -> Iterator[Path]:
    for name in _PROGRAM:
        path = project / name
        if path.is_file():
            yield path
        yield from (file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc")


def _file(paths: StackPaths) -> Path:
    return paths.stack_dir / "standing.json"
