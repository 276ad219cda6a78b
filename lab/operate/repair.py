"""Putting a lab back to what it was built as, whatever was done to it."""

import asyncio
from collections.abc import Callable

from lab.errors import LabError
from lab.inventory import Inventory, InventoryMachine
from lab.operate import facts as telling
from lab.operate.checks import CHECKS, Examination, Outcome, Result, examine
from lab.operate.checks.state import CLOCK_LIMIT
from lab.operate.facts import Facts
from lab.operate.faults import TABLE, until_up
from lab.operate.guests import Guests
from lab.operate.outputs import DIRECT_ROUTING, VirtualService
from lab.operate.running import RunningLab
from lab.say import Say
from lab.topology import Role

# Checks that need no traffic: what a drill must leave as it found it.
STATE = tuple(check for check in CHECKS if not check.traffic)

_ALL = f"""
nft delete table {TABLE} 2>/dev/null
tc qdisc del dev eth0 root 2>/dev/null
rm -rf /var/lib/lvs-dr-lab/aside*
"""
# What was pushed last is pushed again by the machine itself; it starts what it reloads.
_PUSH = "sh /var/lib/lvs-dr-lab/push.sh\n"
# Only if it is masked: systemd reads all its units again for it.
_DIRECTOR = "[ ! -L /etc/systemd/system/keepalived.service ] || systemctl unmask -q keepalived"
_SERVER = """
systemctl kill -s CONT apache2 2>/dev/null
for interface in lo eth0; do
    echo 0 > /proc/sys/net/ipv4/conf/$interface/arp_ignore
    echo 0 > /proc/sys/net/ipv4/conf/$interface/arp_announce
done
ip -4 -oneline address show dev eth0 | awk -v vip={vip} 'index($4, vip "/") == 1 {{ print $4 }}' |
    xargs -r -I@ ip address del @ dev eth0
systemctl start apache2
"""
_CLIENT = "systemctl start mail-sink\nip neighbour del {vip} dev eth0 2>/dev/null"
_ROLES = {
    Role.DIRECTOR: _DIRECTOR,
    Role.REAL_SERVER: _SERVER,
    Role.SORRY_SERVER: _SERVER,
    Role.CLIENT: _CLIENT,
}
# How often a clock is asked until it is right, and seconds until that is tried again on a busy machine.
_CLOCK_LOOKS = 10
_CLOCK_AGAIN = 2.0


async def repair(lab: RunningLab, guests: Guests, say: Say) -> list[Result]:
    """Switch on, clean and configure every machine, then check; changes nothing that is right already.

    Returns:
        What `lab check` says of the state afterwards.

    Raises:
        LabError: a machine cannot be brought back; names it.
    """
    await asyncio.gather(*(_power(lab, guests, machine, say) for machine in lab.inventory.machines))
    await asyncio.gather(*(right_clock(guests, machine.name) for machine in lab.inventory.machines))
    done = await guests.on_each(
        [machine.name for machine in lab.inventory.machines],
        lambda name: _run_on(guests, name, _tidying(lab.inventory, name) + _PUSH),
    )
    for error in done.values():
        if isinstance(error, LabError):
            raise error
    await guests.on_each(
        [director.name for director in lab.inventory.directors],
        lambda name: _right_table(guests, lab.inventory.machine(name), say),
    )
    return await verify(guests)


async def tidy(guests: Guests) -> None:
    """Take away what exercises leave and no check looks at, wherever a machine can be reached."""
    await guests.on_each(
        [machine.name for machine in guests.inventory.machines],
        lambda name: _run_on(guests, name, _tidying(guests.inventory, name)),
    )


async def make_whole(lab: RunningLab, guests: Guests, say: Say) -> list[Result]:
    """Repair the lab if a check of its state does not hold.

    Returns:
        What does not hold even so.

    Raises:
        LabError: a machine cannot be brought back; names it.
    """
    if not await verify(guests):
        return []
    say("not yet as it was: repairing every machine")
    return await repair(lab, guests, say)


async def verify(guests: Guests, report: Callable[[Result], None] = lambda _: None) -> list[Result]:
    """The checks of the lab's state that do not hold, after their deadlines."""
    results = await examine(Examination(guests), STATE, report)
    return [result for result in results if result.verdict.outcome is not Outcome.PASSED]


async def refuse_unhealthy(guests: Guests) -> None:
    """Refuse to break what is broken already.

    Raises:
        LabError: a check of the state does not hold; says which, and what to do.
    """
    if wrong := await verify(guests):
        raise LabError(
            f"the lab is not healthy: {wrong[0].in_words()}.\n"
            "    `lab check` says all that is wrong, `lab repair` puts it right."
        )


async def _power(lab: RunningLab, guests: Guests, machine: InventoryMachine, say: Say) -> None:
    state = (await lab.virsh("domstate", machine.domain)).strip()
    if state == "paused":
        say(f"resuming {machine.name}")
        await lab.virsh("resume", machine.domain)
    elif state != "running":
        say(f"switching {machine.name} on")
        await lab.virsh("start", machine.domain)
        await until_up(guests, machine.name)
    await lab.virsh("domif-setlink", machine.domain, machine.mac, "up")


async def right_clock(guests: Guests, machine: str) -> None:
    """Set a machine's clock by this computer's, unless it surely is within half of what `lab check` allows.

    While machines boot beside it, it may take seconds to answer, and how late it is cannot be told: then it
    is asked again a moment later. A machine that never answers fast enough keeps the clock that it has.

    Raises:
        LabError: the machine cannot be reached.
    """
    for _ in range(_CLOCK_LOOKS):
        ahead, doubt = await guests.clock_ahead(machine, CLOCK_LIMIT / 4)
        if abs(ahead) + doubt < CLOCK_LIMIT / 2:
            return
        if abs(ahead) > doubt:
            # By how much, not to when: the command may be slow to arrive.
            right = f"awk -v now=$EPOCHREALTIME 'BEGIN {{ printf \"%.3f\", now - {ahead:.3f} }}'"
            await guests.run(machine, f"date -s @$({right}) > /dev/null")
        else:
            await asyncio.sleep(_CLOCK_AGAIN)


def _tidying(inventory: Inventory, machine: str) -> str:
    return _ALL + _ROLES[inventory.machine(machine).role].format(vip=inventory.vip) + "\n"


async def _run_on(guests: Guests, machine: str, script: str) -> None:
    await guests.run(machine, "sh -s", stdin=script, timeout=180)


def _changed_by_hand(inventory: Inventory, table: VirtualService | None) -> bool:
    """Whether a table has what keepalived would not have put there.

    A server that is missing may just not have been seen again yet: that is keepalived's business.
    """
    due = {server.address: server.weight for server in inventory.real_servers}
    return (
        table is None
        or (table.scheduler, table.persistent) != (inventory.lb_algo, inventory.persistence_timeout)
        or any(
            (due.get(entry.address), DIRECT_ROUTING) != (entry.weight, entry.forwarding)
            for entry in table.destinations
        )
    )


async def _right_table(guests: Guests, director: InventoryMachine, say: Say) -> None:
    """Fill a table that was changed by hand: keepalived does that only when it starts."""
    told: Facts = await telling.ask(guests, director)
    if len(told.table) != 1 or _changed_by_hand(guests.inventory, told.service_table(guests.inventory)):
        say(f"starting keepalived afresh on {director.name}: its IPVS table was changed by hand")
        await guests.run(
            director.name, "systemctl stop keepalived; ipvsadm -C; systemctl start keepalived", timeout=90
        )
