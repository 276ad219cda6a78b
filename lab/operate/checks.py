"""The lab's acceptance: named checks, each asked again until it holds or its deadline is over.

A check says what it looks at, on which machines, and what to look at when it fails. It changes nothing:
the traffic it needs comes from addresses that no persistence template knows yet, which expire from the
client by themselves.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network

from lab.errors import LabError
from lab.inventory import Inventory, InventoryMachine
from lab.operate import facts as telling
from lab.operate import outputs
from lab.operate.facts import Facts
from lab.operate.guests import Answer, Guests, UnreachableError
from lab.operate.recording import Request
from lab.operate.traffic import ask_one_by_one
from lab.topology import Role

# Seconds between two looks at the same thing, and how long what a machine said stays fresh.
_PAUSE = 1.0
_FRESH = 0.8
# Seconds an address that a check borrows stays on the client.
_BORROWED = 600
# Requests of one experiment at most: an emulated client needs some 50 ms for each.
_MOST_REQUESTS = 48
_CLOCK_LIMIT = 1.0


class Outcome(StrEnum):
    """How a check ended on one machine."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It could not be looked at; why is in the detail, and another check has failed for it."""


@dataclass(frozen=True)
class Verdict:
    """What one look at one machine gave."""

    outcome: Outcome
    detail: str

    @classmethod
    def of(cls, holds: bool, detail: str) -> "Verdict":
        """Passed or failed."""
        return cls(Outcome.PASSED if holds else Outcome.FAILED, detail)


@dataclass(frozen=True)
class Result:
    """A check settled on one machine."""

    check: "Check"
    machine: str
    verdict: Verdict
    seconds: float


class Examination:
    """One run of checks over a lab: what the machines said is asked once and shared."""

    def __init__(self, guests: Guests) -> None:
        self.guests = guests
        self.inventory = guests.inventory
        self._facts: dict[str, tuple[float, Facts]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._experiment: asyncio.Task[Experiment] | None = None

    async def facts(self, name: str) -> Facts:
        """What machine ``name`` says of itself, less than a second old."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            known = self._facts.get(name)
            if known and time.monotonic() - known[0] < _FRESH:
                return known[1]
            told = await telling.ask(self.guests, self.inventory.machine(name))
            self._facts[name] = (time.monotonic(), told)
            return told

    async def run(self, machine: str, command: str, *, check: bool = True) -> Answer:
        """Run a command on a machine."""
        return await self.guests.run(machine, command, check=check)

    async def holders(self) -> list[InventoryMachine]:
        """The reachable directors that hold the VIP."""
        directors = self.inventory.by_role(Role.DIRECTOR)
        told = await self.guests.on_each([director.name for director in directors], self.facts)
        return [
            director
            for director in directors
            if isinstance(known := told[director.name], Facts) and known.holds(self.inventory.vip)
        ]

    async def experiment(self) -> "Experiment":
        """Requests to the VIP from fresh addresses, made once for all checks that judge them."""
        if self._experiment is None:
            self._experiment = asyncio.create_task(_experiment(self))
        return await asyncio.shield(self._experiment)


Look = Callable[[Examination, str], Awaitable[Verdict]]


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    name: str
    says: str
    """What holds when it passes, as a sentence."""
    hint: str
    """What to look at when it fails."""
    on: Callable[[Inventory], Sequence[str]]
    """The machines it is asked of."""
    look: Look = field(repr=False)
    within: float = 10.0
    """Seconds it may take to come true."""
    traffic: bool = False
    """Whether it judges the experiment, which is made when all else has settled."""


async def examine(
    examination: Examination, checks: Iterable[Check], report: Callable[[Result], None]
) -> list[Result]:
    """Run ``checks``; each result is reported when it settles.

    State is looked at on all machines side by side, and only then is traffic sent: while the lab is
    still settling it would show nothing.
    """
    chosen = list(checks)
    results: list[Result] = []

    async def settle(check: Check, machine: str) -> None:
        result = await _settle(examination, check, machine)
        results.append(result)
        report(result)

    for traffic in (False, True):
        await asyncio.gather(
            *(
                settle(check, machine)
                for check in chosen
                if check.traffic is traffic
                for machine in check.on(examination.inventory)
            )
        )
    return results


async def _settle(examination: Examination, check: Check, machine: str) -> Result:
    begun = time.monotonic()
    while True:
        try:
            verdict = await check.look(examination, machine)
        except UnreachableError as error:
            verdict = Verdict(
                Outcome.FAILED if check.name == "reachable" else Outcome.UNKNOWN, str(error).rstrip(".")
            )
        except LabError as error:
            verdict = Verdict(Outcome.FAILED, str(error).rstrip("."))
        seconds = time.monotonic() - begun
        if verdict.outcome is Outcome.PASSED or seconds + _PAUSE > check.within:
            return Result(check, machine, verdict, seconds)
        await asyncio.sleep(_PAUSE)


def _roles(*roles: Role) -> Callable[[Inventory], Sequence[str]]:
    def names(inventory: Inventory) -> list[str]:
        return [machine.name for machine in inventory.machines if machine.role in roles]

    return names


def _everywhere(inventory: Inventory) -> list[str]:
    return [machine.name for machine in inventory.machines]


async def _reachable(examination: Examination, machine: str) -> Verdict:
    told = await examination.facts(machine)
    return Verdict.of(holds=True, detail=f"up for {told.uptime:.0f} s")


async def _service(examination: Examination, machine: str) -> Verdict:
    told = await examination.facts(machine)
    unit = telling.UNITS[examination.inventory.machine(machine).role]
    return Verdict.of(told.service == "active", f"{unit} is {told.service}")


async def _vip_holder(examination: Examination, machine: str) -> Verdict:
    told = await examination.facts(machine)
    directors = examination.inventory.by_role(Role.DIRECTOR)
    highest = max(director.priority or 0 for director in directors)
    due = examination.inventory.machine(machine).priority == highest
    has = told.holds(examination.inventory.vip)
    state = told.vrrp or "in no known state"
    if due == has:
        return Verdict(Outcome.PASSED, f"{'holds' if has else 'does not hold'} the VIP, {state}")
    if has:
        return Verdict(
            Outcome.FAILED, f"holds the VIP though another director has the higher priority, {state}"
        )
    return Verdict(Outcome.FAILED, f"has the highest priority and does not hold the VIP, {state}")


async def _ipvs_table(examination: Examination, machine: str) -> Verdict:
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
    expected = {server.address: server.weight for server in inventory.by_role(Role.REAL_SERVER)}
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
        if entry.forwarding != "Route":
            wrong.append(f"{names.get(address, address)} is forwarded by {entry.forwarding}, not Route")
        if entry.port != inventory.port:
            wrong.append(f"{names.get(address, address)} is asked on port {entry.port}")
    return wrong


async def _dr_settings(examination: Examination, machine: str) -> Verdict:
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
exit 0
"""


async def _dr_files(examination: Examination, machine: str) -> Verdict:
    answer = await examination.run(machine, _NEXT_BOOT)
    part = outputs.sections(answer.stdout)
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
    client = inventory.by_role(Role.CLIENT)[0]
    # It ends with 1 when nobody answers.
    answer = await guests.run(client.name, f"arping -c 3 -I eth0 {inventory.vip} 2>&1 || true")
    return outputs.answering_macs(answer.stdout)


async def _arp(examination: Examination, _: str) -> Verdict:
    inventory = examination.inventory
    names = {one.mac: one.name for one in inventory.machines}
    holders = await examination.holders()
    macs = await arp_answers(examination.guests)
    due = {holder.mac for holder in holders}
    who = ", ".join(sorted(names.get(mac, mac) for mac in macs)) or "nobody"
    return Verdict.of(len(macs) == 1 and macs == due, f"{who} answers ARP for {inventory.vip}")


_DRIFT = r"""
cd /var/lib/lvs-dr-lab/rendered 2>/dev/null || { echo "@@none"; exit 0; }
find . -type f | while read -r file; do
    own=${file#.}
    if [ -e "$own" ]; then diff -U0 "$file" "$own" > /tmp/lab-drift || { echo "@@$own"; cat /tmp/lab-drift; }
    else echo "@@$own"; echo "missing"; fi
done
rm -f /tmp/lab-drift
conf=/etc/keepalived/keepalived.conf
if [ -e "$conf" ]; then
    changed=$(stat -c %Y "$conf")
    told=$(systemctl show keepalived -p StateChangeTimestamp --value --timestamp=unix)
    [ "$changed" -le "${told#@}" ] || echo "@@unread"
fi
exit 0
"""


async def _drift(examination: Examination, machine: str) -> Verdict:
    answer = await examination.run(machine, _DRIFT)
    parts = outputs.sections(answer.stdout)
    if "none" in parts:
        return Verdict(Outcome.FAILED, "nothing was ever pushed to it (or it was removed by hand)")
    if "unread" in parts and len(parts) == 1:
        return Verdict(Outcome.FAILED, "keepalived.conf was written after keepalived read it last")
    found = [drift_of(path, text) for path, text in parts.items() if path != "unread"]
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


async def _mail(examination: Examination, machine: str) -> Verdict:
    inventory = examination.inventory
    client = inventory.by_role(Role.CLIENT)[0]
    name = inventory.smtp_server
    answer = await examination.run(
        machine,
        f"getent ahostsv4 {name} | cut -d' ' -f1 | head -n 1; "
        f"timeout 5 bash -c 'exec 3<>/dev/tcp/{client.address}/25 && head -n 1 <&3' 2>&1 || true",
    )
    address, _, greeting = answer.stdout.partition("\n")
    if address != client.address:
        return Verdict(
            Outcome.FAILED, f"{name} is {address or 'unknown'} there, not {client.name} ({client.address})"
        )
    greeted = greeting.startswith("220")
    return Verdict.of(
        greeted, f"{client.name} takes mail" if greeted else f"{client.name} does not answer on port 25"
    )


async def _clock(examination: Examination, machine: str) -> Verdict:
    # The first question opens the connection, which would blur the answer.
    await examination.guests.connect(machine)
    before = time.time()
    answer = await examination.run(machine, "date +%s.%N")
    doubt = (time.time() - before) / 2
    ahead = float(answer.stdout) - before - doubt
    return Verdict.of(
        abs(ahead) - doubt <= _CLOCK_LIMIT, f"{ahead:+.1f} s from this computer, give or take {doubt:.1f}"
    )


@dataclass(frozen=True)
class Experiment:
    """Requests from addresses without a past, each address twice, and the master's counters after them."""

    requests: tuple[Request, ...]
    master: str | None
    counters: dict[str, outputs.Traffic]
    why_not: str | None = None
    """Why no requests could be made."""

    @property
    def by_source(self) -> dict[str, list[str]]:
        """Servers that answered each source, in order; ``-`` for no answer."""
        found: dict[str, list[str]] = {}
        for request in self.requests:
            found.setdefault(request.source, []).append(request.server or "-")
        return found


async def _experiment(examination: Examination) -> Experiment:
    inventory = examination.inventory
    holders = await examination.holders()
    if len(holders) != 1:
        who = " and ".join(holder.name for holder in holders) or "no director"
        return Experiment((), None, {}, why_not=f"{who} holds the VIP")
    master = holders[0].name
    listed = await examination.run(master, "ipvsadm -Lcn")
    pinned = outputs.pinned_sources(listed.stdout) if inventory.persistence_timeout else {}
    wanted = sources_needed(inventory)
    sources = fresh_sources(inventory, pinned, wanted)
    if len(sources) < wanted:
        return Experiment(
            (),
            master,
            {},
            why_not=(
                f"all but {len(sources)} addresses of the segment are pinned by persistence; "
                f"restarting keepalived does not free them, {inventory.persistence_timeout} s of patience do"
            ),
        )
    await borrow(examination.guests, sources)
    twice = await ask_one_by_one(examination.guests, sources, 2 * len(sources))
    stats = await examination.run(master, "ipvsadm -Ln --stats --exact")
    return Experiment(tuple(twice), master, outputs.ipvs_traffic(stats.stdout))


async def borrow(guests: Guests, sources: Sequence[str]) -> None:
    """Give the client the addresses of ``sources`` that are not its own, for ten minutes.

    They expire by themselves, so nothing is left behind even if this process is killed.
    """
    inventory = guests.inventory
    client = inventory.by_role(Role.CLIENT)[0]
    own = {client.address, *client.extra_addresses}
    length = IPv4Network(inventory.cidr).prefixlen
    added = [
        f"ip address replace {source}/{length} dev eth0 valid_lft {_BORROWED} preferred_lft 0"
        for source in sources
        if source not in own
    ]
    if added:
        await guests.run(client.name, "; ".join(added))


def sources_needed(inventory: Inventory) -> int:
    """How many sources show a fair share: two turns of the scheduler, within what an experiment may take."""
    turn = sum(server.weight or 0 for server in inventory.by_role(Role.REAL_SERVER))
    return max(2, min(2 * turn, _MOST_REQUESTS // 2))


def fresh_sources(inventory: Inventory, pinned: Iterable[str], count: int) -> list[str]:
    """Up to ``count`` client addresses that no persistence template knows.

    The client's own first; then, where the segment is the lab's alone, addresses nobody has.
    """
    client = inventory.by_role(Role.CLIENT)[0]
    known = set(pinned)
    own = [address for address in (client.address, *client.extra_addresses) if address not in known]
    if not inventory.private or len(own) >= count:
        return own[:count]
    taken = {machine.address for machine in inventory.machines} | {inventory.vip, inventory.gateway}
    taken |= known | set(client.extra_addresses)
    free = [str(host) for host in IPv4Network(inventory.cidr).hosts() if str(host) not in taken]
    return (own + random.sample(free, min(len(free), count - len(own))))[:count]


def _judged(judge: Callable[[Inventory, Experiment, str], Verdict]) -> Look:
    async def look(examination: Examination, machine: str) -> Verdict:
        made = await examination.experiment()
        if made.why_not:
            return Verdict(Outcome.UNKNOWN, f"no traffic sent: {made.why_not}")
        return judge(examination.inventory, made, machine)

    return look


def _answers(inventory: Inventory, made: Experiment, machine: str) -> Verdict:
    count = sum(request.server == machine for request in made.requests)
    total = len(made.requests)
    if inventory.machine(machine).weight == 0:
        return Verdict.of(count == 0, f"{count} of {total} answers, its weight is 0")
    return Verdict.of(count > 0, f"{count} of {total} answers")


def _no_failures(_: Inventory, made: Experiment, __: str) -> Verdict:
    failed = Counter(request.error for request in made.requests if request.server is None)
    said = ", ".join(f"{count} x {error}" for error, count in failed.items())
    return Verdict.of(not failed, said or f"{len(made.requests)} requests, {len(made.requests)} answers")


def _distribution(inventory: Inventory, made: Experiment, _: str) -> Verdict:
    first = Counter(servers[0] for servers in made.by_source.values() if servers[0] != "-")
    shares = expected_shares(inventory, len(made.by_source))
    said = ", ".join(f"{name} {first.get(name, 0)}" for name in shares)
    if inventory.lb_algo not in ("rr", "wrr"):
        return Verdict(Outcome.PASSED, f"{said}; {inventory.lb_algo} promises no share")
    off = [name for name, share in shares.items() if abs(first.get(name, 0) - share) > 1]
    return Verdict.of(not off, f"{len(made.by_source)} sources: {said}")


def expected_shares(inventory: Inventory, sources: int) -> dict[str, float]:
    """New clients each real server should get of ``sources``: even for rr, by weight for wrr."""
    servers = inventory.by_role(Role.REAL_SERVER)
    weights = {
        server.name: (float(bool(server.weight)) if inventory.lb_algo == "rr" else float(server.weight or 0))
        for server in servers
    }
    total = sum(weights.values()) or 1.0
    return {name: sources * weight / total for name, weight in weights.items()}


def _persistence(inventory: Inventory, made: Experiment, _: str) -> Verdict:
    answered = {source: servers for source, servers in made.by_source.items() if "-" not in servers}
    moved = [source for source, servers in answered.items() if len(set(servers)) > 1]
    if not inventory.persistence_timeout:
        return Verdict(Outcome.PASSED, "off: nothing is pinned")
    if not answered:
        return Verdict(Outcome.UNKNOWN, "no address was answered twice")
    said = f"{moved[0]} went to {' and then '.join(made.by_source[moved[0]])}" if moved else ""
    return Verdict.of(not moved, said or f"{len(answered)} sources stayed with their server")


def _direct_return(inventory: Inventory, made: Experiment, _: str) -> Verdict:
    seen = made.counters.get(f"{inventory.vip}:{inventory.port}")
    if seen is None or not seen.in_packets:
        return Verdict(
            Outcome.FAILED, f"{made.master} counted no packet for the VIP: clients reach servers past it"
        )
    return Verdict.of(
        seen.out_packets == 0,
        f"{made.master} forwarded {seen.in_packets} packets, {seen.out_packets} came back",
    )


def _client(inventory: Inventory) -> list[str]:
    return [inventory.by_role(Role.CLIENT)[0].name]


_WEB = _roles(Role.REAL_SERVER, Role.SORRY_SERVER)
_DIRECTORS = _roles(Role.DIRECTOR)

CHECKS: tuple[Check, ...] = (
    Check(
        "reachable",
        "Every machine answers by SSH.",
        "`lab console NAME` shows what it does; `make up` starts a machine that is off.",
        _everywhere,
        _reachable,
    ),
    Check(
        "services",
        "keepalived, apache2 and the mail sink run.",
        "`systemctl status` and `journalctl -u` of that service, on that machine.",
        _everywhere,
        _service,
    ),
    Check(
        "vip-holder",
        "The VIP is on one director, the one with the highest priority.",
        "`journalctl -u keepalived` on the directors; do they hear each other (`tcpdump -ni eth0 vrrp`)?",
        _DIRECTORS,
        _vip_holder,
        within=20,
    ),
    Check(
        "ipvs-table",
        "The IPVS table of every director is the lab's.",
        "`ipvsadm -Ln` there; `journalctl -u keepalived` says why a server was taken out.",
        _DIRECTORS,
        _ipvs_table,
        within=30,
    ),
    Check(
        "dr-settings",
        "Every web server has the VIP as /32 on lo and keeps quiet about it by ARP.",
        "`ip address show lo` and `sysctl -a | grep -e arp_ignore -e arp_announce` there.",
        _WEB,
        _dr_settings,
        within=5,
    ),
    Check(
        "dr-files",
        "A reboot of a web server brings the same settings back.",
        "/etc/sysctl.d and /etc/systemd/network there.",
        _WEB,
        _dr_files,
        within=3,
    ),
    Check(
        "arp",
        "Only the director with the VIP answers ARP for it.",
        "`arping -c 3 -I eth0 VIP` on the client shows hardware addresses; they end like the IP addresses.",
        _client,
        _arp,
        within=15,
    ),
    Check(
        "drift",
        "The configuration of every machine is what was rendered.",
        "The file and line it names; `lab repair` puts it back.",
        _everywhere,
        _drift,
        within=3,
    ),
    Check(
        "mail",
        "The directors know the mail server by name without DNS, and it answers.",
        "/etc/hosts of the director; `systemctl status mail-sink` on the client.",
        _DIRECTORS,
        _mail,
    ),
    Check(
        "clocks",
        "No clock is more than a second off.",
        "`timedatectl` there; a machine that was paused or starved is late.",
        _everywhere,
        _clock,
        within=20,
    ),
    Check(
        "requests",
        "Every request to the VIP is answered.",
        "the checks above; `lab capture NAME` shows where a request ends.",
        _client,
        _judged(_no_failures),
        traffic=True,
    ),
    Check(
        "answers",
        "Each real server answers through the VIP.",
        "the VIP on its lo, apache2 on it, its line in `ipvsadm -Ln` of the master.",
        _roles(Role.REAL_SERVER),
        _judged(_answers),
        traffic=True,
    ),
    Check(
        "distribution",
        "New clients are spread as the scheduler promises.",
        "`ipvsadm -Ln` on the master: weights and scheduler.",
        _client,
        _judged(_distribution),
        traffic=True,
    ),
    Check(
        "persistence",
        "A client stays with the server it met first.",
        "`ipvsadm -Lcn` on the master: the templates are the lines with port 0.",
        _client,
        _judged(_persistence),
        traffic=True,
    ),
    Check(
        "direct-return",
        "Answers go from the server to the client, not through the director.",
        "`ipvsadm -Ln --stats` on the master: OutPkts must be 0.",
        _client,
        _judged(_direct_return),
        traffic=True,
    ),
)


def named(names: Sequence[str]) -> tuple[Check, ...]:
    """The checks called ``names``; all of them if there are none.

    Raises:
        KeyError: no check is called so; the argument is the name.
    """
    if not names:
        return CHECKS
    by_name = {check.name: check for check in CHECKS}
    return tuple(by_name[name] for name in names)
