"""A hypervisor in memory: as much of virsh as the lab uses, with its refusals."""

from dataclasses import dataclass, field

from lab.errors import LabError


@dataclass
class Pool:
    """A storage pool; ``broken`` when its directory was removed."""

    running: bool = True
    volumes: set[str] = field(default_factory=set)
    broken: bool = False


class FakeVirsh:
    """Called like virsh; refuses what virsh refuses."""

    def __init__(self) -> None:
        self.domains: dict[str, bool] = {}
        self.paused: set[str] = set()
        self.disks: dict[str, tuple[str, ...]] = {}
        self.networks: dict[str, bool] = {}
        self.unplugged: set[str] = set()
        """Machines of which no network knows any more."""
        self.pools: dict[str, Pool] = {}
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str) -> str:
        self.calls.append(arguments)
        command, *rest = arguments
        return str(getattr(self, "_" + command.replace("-", "_"))(*rest) or "")

    @property
    def changes(self) -> list[tuple[str, ...]]:
        """Calls that were not questions."""
        questions = {
            "list",
            "net-list",
            "net-port-list",
            "pool-list",
            "pool-refresh",
            "vol-list",
            "domblklist",
        }
        return [call for call in self.calls if call[0] not in questions]

    def state(self) -> tuple[object, ...]:
        volumes = {(name, volume) for name, pool in self.pools.items() for volume in pool.volumes}
        return dict(self.domains), dict(self.networks), set(self.pools), volumes

    @staticmethod
    def _names(found: dict[str, bool], options: tuple[str, ...]) -> str:
        assert "--name" in options
        return "".join(f"{name}\n" for name, running in found.items() if running or "--all" in options)

    @staticmethod
    def _known(found: dict[str, object] | dict[str, bool] | dict[str, Pool], name: str) -> None:
        if name not in found:
            raise LabError(f"failed to get '{name}'")

    def _list(self, *options: str) -> str:
        if "--state-paused" in options:
            return "".join(f"{name}\n" for name in sorted(self.paused))
        return self._names(self.domains, options)

    def _destroy(self, name: str) -> None:
        self._known(self.domains, name)
        if not self.domains[name]:
            raise LabError("domain is not running")
        self.domains[name] = False
        self.unplugged.discard(name)
        self.paused.discard(name)

    def _resume(self, name: str) -> None:
        self._known(self.domains, name)
        self.paused.remove(name)

    def _undefine(self, name: str, *_: str) -> None:
        self._known(self.domains, name)
        del self.domains[name]

    def _domblklist(self, name: str) -> str:
        self._known(self.domains, name)
        return "".join(
            f" vd{letter}  {disk}\n" for letter, disk in zip("ab", self.disks.get(name, ()), strict=False)
        )

    def _net_list(self, *options: str) -> str:
        return self._names(self.networks, options)

    def _net_port_list(self, name: str) -> str:
        self._known(self.networks, name)
        own = {domain for domain, running in self.domains.items() if running and domain.startswith(name)}
        return "".join(f" {domain}-port\n" for domain in sorted(own - self.unplugged))

    def _net_start(self, name: str) -> None:
        self._known(self.networks, name)
        self.networks[name] = True

    def _net_destroy(self, name: str) -> None:
        self._known(self.networks, name)
        if not self.networks[name]:
            raise LabError("network is not active")
        self.networks[name] = False
        self.unplugged = {domain for domain, running in self.domains.items() if running}

    def _net_undefine(self, name: str) -> None:
        self._known(self.networks, name)
        del self.networks[name]

    def _pool_list(self, *options: str) -> str:
        return self._names({name: pool.running for name, pool in self.pools.items()}, options)

    def _running_pool(self, name: str) -> Pool:
        self._known(self.pools, name)
        if not self.pools[name].running:
            raise LabError(f"storage pool '{name}' is not active")
        return self.pools[name]

    def _pool_refresh(self, name: str) -> None:
        pool = self._running_pool(name)
        if pool.broken:
            # libvirt stops a pool that it cannot read any more.
            pool.running = False
            raise LabError("cannot open directory: No such file or directory")

    def _pool_build(self, name: str) -> None:
        self._known(self.pools, name)
        self.pools[name].broken = False

    def _pool_start(self, name: str) -> None:
        self._known(self.pools, name)
        pool = self.pools[name]
        if pool.running:
            raise LabError("pool is already active")
        if pool.broken:
            raise LabError("cannot open directory: No such file or directory")
        pool.running = True

    def _pool_destroy(self, name: str) -> None:
        self._running_pool(name).running = False

    def _pool_delete(self, name: str) -> None:
        self._known(self.pools, name)
        pool = self.pools[name]
        if pool.running:
            raise LabError("storage pool is still active")
        if pool.broken or pool.volumes:
            raise LabError("failed to remove pool")

    def _pool_undefine(self, name: str) -> None:
        self._known(self.pools, name)
        if self.pools[name].running:
            raise LabError("storage pool is still active")
        del self.pools[name]

    def _vol_list(self, name: str) -> str:
        return "".join(
            f" {volume}  /var/lib/libvirt/images/{name}/{volume}\n"
            for volume in sorted(self._running_pool(name).volumes)
        )

    def _vol_delete(self, volume: str, _: str, pool: str) -> None:
        volumes = self._running_pool(pool).volumes
        if volume not in volumes:
            raise LabError("no storage vol")
        volumes.remove(volume)
