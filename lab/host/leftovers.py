"""What the hypervisor has of a stack, against what the engine knows of it.

Machines are switched off, undefined and broken by hand in a training lab, and a killed engine leaves
things that it never wrote down. The provider stumbles over both: this module sets things right before
the engine runs, and clears what is left after it.
"""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import PROJECT
from lab.errors import LabError
from lab.say import Say
from lab.topology import Names

Virsh = Callable[..., str]
"""Runs virsh with the given arguments and returns what it prints; raises LabError."""


@dataclass(frozen=True)
class Belongings:
    """Names of what a stack has on the hypervisor."""

    domains: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    pools: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    stopped: frozenset[tuple[str, str]] = field(default=frozenset(), compare=False)
    """Those that do not run, as (kind, name): a stack's network and pool have the same name."""
    paused: frozenset[str] = field(default=frozenset(), compare=False)
    """Domains that were suspended."""
    unplugged: frozenset[str] = field(default=frozenset(), compare=False)
    """Networks with more machines that run than are plugged into it: it was stopped and started again."""

    @property
    def runs(self) -> bool:
        """Whether everything that is there does its work."""
        return not (self.stopped or self.paused or self.unplugged)

    def __bool__(self) -> bool:
        return bool(self.domains or self.networks or self.pools or self.volumes)


_KINDS = {
    "libvirt:index/domain:Domain": "domains",
    "libvirt:index/network:Network": "networks",
    "libvirt:index/pool:Pool": "pools",
    "libvirt:index/volume:Volume": "volumes",
}


def recorded(deployment: dict[str, Any]) -> Belongings:
    """What the engine's record of a stack lists."""
    names: dict[str, set[str]] = {kind: set() for kind in set(_KINDS.values())}
    for resource in deployment.get("resources", []):
        if (kind := _KINDS.get(resource["type"])) and (name := resource.get("outputs", {}).get("name")):
            names[kind].add(name)
    return Belongings(
        frozenset(names["domains"]),
        frozenset(names["networks"]),
        frozenset(names["pools"]),
        frozenset(names["volumes"]),
    )


def recorded_uri(deployment: dict[str, Any]) -> str | None:
    """The hypervisor that the engine built the stack on; ``None`` if it built nothing."""
    for resource in deployment.get("resources", []):
        if resource["type"] == "pulumi:providers:libvirt":
            return str(resource.get("inputs", {}).get("uri", "")) or None
    return None


def present(virsh: Virsh, stack: str) -> Belongings:
    """What the hypervisor has under the names of ``stack``."""
    owner = Names(stack)
    prefix = owner.prefix

    def names(*arguments: str) -> set[str]:
        return set(virsh(*arguments, "--name").split())

    domains = {name for name in names("list", "--all") if owner.owns_domain(name)}
    networks = names("net-list", "--all") & {prefix}
    pools = names("pool-list", "--all") & {prefix}
    volumes: set[str] = set()
    if pools & names("pool-list"):
        # A pool whose directory was removed stops here; it has no volumes.
        _quietly(virsh, "pool-refresh", prefix)
    if running_pools := pools & names("pool-list"):
        volumes = {line.split()[0] for line in virsh("vol-list", prefix).splitlines() if line.split()}
    running, running_networks = domains & names("list"), networks & names("net-list")
    plugged = {name: len(virsh("net-port-list", name).split()) for name in running_networks}
    stopped = {
        *(("domain", name) for name in domains - running),
        *(("network", name) for name in networks - running_networks),
        *(("pool", name) for name in pools - running_pools),
    }
    return Belongings(
        frozenset(domains),
        frozenset(networks),
        frozenset(pools),
        frozenset(volumes),
        frozenset(stopped),
        frozenset(domains & names("list", "--state-paused")),
        frozenset(name for name, ports in plugged.items() if ports < len(running)),
    )


def mend(virsh: Virsh, stack: str, deployment: dict[str, Any], say: Say) -> bool:
    """Prepare the hypervisor for an ``up``; whether the engine must look again at what exists.

    Removes what the engine never wrote down, sets going what was stopped or paused, and removes machines that
    the provider could not even read: whose disk is gone, or all if their network is. Disks that are there
    stay, and machines are made again from them.
    """
    known = recorded(deployment)
    found = _set_going(virsh, stack, known, say)
    broken = _without_disk(virsh, stack, known.volumes - found.volumes, found.domains)
    for name in sorted(broken):
        say(f"machine {name} has lost its disk: it will be built anew")
    if gone := known.networks - found.networks:
        say(f"network {', '.join(gone)} is gone: its machines are made again from their disks")
        broken |= found.domains
    strangers = Belongings(
        found.domains - known.domains | broken,
        found.networks - known.networks,
        found.pools - known.pools,
        found.volumes - known.volumes,
    )
    if strangers:
        leftovers = sorted(
            (strangers.domains - broken) | strangers.networks | strangers.pools | strangers.volumes
        )
        if leftovers:
            say("removing what an interrupted run left behind: " + ", ".join(leftovers))
        remove(virsh, stack, strangers)
        found = present(virsh, stack)
    return bool(deployment.get("pending_operations")) or found != known or bool(found.stopped)


def _set_going(virsh: Virsh, stack: str, known: Belongings, say: Say) -> Belongings:
    """Start networks and pools that were stopped, resume machines that were paused; what there is then.

    The machines of a network that was stopped are off then, for ``up`` to switch on: they plug themselves in
    when they start, and only then.
    """
    found = present(virsh, stack)
    if found.runs:
        return found
    for name in sorted(known.networks):
        if ("network", name) in found.stopped:
            say(f"network {name} was stopped: starting it, and its machines with it")
            switch_off(virsh, stack)
            virsh("net-start", name)
        elif name in found.unplugged:
            say(f"network {name} was stopped and started: its machines are switched off and on")
            switch_off(virsh, stack)
    for name in sorted(name for name in known.pools if ("pool", name) in found.stopped):
        say(f"pool {name} was stopped: starting it")
        virsh("pool-build", name)
        virsh("pool-start", name)
    # Not those that were switched off with their network.
    for name in sorted(known.domains & present(virsh, stack).paused):
        say(f"machine {name} was paused: resuming it")
        virsh("resume", name)
    return present(virsh, stack)


def _without_disk(
    virsh: Virsh, stack: str, missing: frozenset[str], domains: frozenset[str]
) -> frozenset[str]:
    if not missing:
        return frozenset()
    return frozenset(
        name
        for name in domains
        if any(f"/{PROJECT}-{stack}/{volume}" in virsh("domblklist", name) for volume in missing)
    )


def switch_off(virsh: Virsh, stack: str) -> None:
    """Cut the power of every machine of a stack, all at once."""
    found = present(virsh, stack)
    off = {name for kind, name in found.stopped if kind == "domain"}
    with ThreadPoolExecutor() as threads:
        for name in found.domains - off:
            threads.submit(_quietly, virsh, "destroy", name)


def remove(virsh: Virsh, stack: str, belongings: Belongings) -> None:
    """Remove things from the hypervisor by name, whatever state they are in."""
    prefix = f"{PROJECT}-{stack}"
    for name in sorted(belongings.domains):
        _quietly(virsh, "destroy", name)
        _quietly(virsh, "undefine", name, "--nvram", "--managed-save", "--snapshots-metadata")
        _remove_log(name)
    for name in sorted(belongings.volumes):
        _quietly(virsh, "vol-delete", name, "--pool", prefix)
    for name in sorted(belongings.pools):
        _quietly(virsh, "pool-start", name)
        for volume in present(virsh, stack).volumes:
            _quietly(virsh, "vol-delete", volume, "--pool", name)
        _quietly(virsh, "pool-destroy", name)
        _quietly(virsh, "pool-delete", name)
        _quietly(virsh, "pool-undefine", name)
    for name in sorted(belongings.networks):
        _quietly(virsh, "net-destroy", name)
        _quietly(virsh, "net-undefine", name)


def discard(virsh: Virsh, stack: str, domains: Collection[str]) -> None:
    """Remove machines with the disks they run on, so that the engine builds them anew."""
    disks = {
        Path(words[-1]).name
        for domain in domains
        for line in virsh("domblklist", domain).splitlines()
        if (words := line.split())[:1] == ["vda"]
    }
    remove(virsh, stack, Belongings(frozenset(domains), volumes=frozenset(disks)))


def _quietly(virsh: Virsh, *arguments: str) -> None:
    """Run virsh for its effect only: a thing that is already gone or stopped is as good as removed."""
    try:
        virsh(*arguments)
    except LabError:
        return


def _remove_log(domain: str) -> None:
    for log in Path("/var/log/libvirt/qemu").glob(f"{domain}.*log*"):
        try:
            log.unlink()
        except OSError:
            continue
