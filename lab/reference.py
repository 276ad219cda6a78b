"""What is generated so that it cannot drift: Pulumi.yaml's schema, README's table, the picture.

``python -m lab.reference`` writes all of it again; a test compares.
"""

import html
import re
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from lab.host.paths import project_dir
from lab.settings import NAMESPACE, Settings, load, stack_values
from lab.topology import Machine, Role, Topology, plan

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


_ROLE_LABEL = {
    Role.DIRECTOR: "director",
    Role.REAL_SERVER: "real server",
    Role.SORRY_SERVER: "sorry server",
    Role.CLIENT: "client",
}
_BOX_WIDTH, _BOX_HEIGHT, _GAP = 168, 92, 24


def picture(topology: Topology) -> str:
    """The topology as SVG: directors above the segment, web servers and client below it."""
    above, below = list(topology.directors), [*topology.web_servers, topology.client]
    columns = max(len(above), len(below))
    width = columns * (_BOX_WIDTH + _GAP) + _GAP
    wire = 250
    height = wire + 60 + _BOX_HEIGHT + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{len(topology.machines)} machines on one segment" '
        'font-family="system-ui, sans-serif" font-size="14">',
        "<style>.box{fill:#fff;stroke:#334155;stroke-width:1.5}.name{font-weight:600}.dim{fill:#475569}"
        ".vip{fill:#fde68a;stroke:#b45309}"
        ".wire{stroke:#334155;stroke-width:4}.drop{stroke:#334155;stroke-width:2}</style>",
        f'<rect width="{width}" height="{height}" fill="#f8fafc"/>',
    ]
    service = topology.service
    parts.append(
        f'<rect class="vip" x="{width / 2 - 170}" y="16" width="340" height="34" rx="17"/>'
        f'<text x="{width / 2}" y="38" text-anchor="middle">VIP {service.vip} : {service.port}, '
        f"{html.escape(service.lb_algo)}, Direct Routing</text>"
    )
    parts.append(f'<line class="wire" x1="{_GAP}" y1="{wire}" x2="{width - _GAP}" y2="{wire}"/>')
    parts.append(f'<text x="{_GAP}" y="{wire - 10}" class="dim">one segment, {topology.segment.cidr}</text>')
    parts += _row(topology, above, width, 78, wire, up=True)
    parts += _row(topology, below, width, wire + 60, wire, up=False)
    parts.append(
        f'<text x="{width / 2}" y="{height - 16}" text-anchor="middle" class="dim">'
        "requests go client, director, real server; replies go straight back to the client</text>"
    )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _row(topology: Topology, machines: list[Any], width: int, top: int, wire: int, *, up: bool) -> list[str]:
    span = len(machines) * (_BOX_WIDTH + _GAP) - _GAP
    parts = []
    for place, machine in enumerate(machines):
        x = (width - span) / 2 + place * (_BOX_WIDTH + _GAP)
        centre = x + _BOX_WIDTH / 2
        ends = (top + _BOX_HEIGHT, wire) if up else (wire, top)
        parts.append(f'<line class="drop" x1="{centre}" y1="{ends[0]}" x2="{centre}" y2="{ends[1]}"/>')
        parts.append(
            f'<rect class="box" x="{x}" y="{top}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="8"/>'
        )
        lines = [
            ("name", machine.name),
            ("dim", _ROLE_LABEL[machine.role] + _extra(machine)),
            ("", str(machine.address)),
            ("dim", _second_address(topology, machine)),
        ]
        for row, (style, text) in enumerate(lines):
            parts.append(
                f'<text x="{centre}" y="{top + 22 + row * 20}" text-anchor="middle" class="{style}">'
                f"{html.escape(text)}</text>"
            )
    return parts


def _extra(machine: Machine) -> str:
    state = getattr(machine, "state", None)
    return f", {state} {machine.priority}" if state else ""  # type: ignore[attr-defined]


def _second_address(topology: Topology, machine: Machine) -> str:
    match machine.role:
        case Role.REAL_SERVER | Role.SORRY_SERVER:
            return f"{topology.service.vip}/32 on lo"
        case Role.DIRECTOR:
            return "keepalived, IPVS"
    extra = getattr(machine, "extra_addresses", ())
    return f"and .{extra[0].packed[-1]} to .{extra[-1].packed[-1]}" if extra else ""


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
