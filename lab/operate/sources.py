"""Client addresses for requests that must not meet a persistence template."""

import random
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

from lab.inventory import Inventory
from lab.operate import outputs
from lab.operate.guests import Guests

# Seconds that a borrowed address stays on the client.
_BORROWED = 600
# Persistence templates outlive their table: `ipvsadm -C` keeps them with the servers, and a server that
# comes back has them again. They are forgotten only while a server is gone and the kernel is told to expire
# what belonged to it (ip_vs_expire_nodest_conn_flush in net/netfilter/ipvs/ip_vs_conn.c, since Linux 5.9).
FORGET = """
switch=/proc/sys/net/ipv4/vs/expire_nodest_conn
was=$(cat $switch)
table=$(ipvsadm -Sn | grep '^-a ')
put_back() { echo "$table" | ipvsadm -R; echo $was > $switch; }
trap put_back EXIT
echo 1 > $switch
echo "$table" | sed 's/^-a \\(.* -r [^ ]*\\).*/-d \\1/' | ipvsadm -R
for try in 1 2 3 4 5 6 7 8 9 10; do
    ipvsadm -Lcn | grep -q ':0 ' || break
    sleep 0.1
done
"""


async def newcomers(guests: Guests, count: int, *, directors: Iterable[str], spare: int = 0) -> list[str]:
    """Up to ``count`` client addresses that no director knows; the client has them when this returns.

    A segment has few hundred addresses and a template lasts for hours. When hardly any address is left, the
    directors forget all clients: whoever was pinned may meet another server then.

    Args:
        guests: how the machines are reached.
        count: how many are wanted.
        directors: which must not know them.
        spare: how many more must be left.

    Raises:
        LabError: a machine cannot be reached.
    """
    inventory = guests.inventory
    known = set().union(*[await pinned(guests, director) for director in directors])
    found = fresh_sources(inventory, known, count + spare)
    if len(found) < count + spare and known:
        await guests.on_each(directors, lambda name: guests.run(name, FORGET))
        known = set().union(*[await pinned(guests, director) for director in directors])
        found = fresh_sources(inventory, known, count)
    await borrow(guests, found[:count])
    return found[:count]


async def pinned(guests: Guests, director: str) -> set[str]:
    """The client addresses that ``director`` has a persistence template for."""
    if not guests.inventory.persistence_timeout:
        return set()
    return set(outputs.pinned_sources((await guests.run(director, "ipvsadm -Lcn")).stdout))


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
