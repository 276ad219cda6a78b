"""Drills about IPVS: where packets go, who gets which client, what becomes of connections."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from lab.inventory import Inventory, InventoryMachine
from lab.operate import outputs
from lab.operate.analysis import shares
from lab.operate.drills.base import Drill, count_bound
from lab.operate.drills.stage import Stage
from lab.operate.faults import Fault, conf_edited, service_stopped, sysctls
from lab.operate.recording import Bound, Request
from lab.operate.sources import borrow, fresh_sources, pinned
from lab.operate.traffic import ask_one_by_one

_IPVS = "kernel: net/netfilter/ipvs"
_DOWNLOAD = Path(__file__).parents[1] / "on_guest" / "download.py"
# What a long download fetches: bytes, and bytes a second. It must outlast what is done to it.
_LARGE = 40_000_000
_RATE = 100_000


class DirectRouting(Drill):
    """Where the frames go."""

    name = "direct-routing"
    title = "Direct Routing: requests through the director, answers past it"
    shows = (
        "The director sends each request on as it is, with another hardware address: it sees it twice. The "
        "server answers the client itself: the director sees no answer at all."
    )
    steps = (
        "master: tcpdump -eni eth0 'host VIP and tcp port 80'",
        "master: ipvsadm -Ln --stats: OutPkts 0",
    )
    seconds = 15

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Twice in, never out."""
        source = f"{_IPVS}/ip_vs_xmit.c, ip_vs_dr_xmit"
        return (
            count_bound(
                "frames to the VIP on the master, for each one from a client", 1.9, 2.0, "in and out", source
            ),
            count_bound("frames from the VIP on the master", 0, 0, "answers do not pass", source),
            count_bound("packets that IPVS counted as answers", 0, 0, "OutPkts", source),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Listen on the master while clients ask."""
        master, vip, port = stage.master, stage.inventory.vip, stage.inventory.port
        stage.act("listening on the master", master.name)
        text = await stage.run(
            master.name,
            f"timeout 6 tcpdump -enl -i eth0 'host {vip} and tcp port {port}' 2>/dev/null || true",
        )
        frames = [line for line in text.splitlines() if " > " in line]
        to_vip = [line for line in frames if f"> {vip}.{port}:" in line]
        in_client = [line for line in to_vip if f"> {master.mac}," in line]
        from_vip = [line for line in frames if f" {vip}.{port} >" in line]
        table = await stage.run(master.name, "ipvsadm -Ln --stats --exact")
        counted = outputs.ipvs_traffic(table).get(f"{vip}:{port}")
        return {
            "frames to the VIP on the master, for each one from a client": len(to_vip) / len(in_client)
            if in_client
            else None,
            "frames from the VIP on the master": float(len(from_vip)),
            "packets that IPVS counted as answers": float(counted.out_packets) if counted else None,
        }


class Persistence(Drill):
    """What looks like broken balancing."""

    name = "persistence"
    title = "Persistence against round robin"
    shows = (
        "With persistence_timeout a client stays with its first server: one address sees one server only. "
        "Other addresses are spread, and without persistence every connection is."
    )
    steps = (
        "client: nine requests from one address",
        "client: one request each from several addresses",
        "master: no persistence_timeout; systemctl reload keepalived; nine requests from one address",
    )
    seconds = 20
    servers = 2
    interval = 0.5
    persistent = True

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """One server; all within one; all within one."""
        source = f"{_IPVS}/ip_vs_core.c, ip_vs_sched_persist; ip_vs_rr.c"
        return (
            count_bound("servers that answer one address", 1, 1, "the template decides", source),
            count_bound("difference between servers over many addresses", 0, 1, "rr: equal to one", source),
            count_bound("difference between servers without persistence", 0, 1, "rr: equal to one", source),
        )

    def why_not(self, inventory: Inventory) -> str | None:
        """The shares are those of rr."""
        return _only_rr(inventory) or super().why_not(inventory)

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Three times some requests."""
        count = 3 * len(stage.servers)
        # The probe's own requests take turns of the scheduler; while shares are counted it must be quiet.
        await stage.hush()
        one = await ask_one_by_one(stage.guests, [stage.sources[0]], count)
        stage.take(one)
        fresh = await _strangers(stage, count)
        many = await ask_one_by_one(stage.guests, fresh, len(fresh))
        stage.take(many)
        await stage.inject(
            await conf_edited(
                stage.guests,
                stage.master.name,
                "no persistence",
                lambda text: re.sub(r"^ *persistence_timeout .*\n", "", text, flags=re.MULTILINE),
            )
        )
        await stage.until_asked(lambda: _persistent(stage, 0), 15)
        # A template that exists goes on binding its client, so the client is one that has none.
        newcomer = fresh_sources(
            stage.inventory,
            await pinned(stage.guests, stage.master.name) | set(fresh) | set(stage.sources),
            1,
        )
        await borrow(stage.guests, newcomer)
        free = await ask_one_by_one(stage.guests, newcomer, count)
        stage.take(free)
        return {
            "servers that answer one address": float(len({request.server for request in one})),
            "difference between servers over many addresses": _difference(stage, many),
            "difference between servers without persistence": _difference(stage, free),
        }


class Schedulers(Drill):
    """rr, wrr, sh."""

    name = "schedulers"
    title = "Schedulers: by turn, by weight, by address"
    shows = (
        "rr takes turns, wrr takes turns by weight, sh always sends the same address to the same server, on "
        "every director alike."
    )
    steps = (
        "master: no persistence, lb_algo rr, then wrr with weights 3, 1, 1, then sh; reload each time",
        "client: requests, counted",
    )
    seconds = 30
    servers = 2
    interval = 0.5

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Even, by weight, one."""
        return (
            count_bound("rr: difference between servers", 0, 1, "equal to one", f"{_IPVS}/ip_vs_rr.c"),
            count_bound(
                "wrr: difference from the weights", 0, 1, "weight / sum of weights", f"{_IPVS}/ip_vs_wrr.c"
            ),
            count_bound(
                "sh: servers that answer one address", 1, 1, "a hash of the address", f"{_IPVS}/ip_vs_sh.c"
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Three configurations, the same requests."""
        await stage.hush()
        weights = {server.name: 3 if place == 0 else 1 for place, server in enumerate(stage.servers)}
        total = sum(weights.values())
        source = fresh_sources(
            stage.inventory, await pinned(stage.guests, stage.master.name) | set(stage.sources), 1
        )
        await borrow(stage.guests, source)

        async def asked(algorithm: str, count: int) -> Counter[str | None]:
            fault = await conf_edited(
                stage.guests,
                stage.master.name,
                f"lb_algo {algorithm}",
                lambda text: _scheduler(text, algorithm, stage.servers, weights),
            )
            await stage.inject(fault)
            await stage.until_asked(lambda: _scheduled(stage, algorithm), 15)
            found = await ask_one_by_one(stage.guests, source, count)
            stage.take(found)
            await stage.take_back(fault)
            return Counter(request.server for request in found)

        rr = await asked("rr", 3 * len(stage.servers))
        wrr = await asked("wrr", 2 * total)
        sh = await asked("sh", 4)
        even = [rr.get(server.name, 0) for server in stage.servers]
        return {
            "rr: difference between servers": float(max(even) - min(even)),
            "wrr: difference from the weights": max(
                abs(wrr.get(name, 0) - 2.0 * weight) for name, weight in weights.items()
            ),
            "sh: servers that answer one address": float(len(sh)),
        }


def _scheduler(
    text: str, algorithm: str, servers: tuple[InventoryMachine, ...], weights: dict[str, int]
) -> str:
    text = re.sub(r"^ *persistence_timeout .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^( *)lb_algo .*$", rf"\1lb_algo {algorithm}", text, flags=re.MULTILINE)
    if algorithm == "wrr":
        for server in servers:
            text = re.sub(
                rf"(real_server {re.escape(server.address)} .*?weight )\d+",
                rf"\g<1>{weights[server.name]}",
                text,
                flags=re.DOTALL,
            )
    return text


class Drain(Drill):
    """Weight 0."""

    name = "drain"
    title = "Draining a server: weight 0, with and without expire_quiescent_template"
    shows = (
        "Weight 0 gives a server no new clients, but those that persistence binds to it keep coming, unless "
        "net.ipv4.vs.expire_quiescent_template is 1."
    )
    steps = (
        "master: ipvsadm -e -t VIP:80 -r SERVER -g -w 0",
        "client: its pinned addresses still reach it",
        "master: sysctl net.ipv4.vs.expire_quiescent_template=1: they move on",
    )
    seconds = 20
    servers = 2
    persistent = True

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Some, then none."""
        source = "kernel: networking/ipvs-sysctl, expire_quiescent_template"
        return (
            count_bound("its answers, weight 0 alone", 1, None, "templates go on binding", source),
            count_bound(
                "its answers, expire_quiescent_template 1", 0, 0, "templates of weight 0 expire", source
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Drain, count, set the switch, count."""
        victim, master = stage.victim(), stage.master.name
        key = "net.ipv4.vs.expire_quiescent_template"
        before = (await stage.run(master, f"sysctl -n {key}")).strip()
        if before != "0":
            await stage.inject(sysctls(master, {key: "0"}, {key: before}))
        await stage.inject(_weight(stage, master, victim, 0))
        begin = stage.now() + 0.3
        await stage.watch(4)
        kept = shares(stage.requests, begin, stage.now()).get(victim.name, 0)
        await stage.inject(sysctls(master, {key: "1"}, {key: before}))
        begin = stage.now() + 0.5
        await stage.watch(4)
        return {
            "its answers, weight 0 alone": float(kept),
            "its answers, expire_quiescent_template 1": float(
                shares(stage.requests, begin, stage.now()).get(victim.name, 0)
            ),
        }


def _weight(stage: Stage, director: str, server: InventoryMachine, weight: int) -> Fault:
    where = f"-t {stage.inventory.vip}:{stage.inventory.port} -r {server.address}:{stage.inventory.port} -g"
    return Fault(
        machine=director,
        title=f"{server.name} has weight {weight} on {director}",
        do=f"ipvsadm -e {where} -w {weight}",
        undo=f"ipvsadm -e {where} -w {server.weight}",
    )


class ExpireNodest(Drill):
    """What becomes of a connection whose server is taken out."""

    name = "expire-nodest"
    title = "A server is removed under a running download, with and without expire_nodest_conn"
    shows = (
        "Packets of a connection whose server has left the table are dropped in silence: the client hangs. "
        "With net.ipv4.vs.expire_nodest_conn=1 the client is told at once."
    )
    steps = (
        "client: a slow download",
        "master: ipvsadm -d -t VIP:80 -r SERVER: the download stands still",
        "master: sysctl net.ipv4.vs.expire_nodest_conn=1; the same again: it breaks off",
    )
    seconds = 40
    servers = 2
    interval = 0.3

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Hangs for as long as we watch; an error soon."""
        source = "kernel: networking/ipvs-sysctl, expire_nodest_conn"
        return (
            count_bound("downloads told of it, expire_nodest_conn 0", 0, 0, "packets are dropped", source),
            Bound(
                quantity="until the download breaks off, expire_nodest_conn 1",
                low=0,
                high=4,
                formula="the next packet that the client sends",
                source=source,
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Two downloads, two removals."""
        master = stage.master.name
        key = "net.ipv4.vs.expire_nodest_conn"
        before = (await stage.run(master, f"sysctl -n {key}")).strip()
        measured: list[float | None] = []
        await _large_files(stage)
        for value in ("0", "1"):
            await stage.inject(sysctls(master, {key: value}, {key: before}))
            async with Download(stage, stage.sources[0]) as download:
                server = await download.server()
                removed = _removed(stage, master, server)
                at = await stage.inject(removed)
                ended = await download.ended(8)
                measured.append(None if ended is None else ended - at)
                await stage.take_back(removed)
        return {
            "downloads told of it, expire_nodest_conn 0": 0.0 if measured[0] is None else 1.0,
            "until the download breaks off, expire_nodest_conn 1": measured[1],
        }


def _removed(stage: Stage, director: str, server: InventoryMachine) -> Fault:
    service = f"-t {stage.inventory.vip}:{stage.inventory.port}"
    where = f"{service} -r {server.address}:{stage.inventory.port}"
    return Fault(
        machine=director,
        title=f"{server.name} is taken out of the table of {director}",
        do=f"ipvsadm -d {where}",
        undo=f"ipvsadm -a {where} -g -w {server.weight} 2>/dev/null || true",
    )


class ConnectionSync(Drill):
    """Connections over a failover."""

    name = "connection-sync"
    title = "A download over a failover, without and with lvs_sync_daemon"
    shows = (
        "The new master knows nothing of the old one's connections and resets them. With the sync daemon the "
        "master tells the backup of each connection, and they survive."
    )
    steps = (
        "client: a slow download; master: systemctl stop keepalived: connection reset",
        "both directors: lvs_sync_daemon eth0 INSTANCE in global_defs; restart",
        "the same again: the download goes on; backup: ipvsadm -Lcn lists it",
    )
    seconds = 70
    directors = 2
    interval = 0.3

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Lost, then kept."""
        return (
            count_bound(
                "downloads that survive without it",
                0,
                0,
                "no entry: the packet is the director's own, which resets it",
                f"{_IPVS}/ip_vs_proto_tcp.c, tcp_conn_schedule",
            ),
            count_bound(
                "downloads that survive with it",
                1,
                1,
                "the backup has the entry",
                "kernel: networking/ipvs-sysctl, sync_threshold; keepalived.conf(5), lvs_sync_daemon",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Two downloads, two failovers."""
        await _large_files(stage)
        without = await self._survives(stage)
        instance, vrid = stage.inventory.vrrp_instance, stage.inventory.virtual_router_id
        line = f"lvs_sync_daemon eth0 {instance} id {vrid}"
        for director in reversed(stage.directors):
            await stage.inject(
                await conf_edited(
                    stage.guests,
                    director.name,
                    f"{director.name} has the sync daemon",
                    lambda text: text.replace("global_defs {\n", f"global_defs {{\n    {line}\n", 1),
                    then="restart",
                )
            )
        await self._master_again(stage)
        return {
            "downloads that survive without it": without,
            "downloads that survive with it": await self._survives(stage),
        }

    async def _survives(self, stage: Stage) -> float:
        async with Download(stage, stage.sources[1]) as download:
            await download.server()
            # Enough packets for the first synchronisation (sync_threshold), and for its batch to be sent.
            await stage.watch(3)
            fault = service_stopped(stage.master.name, "keepalived")
            at = await stage.inject(fault)
            taken = await stage.transition(stage.backup.name, "MASTER", 15, after=at) or stage.now()
            alive = await download.grows_after(taken + 1.0, 8)
        await stage.take_back(fault)
        await self._master_again(stage)
        return 1.0 if alive else 0.0

    @staticmethod
    async def _master_again(stage: Stage) -> None:
        vip = stage.inventory.vip

        async def settled() -> bool:
            told = [await stage.facts(director.name) for director in stage.directors]
            return [one.holds(vip) for one in told] == [True] + [False] * (len(told) - 1)

        await stage.until_asked(settled, 30)
        await stage.calm()


class CurlFromDirector(Drill):
    """Not a fault."""

    name = "curl-from-director"
    title = "A director cannot be its own client"
    shows = (
        "The VIP is the director's own address: what it sends there comes back from a server with its own "
        "address as the source and is dropped. All tests must come from a client."
    )
    steps = ("master: curl -m 3 http://VIP/", "client: curl http://VIP/")
    seconds = 15
    interval = 0.5

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """None from there."""
        return (
            count_bound(
                "answers on the master",
                0,
                0,
                "IPVS does not serve connections of its own host with Direct Routing",
                "keepalived issue 2213",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Three requests on the director itself."""
        vip, port = stage.inventory.vip, stage.inventory.port
        stage.act(f"the master asks http://{vip}/ three times", stage.master.name)
        # Not curl: a director does not have it.
        ask = f"exec 3<>/dev/tcp/{vip}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && grep -c . <&3"
        text = await stage.run(
            stage.master.name,
            f"for n in 1 2 3; do timeout 3 bash -c {shlex.quote(ask)} >&2 && echo answered; done\ntrue",
        )
        return {"answers on the master": float(text.split().count("answered"))}


class Download:
    """A slow download of a large file by the client, watched."""

    def __init__(self, stage: Stage, source: str) -> None:
        self._stage = stage
        self._source = source
        self._lines: list[tuple[float, str]] = []

    async def __aenter__(self) -> Self:
        inventory = self._stage.inventory
        options = {
            "address": inventory.vip,
            "port": inventory.port,
            "path": "/large",
            "source": self._source,
            "rate": _RATE,
        }
        program = _DOWNLOAD.read_text(encoding="utf-8")
        self._process = await self._stage.guests.process(
            self._stage.client.name, shlex.join(["python3", "-u", "-c", program, json.dumps(options)])
        )
        self._reader = self._stage.background(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        self._process.close()

    async def _read(self) -> None:
        async for line in self._process.lines():
            self._lines.append((self._stage.now(), line.strip()))

    async def server(self) -> InventoryMachine:
        """The real server that sends the file; waits for its first bytes."""
        await self._stage.until(lambda: any(line.startswith("bytes") for _, line in self._lines), 15)
        names = [line.split()[1] for _, line in self._lines if line.startswith("server")]
        return self._stage.inventory.machine(names[0]) if names else self._stage.victim()

    async def ended(self, within: float) -> float | None:
        """When it broke off; ``None`` if it did not."""

        def ends() -> list[float]:
            return [at for at, line in self._lines if line.startswith("end")]

        await self._stage.until(lambda: bool(ends()), within)
        return min(ends(), default=None)

    async def grows_after(self, at: float, within: float) -> bool:
        """Whether bytes arrive after ``at``, and go on arriving."""

        def growing() -> bool:
            return sum(when >= at and line.startswith("bytes") for when, line in self._lines) >= 3

        return await self._stage.until(growing, within) is not None


async def _large_files(stage: Stage) -> None:
    """A file for long downloads on every server; its first line names the server."""
    for server in stage.servers:
        await stage.inject(
            Fault(
                machine=server.name,
                title=f"{server.name} offers a large file",
                do=f"echo {server.name} > /var/www/html/large && truncate -s {_LARGE} /var/www/html/large",
                undo="rm -f /var/www/html/large",
            )
        )


def _only_rr(inventory: Inventory) -> str | None:
    return None if inventory.lb_algo == "rr" else "it needs the scheduler rr (lvs-dr-lab:lb_algo)"


async def _strangers(stage: Stage, count: int, besides: Sequence[str] = ()) -> list[str]:
    """Client addresses that neither the master nor the probe knows."""
    known = await pinned(stage.guests, stage.master.name)
    found = fresh_sources(stage.inventory, known.union(stage.sources, besides), count)
    await borrow(stage.guests, found)
    return found


async def _persistent(stage: Stage, seconds: int) -> bool:
    table = await stage.table(stage.master.name)
    return table is not None and table.persistent == seconds


async def _scheduled(stage: Stage, algorithm: str) -> bool:
    table = await stage.table(stage.master.name)
    whole = table is not None and len(table.destinations) == len(stage.servers)
    return whole and table is not None and table.scheduler == algorithm and table.persistent == 0


def _difference(stage: Stage, requests: list[Request]) -> float:
    counts = Counter(request.server for request in requests)
    even = [counts.get(server.name, 0) for server in stage.servers]
    return float(max(even) - min(even))
