"""Client addresses for requests that must not meet a persistence template."""

import random
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

from lab.inventory import Inventory
from lab.operate.guests import Guests

# Seconds that a borrowed address stays on the client.
_BORROWED = 600


async def borrow(guests: Guests, sources: Sequence[str]) -> None:
    """Give the client the addresses of ``sources`` that are not its own, for ten minutes.

    They expire by themselves, so nothing is left behind even if this process is killed.
    """
    inventory = guests.inventory
    own = inventory.client_addresses
    length = IPv4Network(inventory.cidr).prefixlen
    added = [
        f"ip address replace {source}/{length} dev eth0 valid_lft {_BORROWED} preferred_lft 0"
        for source in sources
        if source not in own
    ]
    if added:
        await guests.run(inventory.client.name, "; ".join(added))


def fresh_sources(inventory: Inventory, pinned: Iterable[str], count: int) -> list[str]:
    """Up to ``count`` client addresses that no persistence template knows.

    The client's own first; then, where the segment is the lab's alone, addresses nobody has.
    """
    known = set(pinned)
    own = [address for address in inventory.client_addresses if address not in known]
    if not inventory.private or len(own) >= count:
        return own[:count]
    taken = {machine.address for machine in inventory.machines} | {inventory.vip, inventory.gateway}
    taken |= known | set(inventory.client_addresses)
    free = [str(host) for host in IPv4Network(inventory.cidr).hosts() if str(host) not in taken]
    return (own + random.sample(free, min(len(free), count - len(own))))[:count]
