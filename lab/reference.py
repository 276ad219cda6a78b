"""What is generated so that it cannot drift: Pulumi.yaml's schema, README's table, the picture.

``python -m lab.reference`` writes all of it again; a test compares.
"""

import re
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from lab.host.paths import project_dir
from lab.inventory import Inventory, describe
from lab.operate.diagram import svg
from lab.settings import NAMESPACE, Settings, load, stack_values
from lab.topology import Topology, plan

_BEGIN, _END = "<!-- generated: configuration -->", "<!-- end generated -->"
_TYPES = {str: "string", int: "integer", bool: "boolean"}


def schema() -> dict[str, Any]:
    """The ``config`` section of Pulumi.yaml."""
    entries: dict[str, Any] = {}
    defaults = Settings().model_dump(mode="json")
    for key, field in Settings.model_fields.items():
        kind = _kind(field.annotation)
        entry: dict[str, Any] = {"type": kind, "description": _plain(field.description or "")}
        if kind == "array":
            entry["items"] = {"type": "object"}
        entry["default"] = {} if defaults[key] is None else defaults[key]
        entries[f"{NAMESPACE}:{key}"] = entry
    return entries


def _kind(annotation: Any) -> str:
    if annotation in _TYPES:
        return _TYPES[annotation]
    if get_origin(annotation) is tuple:
        return "array"
    kinds = [annotation, *get_args(annotation)]
    if any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
        return "object"
    raise TypeError(annotation)


def _plain(description: str) -> str:
    return description.replace("`", "")


def manifest() -> str:
    """Pulumi.yaml."""
    head = (
        "# Written by `make reference` from lab/settings/model.py.\n"
        "name: lvs-dr-lab\n"
        "description: A Keepalived + LVS Direct Routing training lab on libvirt\n"
        "runtime:\n"
        "  name: python\n"
        "  options:\n"
        "    toolchain: uv\n"
        "    virtualenv: .venv\n"
    )
    body = yaml.safe_dump({"config": schema()}, sort_keys=False, allow_unicode=True, width=100)
    return head + body


def table() -> str:
    """The configuration table of the README, in Markdown."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, entry in schema().items():
        short = key.removeprefix(f"{NAMESPACE}:")
        description = Settings.model_fields[short].description or ""
        rows.append(
            f"| `{short}` | {entry['type']} | {_shown(entry['default'])} | {description.replace('|', '/')} |"
        )
    return "\n".join(rows)


def _shown(default: Any) -> str:
    if default in ("", {}):
        return "empty"
    if isinstance(default, list):
        return "<br>".join(f"`{_flow(item)}`" for item in default)
    if isinstance(default, dict):
        return "<br>".join(f"`{key}: {_flow(value)}`" for key, value in default.items())
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _flow(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
        .replace("\n...", "")
        .strip()
    )


def with_table(readme: str) -> str:
    """``readme`` with its generated part written again."""
    pattern = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{_BEGIN}\n{table()}\n{_END}", readme)


def picture(topology: Topology) -> str:
    """The topology as SVG, as `lab diagram` draws it."""
    inventory = Inventory.model_validate(
        describe(topology, "", {machine.name: "" for machine in topology.machines})
    )
    return svg(inventory)


def main() -> None:
    """Write every generated file again."""
    project = project_dir()
    (project / "Pulumi.yaml").write_text(manifest(), encoding="utf-8")
    readme = project / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
    (project / "docs" / "topology.svg").write_text(picture(tutorial(project)), encoding="utf-8")


def tutorial(project: Path) -> Topology:
    """The topology of the stack ``dev``."""
    values = stack_values((project / "Pulumi.dev.yaml").read_text(encoding="utf-8"))
    return plan(load(values), "dev")


if __name__ == "__main__":
    main()
