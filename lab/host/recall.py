"""The outputs of a stack as the tools need them, kept beside it so that a command need not ask the engine."""

import json
from pathlib import Path
from typing import Any

from lab import versions
from lab.errors import LabError
from lab.host.paths import StackPaths
from lab.host.stack import Stack, write_private
from lab.inventory import Inventory
from lab.operate.access import Access


def remember(stack: Stack, outputs: dict[str, Any]) -> Inventory:
    """Keep the inventory and the SSH files of a stack.

    Args:
        stack: whose they are.
        outputs: all of them, secret ones too.

    Raises:
        LabError: the stack has no lab.
    """
    if "inventory" not in outputs:
        raise LabError(f"stack {stack.name} is not up.\n    `make up` builds it.")
    try:
        found = Inventory.model_validate(outputs["inventory"])
    except ValueError:
        raise LabError(
            f"stack {stack.name} was built by another version of this project.\n"
            "    `make up` brings it to this one, `make down` removes it."
        ) from None
    access(stack.paths).write(found, outputs["ssh_private_key"])
    write_private(
        stack.paths.stack_dir / versions.FILE, json.dumps(outputs.get("versions", {}), indent=1) + "\n"
    )
    write_private(_file(stack.paths), found.model_dump_json() + "\n")
    return found


def access(paths: StackPaths) -> Access:
    """The SSH files of a stack."""
    return Access(paths.stack_dir / "ssh")


def inventory(stack: Stack) -> Inventory:
    """The lab that is up: as it was kept, unless the engine's state is younger.

    Raises:
        LabError: there is none.
    """
    file, state = _file(stack.paths), stack.paths.state
    # A state that rests elsewhere cannot be compared: the engine is asked.
    if file.exists() and state.exists() and file.stat().st_mtime >= state.stat().st_mtime:
        if found := kept(stack.paths):
            return found
        # Of an older version of the lab, or damaged: the engine knows better.
        file.unlink()
    return remember(stack, stack.outputs(secrets_too=True) if stack.exists() else {})


def kept(paths: StackPaths) -> Inventory | None:
    """The inventory as it was kept last, however old; ``None`` if there is none that can be read."""
    try:
        return Inventory.model_validate_json(_file(paths).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _file(paths: StackPaths) -> Path:
    return paths.stack_dir / "inventory.json"
