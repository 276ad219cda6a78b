"""Looks at the state of the machines; none of them changes anything."""

import re

from lab.inventory import Inventory
from lab.operate import facts as telling
from lab.operate import outputs
from lab.operate.checks.base import Examination, Outcome, Verdict
from lab.operate.guests import Guests
from lab.topology import Role

# Seconds.
CLOCK_LIMIT = 1.0


async def reachable(examination: Examination, machine: str) -> Verdict:
    """Whether the machine answers by SSH."""
    told = await examination.facts(machine)
    return Verdict.of(holds=True, detail=f"up for {told.uptime:.0f} s")


async def service(examination: Examination, machine: str) -> Verdict:
    """Whether the service of the machine's role runs."""
    told = await examination.facts(machine)
    unit = telling.UNITS[examination.inventory.machine(machine).role]
    return Verdict.of(told.service == "active", f"{unit} is {told.service}")


async def vip_holder(examination: Examination, machine: str) -> Verdict:
    """Whether a director holds the VIP exactly if its priority is the highest."""
    told = await examination.facts(machine)
    due = examination.inventory.directors[0].name == machine
    has = told.holds(examination.inventory.vip)
    state = told.vrrp or "in no known state"
    if due == has:
        return Verdict(Outcome.PASSED, f"{'holds' if has else 'does not hold'} the VIP, {state}")
    if has:
        return Verdict(
            Outcome.FAILED, f"holds the VIP though another director has the higher priority, {state}"
        )
    return Verdict(Outcome.FAILED, f"has the highest priority and does not hold the VIP, {state}")


async def ipvs_table(examination: Examination, machine: str) -> Verdict:
    """Whether a director's IPVS table is the one that the topology asks for."""
    told = await examination.facts(machine)
    inventory = examination.inventory
    where = f"{inventory.vip}:{inventory.port}"
    table = told.service_table(inventory)
    if table is None:
        others = ", ".join(f"{other.address}:{other.port}" for other in told.table)
        return Verdict(Outcome.FAILED, f"no virtual server {where}, only {others or 'an empty table'}")
    wrong = _differences(inventory, table)
    if extra := [f"{one.address}:{one.port}" for one in told.table if one is not table]:
        wrong.append(f"a virtual server too many: {', '.join(extra)}")
    count = len(table.destinations)
    return Verdict.of(not wrong, "; ".join(wrong) or f"{where} {table.scheduler} to {count} servers")


def _differences(inventory: Inventory, table: outputs.VirtualService) -> list[str]:
    """Where an IPVS table is not what the lab was built with."""
    wrong = []
    names = {machine.address: machine.name for machine in inventory.machines}
    expected = {server.address: server.weight for server in inventory.real_servers}
    found = {entry.address: entry for entry in table.destinations}
    if table.scheduler != inventory.lb_algo:
        wrong.append(f"the scheduler is {table.scheduler}, not {inventory.lb_algo}")
    if table.persistent != inventory.persistence_timeout:
        wrong.append(f"persistence is {table.persistent} s, not {inventory.persistence_timeout} s")
    for address, weight in expected.items():
        entry = found.get(address)
        if entry is None:
            wrong.append(f"{names[address]} is not in it")
        elif entry.weight != weight:
            wrong.append(f"{names[address]} has weight {entry.weight}, not {weight}")
    for address, entry in found.items():
        if address not in expected:
            wrong.append(f"{names.get(address, address)} is in it")
        if entry.forwarding != outputs.DIRECT_ROUTING:
            wrong.append(
                f"{names.get(address, address)} is forwarded by {entry.forwarding}, "
                f"not {outputs.DIRECT_ROUTING}"
            )
        if entry.port != inventory.port:
            wrong.append(f"{names.get(address, address)} is asked on port {entry.port}")
    return wrong


async def dr_settings(examination: Examination, machine: str) -> Verdict:
    """Whether a web server is fit for Direct Routing now."""
    told = await examination.facts(machine)
    wrong = telling.dr_fault(told, examination.inventory.vip)
    return Verdict.of(
        wrong is None, wrong or f"{examination.inventory.vip}/32 on lo, arp_ignore 1, arp_announce 2"
    )


# What a reboot reads: all of sysctl.d(5) in its order, and who gives lo its addresses (systemd.network(5)).
_NEXT_BOOT = r"""
echo @@sysctl
/lib/systemd/systemd-sysctl --cat-config
echo @@lo
grep -lxE 'Name=lo' /etc/systemd/network/*.network /run/systemd/network/*.network 2>/dev/null |
    xargs -r grep -hE '^Address='
"""
# All files at once first: a program for each takes long on an emulated machine.
_DRIFT = r"""
cd /var/lib/lvs-dr-lab/rendered 2>/dev/null || { echo "@@none"; exit; }
files=$(find . -type f)
if [ "$(md5sum $files)" != "$(cd / && md5sum $files 2>/dev/null)" ]; then
    for file in $files; do
        own=${file#.}
        if [ -e "$own" ]; then
            diff -U0 "$file" "$own" > /tmp/lab-drift || { echo "@@$own"; cat /tmp/lab-drift; }
        else
            echo "@@$own"; echo "missing"
        fi
    done
    rm -f /tmp/lab-drift
fi
conf=/etc/keepalived/keepalived.conf
if [ -e "$conf" ]; then
    changed=$(stat -c %Y "$conf")
    told=$(systemctl show keepalived -p StateChangeTimestamp --value --timestamp=unix)
    [ "$changed" -le "${told#@}" ] || echo "@@unread"
fi
echo @@end
"""
_FILES = {Role.REAL_SERVER: _NEXT_BOOT + _DRIFT, Role.SORRY_SERVER: _NEXT_BOOT + _DRIFT}


async def _files(examination: Examination, machine: str) -> dict[str, str]:
    """What the files of a machine say, for both checks that look at them."""
    role = examination.inventory.machine(machine).role
    return outputs.sections(await examination.told(machine, _FILES.get(role, _DRIFT)))


async def dr_files(examination: Examination, machine: str) -> Verdict:
    """Whether it will be after a reboot."""
    part = await _files(examination, machine)
    settings = outputs.settings_of(part.get("sysctl", ""))
    for setting, needed in (("arp_ignore", "1"), ("arp_announce", "2")):
        key = f"net.ipv4.conf.all.{setting}"
        if settings.get(key) != needed:
            return Verdict(
                Outcome.FAILED, f"sysctl.d will set {key} to {settings.get(key, 'nothing')}, not {needed}"
            )
    if f"Address={examination.inventory.vip}/32" not in part.get("lo", "").split():
        return Verdict(Outcome.FAILED, f"no .network file gives {examination.inventory.vip}/32 to lo")
    return Verdict(Outcome.PASSED, "the same after a reboot")


async def arp_answers(guests: Guests) -> set[str]:
    """The hardware addresses that answer the client's ARP requests for the VIP."""
    inventory = guests.inventory
    client = inventory.client
    # It ends with 1 when nobody answers.
    answer = await guests.run(client.name, f"arping -c 2 -I eth0 {inventory.vip} 2>&1 || true")
    return outputs.answering_macs(answer.stdout)


async def arp(examination: Examination, _: str) -> Verdict:
    """Whether the director with the VIP, and nobody else, answers ARP for it."""
    inventory = examination.inventory
    names = {one.mac: one.name for one in inventory.machines}
    # First, since it takes longest; what the directors say afterwards is not older than the answers.
    macs = await arp_answers(examination.guests)
    holders = await examination.holders()
    due = {holder.mac for holder in holders}
    who = ", ".join(sorted(names.get(mac, mac) for mac in macs)) or "nobody"
    return Verdict.of(len(macs) == 1 and macs == due, f"{who} answers ARP for {inventory.vip}")


async def drift(examination: Examination, machine: str) -> Verdict:
    """Whether the files of a machine are as they were pushed, and read since."""
    parts = await _files(examination, machine)
    if "none" in parts:
        return Verdict(Outcome.FAILED, "nothing was ever pushed to it (or it was removed by hand)")
    if "end" not in parts:
        return Verdict(Outcome.FAILED, "its files cannot be compared")
    found = [drift_of(path, text) for path, text in parts.items() if path.startswith("/")]
    if "unread" in parts and not found:
        return Verdict(Outcome.FAILED, "keepalived.conf was written after keepalived read it last")
    return Verdict.of(not found, "; ".join(found) or "as it was rendered")


def drift_of(path: str, difference: str) -> str:
    """The first difference of a file from what was rendered, in words; passwords are not shown.

    Args:
        path: of the file.
        difference: ``diff -U0 RENDERED FILE``, or ``missing``.
    """
    if difference.strip() == "missing":
        return f"{path} is missing"
    lines = difference.splitlines()
    place = next((hunk for line in lines if (hunk := re.match(r"@@ -\d+(?:,\d+)? \+(\d+)", line))), None)
    removed = next((line[1:].strip() for line in lines if re.match(r"-(?!-- )", line)), None)
    added = next((line[1:].strip() for line in lines if re.match(r"\+(?!\+\+ )", line)), None)
    where = f"{path} line {place[1]}" if place else path
    if "auth_pass" in f"{removed} {added}":
        return f"{where}: another auth_pass than rendered"
    if added is None:
        return f"{where}: `{removed}` is gone"
    return f"{where}: `{added}`" + (f" instead of `{removed}`" if removed is not None else " was added")


async def mail(examination: Examination, machine: str) -> Verdict:
    """Whether a director finds the mail server by name, and it answers."""
    inventory = examination.inventory
    client = inventory.client
    name = inventory.smtp_server
    told = outputs.sections(
        await examination.told(
            machine,
            f"echo @@name; getent ahostsv4 {name}; echo @@greeting; timeout 5 bash -c "
            f"'exec 3<>/dev/tcp/{client.address}/25 && read -r line <&3 && echo \"$line\"' 2>&1",
        )
    )
    address = next(iter(told.get("name", "").split()), None)
    greeting = told.get("greeting", "")
    if address != client.address:
        return Verdict(
            Outcome.FAILED, f"{name} is {address or 'unknown'} there, not {client.name} ({client.address})"
        )
    greeted = greeting.startswith("220")
    return Verdict.of(
        greeted, f"{client.name} takes mail" if greeted else f"{client.name} does not answer on port 25"
    )


async def clock(examination: Examination, machine: str) -> Verdict:
    """Whether a machine's clock is within a second of this computer's."""
    ahead, doubt = await examination.clock_ahead(machine, CLOCK_LIMIT)
    return Verdict.of(
        abs(ahead) - doubt <= CLOCK_LIMIT, f"{ahead:+.1f} s from this computer, give or take {doubt:.1f}"
    )
