"""Everything that a drill or a challenge does to a lab, each with the way back.

A fault is two commands, prepared before the first is run: what is written down of it is enough to take
it back from another terminal after this one died. Taking back twice does no harm.
"""

import asyncio
import shlex
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lab.errors import LabError
from lab.operate.guests import Guests
from lab.operate.running import RunningLab

CONF = "/etc/keepalived/keepalived.conf"
RENDERED = "/var/lib/lvs-dr-lab/rendered"
# The one nftables table that faults use, so that one command takes them all away.
TABLE = "inet lab_fault"

# Seconds an emulated machine may take from power on to SSH.
_BOOT = 300.0


class Fault(BaseModel):
    """One change to a machine and how it is taken back."""

    model_config = ConfigDict(frozen=True)

    machine: str
    title: str
    """What is wrong then, as trainees may read it."""
    do: str
    undo: str
    by: Literal["ssh", "virsh"] = "ssh"
    """``ssh``: shell commands on the machine. ``virsh``: arguments for the hypervisor."""
    undo_by: Literal["ssh", "virsh", ""] = ""
    """The same for the way back, where it differs."""
    stdin: str = ""
    boots: bool = False
    """Whether taking it back boots the machine, which must then be waited for."""


async def inject(lab: RunningLab, guests: Guests, fault: Fault) -> None:
    """Make the fault real.

    Raises:
        LabError: the machine or the hypervisor did not do it.
    """
    if fault.by == "virsh":
        await lab.virsh(*shlex.split(fault.do))
        await guests.forget(fault.machine)
    else:
        await guests.run(fault.machine, fault.do, stdin=fault.stdin, timeout=60)


async def take_back(lab: RunningLab, guests: Guests, fault: Fault) -> None:
    """Undo the fault, and wait for a machine that boots because of it.

    Raises:
        LabError: it could not be undone.
    """
    if (fault.undo_by or fault.by) == "virsh":
        if not await _is_back(lab, guests, fault):
            await lab.virsh(*shlex.split(fault.undo))
        if fault.boots:
            await until_up(guests, fault.machine)
    else:
        await guests.run(fault.machine, fault.undo, timeout=90)


async def _is_back(lab: RunningLab, guests: Guests, fault: Fault) -> bool:
    """Whether somebody has mended already what the hypervisor would: a boot takes a minute."""
    match fault.undo.split()[0]:
        case "start":
            return await is_running(lab, fault.machine)
        case "reset":
            await guests.forget(fault.machine)
            try:
                await guests.connect(fault.machine)
            except LabError:
                return False
            return True
        case _:
            return False


async def is_running(lab: RunningLab, machine: str) -> bool:
    """Whether the hypervisor runs the machine."""
    state = await lab.virsh("domstate", lab.machine(machine).domain)
    return state.strip() == "running"


async def until_up(guests: Guests, machine: str) -> None:
    """Wait until a machine that was switched on can be used again.

    Raises:
        LabError: not within five minutes.
    """
    deadline = asyncio.get_running_loop().time() + _BOOT
    while True:
        await guests.forget(machine)
        try:
            # systemd says when everything that belongs to the boot has been started, well or badly.
            await guests.run(machine, "systemctl is-system-running --wait || true", timeout=_BOOT)
        except LabError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise LabError(f"{machine} did not come back within {_BOOT:.0f} s: {error}") from None
            await asyncio.sleep(1)
        else:
            return


def service_stopped(machine: str, unit: str) -> Fault:
    """A service ended the orderly way."""
    return Fault(
        machine=machine,
        title=f"{unit} is stopped on {machine}",
        do=f"systemctl stop {unit}",
        undo=f"systemctl start {unit}",
    )


def apache_hangs(machine: str) -> Fault:
    """Every process of apache2 stands still; the kernel goes on accepting connections for it."""
    return Fault(
        machine=machine,
        title=f"apache2 hangs on {machine}",
        do="pkill -STOP apache2",
        undo="pkill -CONT apache2 || true",
    )


def power_cut(lab: RunningLab, machine: str) -> Fault:
    """The machine is off from one moment to the next."""
    domain = shlex.quote(lab.machine(machine).domain)
    return Fault(
        machine=machine,
        title=f"{machine} has lost its power",
        by="virsh",
        do=f"destroy {domain}",
        undo=f"start {domain}",
        boots=True,
    )


def cable_pulled(lab: RunningLab, machine: str) -> Fault:
    """The machine's link goes down, and the machine sees it."""
    found = lab.machine(machine)
    link = f"domif-setlink {shlex.quote(found.domain)} {found.mac}"
    return Fault(
        machine=machine,
        title=f"the cable of {machine} is out",
        by="virsh",
        do=f"{link} down",
        undo=f"{link} up",
    )


def address_removed(machine: str, address: str, device: str = "lo") -> Fault:
    """An address with its prefix length is taken from an interface."""
    return Fault(
        machine=machine,
        title=f"{address} is missing on {device} of {machine}",
        do=f"ip address del {address} dev {device}",
        undo=f"ip address replace {address} dev {device}",
    )


def address_widened(machine: str, vip: str, length: int) -> Fault:
    """The VIP stands on lo with the prefix length of the whole segment."""
    return Fault(
        machine=machine,
        title=f"{vip}/{length} instead of /32 on lo of {machine}",
        do=f"ip address del {vip}/32 dev lo && ip address add {vip}/{length} dev lo",
        undo=f"ip address del {vip}/{length} dev lo; ip address replace {vip}/32 dev lo",
    )


def sysctls(machine: str, values: dict[str, str], before: dict[str, str]) -> Fault:
    """Kernel settings with other values; ``before`` are those to go back to."""

    def command(wanted: dict[str, str]) -> str:
        return "sysctl -q -w " + " ".join(f"{key}={value}" for key, value in wanted.items())

    said = ", ".join(f"{key} = {value}" for key, value in values.items())
    return Fault(machine=machine, title=f"{said} on {machine}", do=command(values), undo=command(before))


def packets_dropped(machine: str, hook: str, match: str, what: str) -> Fault:
    """A firewall of the machine drops packets silently.

    Args:
        machine: its name.
        hook: ``input`` or ``output``.
        match: in the words of nft(8), for example ``tcp dport 80``.
        what: the same for trainees.
    """
    chain = f"chain {hook} {{\n type filter hook {hook} priority -150;\n {match} drop;\n}}"
    return Fault(
        machine=machine,
        title=f"{machine} drops {what}",
        do="nft -f -",
        stdin=f"table {TABLE} {{\n{chain}\n}}\n",
        undo=f"nft delete table {TABLE} 2>/dev/null || true",
    )


async def conf_edited(
    guests: Guests,
    machine: str,
    title: str,
    edit: Callable[[str], str],
    *,
    then: Literal["reload", "restart"] = "reload",
) -> Fault:
    """keepalived.conf as ``edit`` makes it of what is there, put in force by ``then``.

    Raises:
        LabError: the edit changes nothing, or the file cannot be read.
    """
    before = (await guests.run(machine, f"cat {CONF}")).stdout
    after = edit(before)
    if after == before:
        raise LabError(f"{machine}: {CONF} is not as this expects it; `lab check drift` says what differs.")
    # The new file appears whole, and before the reload: `lab check` compares the times.
    switch = f"mv -f {CONF}.drill {CONF} && systemctl {then} keepalived"
    return Fault(
        machine=machine,
        title=title,
        do=f"cat > {CONF}.drill && chmod 0640 {CONF}.drill && {switch}",
        undo=f"cp {RENDERED}{CONF} {CONF}.drill && chmod 0640 {CONF}.drill && {switch}",
        stdin=after,
    )


def file_written(machine: str, path: str, text: str, title: str, then: str = "true") -> Fault:
    """A file with other contents, and a command that puts it in force; the old file is kept aside."""
    place = shlex.quote(path)
    aside = shlex.quote(f"/var/lib/lvs-dr-lab/aside{path.replace('/', '_')}")
    return Fault(
        machine=machine,
        title=title,
        do=f"{{ [ -e {aside} ] || cp -a {place} {aside} 2>/dev/null || true; }}; cat > {place} && {then}",
        undo=f"if [ -e {aside} ]; then mv -f {aside} {place}; fi; {then}",
        stdin=text,
    )
