"""What the guests' tools print, as data. Pure; what cannot be understood is left out, never guessed."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_SECTION = "@@"
# How ipvsadm(8) calls it, PACKET-FORWARDING-METHOD.
DIRECT_ROUTING = "Route"


def sections(text: str) -> dict[str, str]:
    """The parts of a script's output, each begun by a line ``@@name``.

    In the hunks of a diff a blank follows the two signs: these are text like any other.
    """
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith(_SECTION) and not line.startswith(f"{_SECTION} "):
            current = found.setdefault(line.removeprefix(_SECTION).strip(), [])
        else:
            current.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def addresses(ip_json: str) -> dict[str, tuple[str, ...]]:
    """IPv4 addresses with their prefix length by interface, from ``ip -j -4 address show``."""
    try:
        links = json.loads(ip_json)
    except ValueError:
        return {}
    found = {}
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and "ifname" in link:
            found[str(link["ifname"])] = tuple(
                f"{entry['local']}/{entry.get('prefixlen', 32)}"
                for entry in link.get("addr_info", [])
                if isinstance(entry, dict) and "local" in entry
            )
    return found


@dataclass(frozen=True)
class Destination:
    """One real server in an IPVS table."""

    address: str
    port: int
    forwarding: str
    """`DIRECT_ROUTING`, ``Masq`` or ``Tunnel``."""
    weight: int
    active: int
    inactive: int


@dataclass(frozen=True)
class VirtualService:
    """One virtual server of an IPVS table."""

    address: str
    port: int
    scheduler: str
    persistent: int
    """Seconds; 0 without persistence."""
    destinations: tuple[Destination, ...]


_SERVICE = re.compile(r"TCP\s+(\d+\.\d+\.\d+\.\d+):(\d+)\s+(\w+)(.*)")
_DESTINATION = re.compile(r"\s+->\s+(\d+\.\d+\.\d+\.\d+):(\d+)\s+(\w+)\s+(-?\d+)\s+(\d+)\s+(\d+)\s*$")


def ipvs_table(text: str) -> tuple[VirtualService, ...]:
    """The virtual services in ``ipvsadm -Ln``."""
    found: list[VirtualService] = []
    for line in text.splitlines():
        if service := _SERVICE.match(line):
            persistent = re.search(r"persistent (\d+)", service[4])
            found.append(
                VirtualService(
                    service[1], int(service[2]), service[3], int(persistent[1]) if persistent else 0, ()
                )
            )
        elif found and (row := _DESTINATION.match(line)):
            last = found[-1]
            destination = Destination(row[1], int(row[2]), row[3], int(row[4]), int(row[5]), int(row[6]))
            found[-1] = VirtualService(
                last.address,
                last.port,
                last.scheduler,
                last.persistent,
                (*last.destinations, destination),
            )
    return tuple(found)


def service_at(table: Iterable[VirtualService], address: str, port: int) -> VirtualService | None:
    """The virtual service of one address and port."""
    return next((one for one in table if (one.address, one.port) == (address, port)), None)


@dataclass(frozen=True)
class Traffic:
    """Counters of one destination or service since it was entered: ``ipvsadm -Ln --stats --exact``."""

    connections: int
    in_packets: int
    out_packets: int
    in_bytes: int
    out_bytes: int


_COUNTERS = re.compile(
    r"(?:TCP|\s+->)\s+(\d+\.\d+\.\d+\.\d+):(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*$"
)


def ipvs_traffic(text: str) -> dict[str, Traffic]:
    """Counters by ``address:port``, the service's own among them."""
    found = {}
    for line in text.splitlines():
        if row := _COUNTERS.match(line):
            found[f"{row[1]}:{row[2]}"] = Traffic(*(int(row[group]) for group in range(3, 8)))
    return found


def pinned_sources(text: str) -> dict[str, str]:
    """Which client address is pinned to which real server, from ``ipvsadm -Lcn``: the templates (port 0)."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        # The kernel gives a template that no longer holds the virtual port 65535 (ip_vs_conn.c).
        if len(words) >= 6 and words[3].endswith(":0") and not words[4].endswith(":65535"):
            found[words[3].removesuffix(":0")] = words[5].rsplit(":", 1)[0]
    return found


_TRANSITION = re.compile(r"\(([^)]+)\) Entering (MASTER|BACKUP|FAULT) STATE")


def vrrp_state(journal_line: str) -> str | None:
    """The state that a line of keepalived's journal announces; ``STOP`` when the daemon ends."""
    if found := _TRANSITION.search(journal_line):
        return found[2]
    # keepalived's own first word of its end: priority 0 is advertised then.
    if journal_line.strip() == "Stopping" or "Stopped Keepalived v" in journal_line:
        return "STOP"
    return None


_CHECKER = re.compile(
    r"(TCP|HTTP)_CHECK on service|HTTP status code|(Removing|Adding|Disabling|Enabling) "
    r"(service|sorry server|alternate server)|(Gained|Lost) quorum|Error connecting|Timeout (connect|reading)"
)


def is_health_check(journal_line: str) -> bool:
    """Whether a line of keepalived's journal is about a real server that comes or goes."""
    return _CHECKER.search(journal_line) is not None and vrrp_state(journal_line) is None


def answering_macs(arping: str) -> set[str]:
    """Hardware addresses that answered, from either arping (Habets' or that of iputils)."""
    found = re.findall(r"(?:from|\[)\s*((?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2})", arping)
    return {mac.lower() for mac in found}


def settings_of(sysctl_config: str) -> dict[str, str]:
    """Keys and values of sysctl.d(5) text, the last of each; keys with dots."""
    found = {}
    for line in sysctl_config.splitlines():
        stripped = line.strip()
        if stripped and stripped[0] not in "#;" and "=" in stripped:
            key, value = stripped.split("=", 1)
            found[key.strip().lstrip("-").replace("/", ".")] = value.strip()
    return found
