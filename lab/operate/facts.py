"""What a machine says of itself: one script over SSH a machine, understood here."""

from dataclasses import dataclass

from lab.inventory import Inventory, InventoryMachine
from lab.operate import outputs
from lab.operate.guests import Guests
from lab.topology import Role

# The service each role is there for.
UNITS = {
    Role.DIRECTOR: "keepalived",
    Role.REAL_SERVER: "apache2",
    Role.SORRY_SERVER: "apache2",
    Role.CLIENT: "mail-sink",
}

# Each program that a script starts costs an emulated machine some 30 ms: they are few.
_COMMON = r"""
echo @@uptime; read -r up idle < /proc/uptime; echo "$up"
echo @@unit; systemctl is-active {unit}
echo @@addresses; ip -j -4 address show
"""

# The last of these words decides the state; a reload or a mail in between does not count.
_DIRECTOR = r"""
echo @@vrrp
journalctl -u keepalived -b -o cat -n 300 --no-pager |
    grep -E 'Entering (MASTER|BACKUP|FAULT) STATE|Stopped Keepalived v'
echo @@ipvs; ipvsadm -Ln
"""

_SERVER = r"""
echo @@arp; cd /proc/sys/net/ipv4/conf; grep -H . */arp_ignore */arp_announce
"""

_ROLES = {Role.DIRECTOR: _DIRECTOR, Role.REAL_SERVER: _SERVER, Role.SORRY_SERVER: _SERVER, Role.CLIENT: ""}


@dataclass(frozen=True)
class Facts:
    """One machine as it is now."""

    name: str
    role: Role
    uptime: float
    """Seconds since it booted."""
    service: str
    """State of keepalived, apache2 or the mail sink: ``active``, ``inactive``, ``failed`` …"""
    addresses: dict[str, tuple[str, ...]]
    """IPv4 addresses with prefix length, by interface."""
    vrrp: str | None = None
    """Directors: ``MASTER``, ``BACKUP``, ``FAULT`` or ``STOP``."""
    table: tuple[outputs.VirtualService, ...] = ()
    """Directors: the IPVS table."""
    arp: dict[str, int] | None = None
    """Web servers: ``<interface>/arp_ignore`` and ``<interface>/arp_announce``."""

    def holds(self, address: str, interface: str = "eth0") -> bool:
        """Whether ``address`` is configured on ``interface``."""
        return any(own.split("/")[0] == address for own in self.addresses.get(interface, ()))

    def effective_arp(self, setting: str, interface: str = "eth0") -> int:
        """What the kernel uses of ``arp_ignore`` or ``arp_announce``: the larger of two values.

        Those of ``all`` and of the interface: kernel document networking/ip-sysctl.
        """
        values = self.arp or {}
        return max(values.get(f"all/{setting}", 0), values.get(f"{interface}/{setting}", 0))

    def service_table(self, inventory: Inventory) -> outputs.VirtualService | None:
        """The lab's virtual server in the IPVS table."""
        return outputs.service_at(self.table, inventory.vip, inventory.port)


async def ask(guests: Guests, machine: InventoryMachine) -> Facts:
    """Ask ``machine`` for its facts.

    Raises:
        UnreachableError: it does not answer.
    """
    return understand(machine, (await guests.run(machine.name, script(machine))).stdout)


def script(machine: InventoryMachine) -> str:
    """What asks ``machine`` for its facts."""
    return _COMMON.format(unit=UNITS[machine.role]) + _ROLES[machine.role] + "\nexit 0\n"


def understand(machine: InventoryMachine, text: str) -> Facts:
    """Facts from what the script printed."""
    part = outputs.sections(text)
    states = [state for line in part.get("vrrp", "").splitlines() if (state := outputs.vrrp_state(line))]
    return Facts(
        name=machine.name,
        role=machine.role,
        uptime=_number(part.get("uptime", "")),
        service=part.get("unit", "").strip() or "unknown",
        addresses=outputs.addresses(part.get("addresses", "")),
        vrrp=states[-1] if states else None,
        table=outputs.ipvs_table(part.get("ipvs", "")),
        arp=_arp(part["arp"]) if "arp" in part else None,
    )


def _number(text: str) -> float:
    try:
        return float(text.strip())
    except ValueError:
        return 0.0


def _arp(text: str) -> dict[str, int]:
    rows = (line.split(":") for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def dr_fault(facts: Facts, vip: str) -> str | None:
    """Which Direct Routing setting of a web server is wrong; ``None`` if all are right."""
    on_lo = facts.addresses.get("lo", ())
    if f"{vip}/32" not in on_lo:
        wrong = [address for address in on_lo if address.split("/")[0] == vip]
        return f"{wrong[0]} on lo, not /32" if wrong else f"{vip}/32 is not on lo"
    for setting, needed in (("arp_ignore", 1), ("arp_announce", 2)):
        value = facts.effective_arp(setting)
        if value != needed:
            return f"{setting} is {value}, not {needed}"
    if facts.holds(vip):
        return f"{vip} is on eth0 too"
    return None
