"""What requests to the VIP show: one experiment a run, judged by several checks."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from lab.inventory import Inventory
from lab.operate import outputs
from lab.operate.checks.base import Examination, Look, Outcome, Verdict
from lab.operate.recording import Request
from lab.operate.sources import newcomers
from lab.operate.traffic import ask_one_by_one

# Requests of one experiment at most: an emulated client needs some 50 ms for each.
_MOST_REQUESTS = 48
# Seconds until the counters of IPVS have them.
_COUNTED = 2.2


@dataclass(frozen=True)
class Experiment:
    """Requests from addresses without a past, each address twice, and what the master counted of them."""

    requests: tuple[Request, ...]
    master: str | None
    in_packets: int = 0
    out_packets: int = 0
    why_not: str | None = None
    """Why no requests could be made."""

    @property
    def by_source(self) -> dict[str, list[str]]:
        """Servers that answered each source, in order; ``-`` for no answer."""
        found: dict[str, list[str]] = {}
        for request in self.requests:
            found.setdefault(request.source, []).append(request.server or "-")
        return found


async def experiment(examination: Examination) -> Experiment:
    """Requests to the VIP from fresh addresses, made once for all checks that judge them."""
    inventory = examination.inventory
    holders = await examination.holders()
    if len(holders) != 1:
        who = " and ".join(holder.name for holder in holders) or "no director"
        return Experiment((), None, why_not=f"{who} holds the VIP")
    master = holders[0].name
    wanted = sources_needed(inventory)
    sources = await newcomers(examination.guests, wanted, directors=[master])
    if len(sources) < wanted:
        return Experiment(
            (), master, why_not=f"only {len(sources)} of the client's addresses are unknown to {master}"
        )
    before = await _counted(examination, master)
    # In another order the second time: by turns alone nobody comes to the same server again.
    twice = [*sources, *sources[1:], sources[0]]
    # If nobody has answered any address, asking each once more would show the same.
    requests = await ask_one_by_one(examination.guests, twice, len(twice), nobody=len(sources))
    # The kernel adds up its counters every two seconds (net/netfilter/ipvs/ip_vs_est.c).
    await asyncio.sleep(_COUNTED)
    after = await _counted(examination, master)
    return Experiment(
        tuple(requests),
        master,
        in_packets=after.in_packets - before.in_packets,
        out_packets=after.out_packets - before.out_packets,
    )


async def _counted(examination: Examination, master: str) -> outputs.Traffic:
    """The counters of the lab's virtual server; zeros if there is none."""
    stats = await examination.run(master, "ipvsadm -Ln --stats --exact")
    where = f"{examination.inventory.vip}:{examination.inventory.port}"
    return outputs.ipvs_traffic(stats.stdout).get(where, outputs.Traffic(0, 0, 0, 0, 0))


def sources_needed(inventory: Inventory) -> int:
    """How many sources show a fair share: two turns of the scheduler, within what an experiment may take."""
    turn = sum(server.weight or 0 for server in inventory.real_servers)
    return max(2, min(2 * turn, _MOST_REQUESTS // 2))


def judged(judge: Callable[[Inventory, Experiment, str], Verdict]) -> Look:
    """A look that has ``judge`` judge the experiment."""

    async def look(examination: Examination, machine: str) -> Verdict:
        made = await examination.once("experiment", lambda: experiment(examination))
        if made.why_not:
            return Verdict(Outcome.UNKNOWN, f"no traffic sent: {made.why_not}")
        return judge(examination.inventory, made, machine)

    return look


def answers(inventory: Inventory, made: Experiment, machine: str) -> Verdict:
    """Whether a real server with a weight answered, and one without did not."""
    count = sum(request.server == machine for request in made.requests)
    total = len(made.requests)
    if inventory.machine(machine).weight == 0:
        return Verdict.of(count == 0, f"{count} of {total} answers, its weight is 0")
    return Verdict.of(count > 0, f"{count} of {total} answers")


def no_failures(_: Inventory, made: Experiment, __: str) -> Verdict:
    """Whether every request was answered."""
    failed = Counter(request.error for request in made.requests if request.server is None)
    said = ", ".join(f"{count} x {error}" for error, count in failed.items())
    return Verdict.of(not failed, said or f"{len(made.requests)} requests, {len(made.requests)} answers")


def distribution(inventory: Inventory, made: Experiment, _: str) -> Verdict:
    """Whether new clients were spread as rr or wrr promises."""
    first = Counter(servers[0] for servers in made.by_source.values() if servers[0] != "-")
    shares = expected_shares(inventory, len(made.by_source))
    said = ", ".join(f"{name} {first.get(name, 0)}" for name in shares)
    if inventory.lb_algo not in ("rr", "wrr"):
        return Verdict(Outcome.PASSED, f"{said}; {inventory.lb_algo} promises no share")
    off = [name for name, share in shares.items() if abs(first.get(name, 0) - share) > 1]
    return Verdict.of(not off, f"{len(made.by_source)} sources: {said}")


def expected_shares(inventory: Inventory, sources: int) -> dict[str, float]:
    """New clients each real server should get of ``sources``: even for rr, by weight for wrr."""
    servers = inventory.real_servers
    weights = {
        server.name: (float(bool(server.weight)) if inventory.lb_algo == "rr" else float(server.weight or 0))
        for server in servers
    }
    total = sum(weights.values()) or 1.0
    return {name: sources * weight / total for name, weight in weights.items()}


def persistence(inventory: Inventory, made: Experiment, _: str) -> Verdict:
    """Whether each client stayed with its first server."""
    answered = {source: servers for source, servers in made.by_source.items() if "-" not in servers}
    moved = [source for source, servers in answered.items() if len(set(servers)) > 1]
    if not inventory.persistence_timeout:
        return Verdict(Outcome.PASSED, "off: nothing is pinned")
    if not answered:
        return Verdict(Outcome.UNKNOWN, "no address was answered twice")
    said = f"{moved[0]} went to {' and then '.join(made.by_source[moved[0]])}" if moved else ""
    return Verdict.of(not moved, said or f"{len(answered)} sources stayed with their server")


def direct_return(_: Inventory, made: Experiment, __: str) -> Verdict:
    """Whether the master saw requests and no answers."""
    # A table that was made anew meanwhile counts from zero again.
    if made.in_packets <= 0:
        return Verdict(
            Outcome.FAILED, f"{made.master} counted no packet for the VIP: clients reach servers past it"
        )
    return Verdict.of(
        made.out_packets == 0,
        f"{made.master} forwarded {made.in_packets} packets, {made.out_packets} came back",
    )
