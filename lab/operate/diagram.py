"""The topology as a picture: SVG and Mermaid, from the inventory, and live if the machines were asked."""

import html
from collections.abc import Mapping, Sequence

from lab.inventory import Inventory, InventoryMachine
from lab.operate.status import Row
from lab.topology import Role

_ROLE_LABEL = {
    Role.DIRECTOR: "director",
    Role.REAL_SERVER: "real server",
    Role.SORRY_SERVER: "sorry server",
    Role.CLIENT: "client",
}
_WEB = (Role.REAL_SERVER, Role.SORRY_SERVER)
_BOX_WIDTH, _BOX_HEIGHT, _GAP = 168, 92, 24


def svg(inventory: Inventory, rows: Sequence[Row] = ()) -> str:
    """The topology: directors above the segment, web servers and client below it.

    Args:
        inventory: the lab.
        rows: how each machine is doing; without them the picture shows what was asked for.
    """
    live = {row.name: row for row in rows}
    above = inventory.by_role(Role.DIRECTOR)
    below = [machine for machine in inventory.machines if machine.role is not Role.DIRECTOR]
    width = max(len(above), len(below)) * (_BOX_WIDTH + _GAP) + _GAP
    wire = 250
    height = wire + 60 + _BOX_HEIGHT + 56
    service = f"VIP {inventory.vip} : {inventory.port}, {html.escape(inventory.lb_algo)}, Direct Routing"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{len(inventory.machines)} machines on one segment" '
        'font-family="system-ui, sans-serif" font-size="14">',
        "<style>.box{fill:#fff;stroke:#334155;stroke-width:1.5}.name{font-weight:600}.dim{fill:#475569}"
        ".vip{fill:#fde68a;stroke:#b45309}.bad{fill:#fee2e2;stroke:#b91c1c}"
        ".wire{stroke:#334155;stroke-width:4}.drop{stroke:#334155;stroke-width:2}</style>",
        f'<rect width="{width}" height="{height}" fill="#f8fafc"/>',
        f'<rect class="vip" x="{width / 2 - 170}" y="16" width="340" height="34" rx="17"/>'
        f'<text x="{width / 2}" y="38" text-anchor="middle">{service}</text>',
        f'<line class="wire" x1="{_GAP}" y1="{wire}" x2="{width - _GAP}" y2="{wire}"/>',
        f'<text x="{_GAP}" y="{wire - 10}" class="dim">one segment, {inventory.cidr}</text>',
        *_boxes(inventory, above, live, width, 78, wire),
        *_boxes(inventory, below, live, width, wire + 60, wire),
        f'<text x="{width / 2}" y="{height - 16}" text-anchor="middle" class="dim">'
        "requests go client, director, real server; replies go straight back to the client</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _boxes(
    inventory: Inventory,
    machines: Sequence[InventoryMachine],
    live: Mapping[str, Row],
    width: int,
    top: int,
    wire: int,
) -> list[str]:
    span = len(machines) * (_BOX_WIDTH + _GAP) - _GAP
    parts = []
    for place, machine in enumerate(machines):
        x = (width - span) / 2 + place * (_BOX_WIDTH + _GAP)
        centre = x + _BOX_WIDTH / 2
        ends = (top + _BOX_HEIGHT, wire) if top < wire else (wire, top)
        row = live.get(machine.name)
        parts.append(f'<line class="drop" x1="{centre}" y1="{ends[0]}" x2="{centre}" y2="{ends[1]}"/>')
        parts.append(
            f'<rect class="{_style(row)}" x="{x}" y="{top}" '
            f'width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="8"/>'
        )
        lines = [
            ("name", machine.name),
            ("dim", _what(machine, row)),
            ("", machine.address),
            ("dim", _more(inventory, machine, live)),
        ]
        for number, (style, text) in enumerate(lines):
            parts.append(
                f'<text x="{centre}" y="{top + 22 + number * 20}" text-anchor="middle" class="{style}">'
                f"{html.escape(text)}</text>"
            )
    return parts


def _style(row: Row | None) -> str:
    if row is None:
        return "box"
    if not row.healthy:
        return "bad"
    return "vip" if row.holds_vip else "box"


def _what(machine: InventoryMachine, row: Row | None) -> str:
    label = _ROLE_LABEL[machine.role]
    if machine.role is not Role.DIRECTOR:
        return label
    state = machine.state if row is None else (row.vrrp or "?")
    return f"{label}, {state} {machine.priority}"


def _more(inventory: Inventory, machine: InventoryMachine, live: Mapping[str, Row]) -> str:
    row = live.get(machine.name)
    if row is not None:
        if not row.reachable:
            return "not reachable"
        if row.fault or not row.healthy:
            return row.fault or row.service or ""
        if row.holds_vip:
            return "holds the VIP"
    if machine.role in _WEB:
        return f"{inventory.vip}/32 on lo" if row is None else _taken(inventory, machine, live)
    if machine.role is Role.DIRECTOR:
        return "keepalived, IPVS"
    extra = machine.extra_addresses
    return f"and .{extra[0].split('.')[-1]} to .{extra[-1].split('.')[-1]}" if extra else ""


def _taken(inventory: Inventory, machine: InventoryMachine, live: Mapping[str, Row]) -> str:
    """What the director with the VIP has of a web server."""
    for row in live.values():
        if row.holds_vip:
            entry = next((one for one in row.servers if one.address == machine.address), None)
            return f"weight {entry.weight} on {row.name}" if entry else f"not in the table of {row.name}"
    return f"{inventory.vip}/32 on lo"


def mermaid(inventory: Inventory, rows: Sequence[Row] = ()) -> str:
    """The same as a Mermaid flowchart."""
    live = {row.name: row for row in rows}
    lines = ["flowchart TB", f'    segment(("{inventory.cidr}"))']
    for machine in inventory.machines:
        row, name = live.get(machine.name), _identifier(machine.name)
        text = (machine.name, _what(machine, row), machine.address, _more(inventory, machine, live))
        lines.append(f'    {name}["{"<br/>".join(html.escape(line) for line in text if line)}"]')
        director = machine.role is Role.DIRECTOR
        lines.append(f"    {name} --- segment" if director else f"    segment --- {name}")
        if (style := _style(row)) != "box":
            lines.append(f"    class {name} {style}")
    lines += ["    classDef vip fill:#fde68a,stroke:#b45309", "    classDef bad fill:#fee2e2,stroke:#b91c1c"]
    return "\n".join(lines) + "\n"


def _identifier(name: str) -> str:
    return "m_" + name.replace("-", "_").replace(".", "_")
