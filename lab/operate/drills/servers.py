"""Drills about real servers: how their death is noticed, and what is not noticed."""

import re

from lab.inventory import Inventory, InventoryMachine
from lab.operate import timers
from lab.operate.analysis import failures_window
from lab.operate.checks.state import arp_answers
from lab.operate.drills.base import Drill, count_bound
from lab.operate.drills.stage import Stage
from lab.operate.faults import (
    address_removed,
    apache_hangs,
    conf_edited,
    packets_dropped,
    service_stopped,
    sysctls,
)
from lab.operate.recording import Bound

# Seconds that an emulated director's timers and an SSH command may be late.
_LATE = 1.0
_NOBODY_KNOWS = "kernel: TCP_CHECK connects to the server's own address, not to the VIP"


def _removals(inventory: Inventory) -> dict[str, str]:
    """For each director, what is measured of its noticing that a server is dead."""
    return {director.name: f"until {director.name} takes it out" for director in inventory.directors}


async def _noticed(
    stage: Stage, victim: InventoryMachine, within: float, at: float
) -> dict[str, float | None]:
    """How long each director took to take ``victim`` out, which died at ``at``."""
    measured: dict[str, float | None] = {}
    for director, quantity in _removals(stage.inventory).items():
        gone = await stage.removal(director, victim, within, at)
        measured[quantity] = None if gone is None else gone - at
    return measured


class ServerStopped(Drill):
    """apache2 ends; the kernel refuses connections."""

    name = "server-stopped"
    title = "A server's apache2 is stopped"
    shows = (
        "Connections are refused, so each health check fails at once: the server leaves the table of both "
        "directors within delay_loop and one retry. Until then its share of the clients fails."
    )
    steps = (
        "server: systemctl stop apache2",
        "both directors: watch ipvsadm -Ln",
        "server: systemctl start apache2",
    )
    seconds = 35
    servers = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """One loop and one retry; then one loop."""
        bound = timers.noticed(inventory, 0)
        return (
            *(
                Bound(
                    quantity=quantity,
                    low=0,
                    high=bound + _LATE,
                    formula="delay_loop + retry x delay_before_retry",
                    source=timers.CHECKERS,
                )
                for quantity in _removals(inventory).values()
            ),
            Bound(
                quantity="seconds in which requests fail",
                low=0,
                high=bound + _LATE,
                formula="delay_loop + retry x delay_before_retry",
                source=timers.CHECKERS,
            ),
            Bound(
                quantity="until it is back in every table",
                low=0,
                high=inventory.delay_loop + 2 * _LATE,
                formula="delay_loop: the first good check is enough",
                source="keepalived check_api.c",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Stop, wait for all directors, start, wait for all."""
        victim = stage.victim()
        fault = service_stopped(victim.name, "apache2")
        at = await stage.inject(fault)
        bound = timers.noticed(stage.inventory, 0)
        stage.band(at, at + bound, f"promised: gone within {bound:.0f} s")
        measured = await _noticed(stage, victim, bound + 10, at)
        await stage.calm()
        window = failures_window(stage.requests, at - 0.2)
        measured["seconds in which requests fail"] = window[1] - window[0] if window else 0.0
        back = await stage.take_back(fault)
        last: float | None = back
        for director in stage.directors:
            found = await stage.said(
                director.name,
                f"Adding service [{victim.address}]",
                stage.inventory.delay_loop + 10,
                after=back,
            )
            last = None if found is None or last is None else max(last, found)
        measured["until it is back in every table"] = None if last is None else last - back
        return measured


class ServerSilent(Drill):
    """A firewall swallows what is sent to port 80."""

    name = "server-silent"
    title = "A server that says nothing: its firewall drops port 80"
    shows = (
        "Nothing refuses the connection, so each check waits for connect_timeout before it fails: it takes "
        "far longer than for a stopped service."
    )
    steps = (
        "server: nft: drop tcp dport 80 on input",
        "both directors: watch ipvsadm -Ln",
        "server: take the rule away",
    )
    seconds = 35
    servers = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """The same with two connect time-outs more."""
        bound = timers.noticed(inventory, inventory.check.connect_timeout)
        low = 2 * inventory.check.connect_timeout + 1 - _LATE
        return (
            *(
                Bound(
                    quantity=quantity,
                    low=low,
                    high=bound + _LATE,
                    formula="delay_loop + T + retry x (delay_before_retry + T), T = connect_timeout",
                    source=timers.CHECKERS,
                )
                for quantity in _removals(inventory).values()
            ),
            Bound(
                quantity="seconds in which requests fail",
                low=low - 1,
                high=bound + 2 * _LATE,
                formula="the same, on the master",
                source=timers.CHECKERS,
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Swallow, wait for all directors."""
        victim = stage.victim()
        port = stage.inventory.port
        await stage.inject(
            packets_dropped(victim.name, "input", f"tcp dport {port}", f"what comes to port {port}")
        )
        # The rule stands; to ask for it over SSH takes an emulated server a second.
        at = stage.now()
        bound = timers.noticed(stage.inventory, stage.inventory.check.connect_timeout)
        stage.band(at, at + bound, f"promised: gone within {bound:.0f} s")
        measured = await _noticed(stage, victim, bound + 15, at)
        await stage.calm()
        window = failures_window(stage.requests, at - 0.2)
        measured["seconds in which requests fail"] = window[1] - window[0] if window else None
        return measured


class ServerHangs(Drill):
    """apache2 stands still; the kernel goes on shaking hands for it."""

    name = "server-hangs"
    title = "A server that hangs: green for TCP_CHECK, dead for its clients"
    shows = (
        "The kernel completes connections for a process that is stopped, so TCP_CHECK sees a healthy server "
        "while its clients wait. HTTP_GET asks for a page and finds out."
    )
    steps = (
        "server: pkill -STOP apache2",
        "both directors: the server stays in ipvsadm -Ln",
        "both directors: HTTP_GET instead of TCP_CHECK; systemctl reload keepalived",
        "server: pkill -CONT apache2",
    )
    seconds = 60
    servers = 2

    def why_not(self, inventory: Inventory) -> str | None:
        """With HTTP_GET in force there is nothing to compare."""
        if inventory.check.type != "tcp":
            return "it needs TCP_CHECK (lvs-dr-lab:check type tcp)"
        return super().why_not(inventory)

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Never, then within one loop and the waits of HTTP_GET."""
        timeout = inventory.check.connect_timeout
        return (
            count_bound(
                "removals while TCP_CHECK is in force",
                0,
                0,
                "the handshake is the kernel's",
                "listen(2): connections are completed up to the backlog",
            ),
            Bound(
                quantity="until HTTP_GET takes it out",
                low=timeout - _LATE,
                # keepalived.conf(5): HTTP_GET retries thrice, three seconds apart, unless told otherwise.
                high=inventory.delay_loop + 4 * timeout + 3 * 3 + 2 * _LATE,
                formula="delay_loop + T + 3 x (3 s + T), T = connect_timeout: three retries",
                source="keepalived check_http.c; keepalived.conf(5)",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Freeze, wait in vain, change the check, wait."""
        victim = stage.victim()
        at = await stage.inject(apache_hangs(victim.name))
        wait = timers.noticed(stage.inventory, 0) + 2
        await stage.removal(stage.master.name, victim, wait, at)
        early = sum(f"Removing service [{victim.address}]" in event.text for event in stage.events)
        for director in stage.directors:
            await stage.inject(
                await conf_edited(
                    stage.guests, director.name, f"{director.name} asks with HTTP_GET", _http_get
                )
            )
        changed = stage.now()
        gone = await stage.removal(stage.master.name, victim, 60, at)
        return {
            "removals while TCP_CHECK is in force": float(early),
            "until HTTP_GET takes it out": None if gone is None else gone - changed,
        }


def _http_get(text: str) -> str:
    def check(found: re.Match[str]) -> str:
        indent, body = found[1], found[2]
        url = f"{indent}    url {{\n{indent}        path /\n{indent}        status_code 200\n{indent}    }}\n"
        return f"{indent}HTTP_GET {{\n{url}{body}{indent}}}\n"

    return re.sub(r"^( *)TCP_CHECK \{\n(.*?)^\1\}\n", check, text, flags=re.MULTILINE | re.DOTALL)


class ServerWithoutVip(Drill):
    """The commonest fault of Direct Routing."""

    name = "server-without-vip"
    title = "A server without the VIP on lo"
    shows = (
        "The director forwards frames whose destination is still the VIP. A server that does not have it "
        "drops them without a word, and every health check stays green: it goes to the server's own address."
    )
    steps = (
        "server: ip address del VIP/32 dev lo",
        "master: ipvsadm -Lcn shows SYN_RECV",
        "server: tcpdump: SYN comes in, nothing goes out",
        "server: ip address add VIP/32 dev lo",
    )
    seconds = 25
    servers = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Green, and a share of clients lost."""
        return (
            count_bound("removals by health checks", 0, 0, "none", _NOBODY_KNOWS),
            count_bound(
                "failing share, measured less expected",
                -0.1,
                0.1,
                "sources pinned to it / all sources",
                "ip_vs_xmit.c, ip_vs_dr_xmit: the destination address is left as it is",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Take the VIP away, count."""
        victim = stage.victim()
        pinned = {request.source for request in stage.requests if request.server == victim.name}
        at = await stage.inject(address_removed(victim.name, f"{stage.inventory.vip}/32"))
        done = stage.now()
        await stage.watch(timers.noticed(stage.inventory, 0) + 2)
        # The last second's requests may still be under way.
        asked = [request for request in stage.requests if done + 0.3 < request.at < stage.now() - 1.2]
        failed = sum(request.server is None for request in asked)
        removed = sum(
            f"Removing service [{victim.address}]" in event.text and event.at >= at for event in stage.events
        )
        expected = len(pinned) / len(stage.sources)
        return {
            "removals by health checks": float(removed),
            "failing share, measured less expected": failed / len(asked) - expected if asked else None,
        }


class ArpProblem(Drill):
    """The other half of Direct Routing."""

    name = "arp-problem"
    title = "The ARP problem: a server that answers for the VIP"
    shows = (
        "A server that has the VIP answers ARP for it unless told not to. Clients that believe it bypass the "
        "director: no balancing, no health checks, and nobody counts them."
    )
    steps = (
        "server: sysctl arp_ignore=0 arp_announce=0 on all and eth0",
        "client: ip neighbour flush VIP; arping -c 3 -I eth0 VIP (two hardware addresses)",
        "server: only conf.lo.arp_ignore=1: still two, for the kernel takes max(all, eth0)",
        "server: all as before: one",
    )
    seconds = 30
    interval = 0.3

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Two answers, still two, one."""
        source = "kernel: networking/ip-sysctl, arp_ignore"
        return tuple(
            count_bound(quantity, count, count, formula, source)
            for quantity, count, formula in (
                ("addresses that answer, arp_ignore 0", 2, "the director and the server"),
                ("addresses that answer, only lo set", 2, "max(conf/all, conf/eth0) is still 0"),
                ("addresses that answer, put right", 1, "the director"),
            )
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Three times the same question."""
        server = stage.servers[0].name
        keys = [
            f"net.ipv4.conf.{where}.{what}"
            for where in ("all", "eth0")
            for what in ("arp_ignore", "arp_announce")
        ]
        before = {}
        for key in (*keys, "net.ipv4.conf.lo.arp_ignore"):
            before[key] = (await stage.run(server, f"sysctl -n {key}")).strip()
        wrong = sysctls(server, dict.fromkeys(keys, "0"), {key: before[key] for key in keys})
        await stage.inject(wrong)
        two = await arp_answers(stage.guests)
        lo = "net.ipv4.conf.lo.arp_ignore"
        await stage.inject(sysctls(server, {lo: "1"}, {lo: before[lo]}))
        still = await arp_answers(stage.guests)
        await stage.take_back(wrong)
        one = await arp_answers(stage.guests)
        await stage.run(stage.client.name, f"ip neighbour flush {stage.inventory.vip}")
        return {
            "addresses that answer, arp_ignore 0": float(len(two)),
            "addresses that answer, only lo set": float(len(still)),
            "addresses that answer, put right": float(len(one)),
        }


class SorryServer(Drill):
    """When nobody is left."""

    name = "sorry-server"
    title = "A sorry server stands in when all others are gone"
    shows = (
        "With no real server left the table is empty and clients are refused. A sorry_server then becomes "
        "the only entry. It too needs the VIP on lo and the ARP settings."
    )
    steps = (
        "both directors: one real server becomes the sorry_server",
        "all other servers: systemctl stop apache2",
        "client: the sorry server answers",
    )
    seconds = 50
    servers = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """As long as the last removal takes; as long as the first return."""
        bound = timers.noticed(inventory, 0)
        return (
            Bound(
                quantity="until the sorry server answers",
                low=0,
                high=bound + 2 * _LATE,
                formula="delay_loop + retry x delay_before_retry of the last server",
                source=timers.CHECKERS,
            ),
            Bound(
                quantity="until real servers answer again",
                low=0,
                high=inventory.delay_loop + 3 * _LATE,
                formula="delay_loop",
                source="keepalived check_api.c: quorum gained, the sorry server is removed",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Reconfigure, stop the others, start them."""
        *others, sorry = stage.servers
        for director in stage.directors:
            await stage.inject(
                await conf_edited(
                    stage.guests,
                    director.name,
                    f"{sorry.name} is the sorry server of {director.name}",
                    lambda text: sorry_instead(text, sorry.address, stage.inventory.port),
                )
            )
        await stage.until_asked(lambda: self._without(stage, sorry.address), 15)
        stopped = [service_stopped(server.name, "apache2") for server in others]
        at = stage.now()
        for fault in stopped:
            await stage.inject(fault)
        begun = stage.now()
        stage.band(at, begun + timers.noticed(stage.inventory, 0), "promised: the sorry server answers")
        first = await stage.until(
            lambda: any(one.server == sorry.name and one.at > begun for one in stage.requests), 40
        )
        for fault in stopped:
            await stage.take_back(fault)
        started = stage.now()
        names = {server.name for server in others}
        again = await stage.until(
            lambda: any(one.server in names and one.at > started for one in stage.requests), 40
        )
        return {
            "until the sorry server answers": None if first is None else first - begun,
            "until real servers answer again": None if again is None else again - started,
        }

    @staticmethod
    async def _without(stage: Stage, address: str) -> bool:
        table = await stage.table(stage.master.name)
        return table is not None and address not in {entry.address for entry in table.destinations}


def sorry_instead(text: str, address: str, port: int) -> str:
    """keepalived.conf with one real server as the sorry server instead."""
    block = rf"^( *)real_server {re.escape(address)} {port} \{{\n.*?^\1\}}\n"
    without = re.sub(block, "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(
        r"^( *)protocol TCP\n",
        rf"\1protocol TCP\n\1sorry_server {address} {port}\n",
        without,
        count=1,
        flags=re.MULTILINE,
    )


class Alpha(Drill):
    """Innocent until proven guilty, or the other way round."""

    name = "alpha"
    title = "alpha: is a server in the table before its first check?"
    shows = (
        "keepalived enters every server at once and takes it out when a check fails. With alpha it is "
        "entered only after a good check. Shown on the backup, so that no client is disturbed."
    )
    steps = (
        "server: systemctl stop apache2",
        "backup: systemctl restart keepalived; ipvsadm -Ln (the dead server is in)",
        "backup: alpha in virtual_server; restart; ipvsadm -Ln (it is not)",
    )
    seconds = 50
    directors = 2
    servers = 2
    interval = 0.3

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """In until the first check; never in."""
        return (
            Bound(
                quantity="seconds in the table without alpha",
                low=0.0,
                high=timers.noticed(inventory, 0) + 2 * _LATE,
                formula="a random part of delay_loop (warmup), then one retry",
                source="keepalived check_api.c, check_data.c",
            ),
            Bound(
                quantity="seconds in the table with alpha",
                low=0,
                high=0,
                formula="entered only after a good check",
                source="keepalived.conf(5), alpha",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Two restarts of the backup."""
        victim, backup = stage.victim(), stage.backup.name
        await stage.inject(service_stopped(victim.name, "apache2"))
        bound = timers.noticed(stage.inventory, 0)
        for director in stage.directors:
            await stage.removal(director.name, victim, bound + 10, 0)
        without = await self._seconds_in(stage, backup, victim.address, "systemctl restart keepalived")
        edited = await conf_edited(
            stage.guests,
            backup,
            f"{backup} has alpha",
            lambda text: re.sub(
                r"^( *)protocol TCP\n", r"\1protocol TCP\n\1alpha\n", text, flags=re.MULTILINE
            ),
            then="restart",
        )
        await stage.inject(edited)
        with_alpha = await self._seconds_in(stage, backup, victim.address, "true")
        return {
            "seconds in the table without alpha": without,
            "seconds in the table with alpha": with_alpha,
        }

    @staticmethod
    async def _seconds_in(stage: Stage, director: str, address: str, command: str) -> float | None:
        stage.act(f"{command} on {director}", director)
        # On the director itself: asked from here, the first moments would be missed.
        wait = int(timers.noticed(stage.inventory, 0)) + 3
        text = await stage.run(
            director,
            f"{command}; begun=$(date +%s%N); seen=0; "
            f"while [ $(( ($(date +%s%N) - begun) / 1000000000 )) -lt {wait} ]; do "
            f"if ipvsadm -Ln | grep -q ' {address}:'; then seen=$(( $(date +%s%N) - begun )); "
            "elif [ $seen -gt 0 ]; then break; fi; sleep 0.2; done; echo $seen",
        )
        return int(text.split()[-1]) / 1e9
