"""What the program tells the tools: the stack output ``inventory``."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from lab.render.guest import PACKAGES
from lab.topology import Client, Director, Machine, RealServer, Role, Topology

VERSION = 1


class InventoryMachine(BaseModel):
    """One machine as the tools see it."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: Role
    address: str
    mac: str
    domain: str
    packages: tuple[str, ...]
    priority: int | None = None
    state: str | None = None
    """Directors: the initial state in keepalived.conf; the priority decides."""
    weight: int | None = None
    extra_addresses: tuple[str, ...] = ()
    host_key: str
    """Public host key, one line as in known_hosts(5) without the host."""


class HealthCheck(BaseModel):
    """How keepalived finds out that a real server is dead."""

    model_config = ConfigDict(frozen=True)

    type: str
    """``tcp`` or ``http``."""
    path: str
    connect_timeout: int
    """Seconds."""


class Inventory(BaseModel):
    """A lab: enough to reach every machine and to know what it should be doing."""

    model_config = ConfigDict(frozen=True)

    version: int
    stack: str
    image: str
    """Name of the system that the guests run."""
    libvirt_uri: str
    network: str
    bridge: str
    cidr: str
    gateway: str
    private: bool
    """Whether the segment is the lab's alone, so that its free addresses may be borrowed."""
    vip: str
    vip_prefix_length: int
    port: int
    url: str
    vrrp_instance: str
    vrrp_version: int
    virtual_router_id: int
    advert_int: float
    preempt: bool
    authenticated: bool
    """Whether advertisements carry a password."""
    lb_algo: str
    persistence_timeout: int
    delay_loop: int
    quorum: int
    check: HealthCheck
    smtp_server: str
    user: str = "root"
    machines: tuple[InventoryMachine, ...]

    def by_role(self, role: Role) -> tuple[InventoryMachine, ...]:
        """The machines of one role, in the order of the configuration."""
        return tuple(machine for machine in self.machines if machine.role == role)

    @property
    def directors(self) -> tuple[InventoryMachine, ...]:
        """The directors by priority, the highest first: the master, then those that take over."""
        return tuple(sorted(self.by_role(Role.DIRECTOR), key=lambda one: -(one.priority or 0)))

    @property
    def real_servers(self) -> tuple[InventoryMachine, ...]:
        """The real servers, in the order of the configuration."""
        return self.by_role(Role.REAL_SERVER)

    @property
    def client(self) -> InventoryMachine:
        """The trainee's machine."""
        return self.by_role(Role.CLIENT)[0]

    @property
    def client_addresses(self) -> tuple[str, ...]:
        """All addresses of the client's own, from which it can ask."""
        return (self.client.address, *self.client.extra_addresses)

    def lacks(self, directors: int, servers: int) -> str | None:
        """Why this lab is too small for what needs so many of each; ``None`` if it is not."""
        for what, needed, there in (
            ("director", directors, len(self.directors)),
            ("real-server", servers, len(self.real_servers)),
        ):
            if there < needed:
                return f"it needs {needed} {what}s, this lab has {there}"
        return None

    def machine(self, name: str) -> InventoryMachine:
        """The machine called ``name``.

        Raises:
            KeyError: there is none.
        """
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise KeyError(name)


def describe(
    topology: Topology, libvirt_uri: str, host_keys: dict[str, str], image: str = ""
) -> dict[str, Any]:
    """The inventory of ``topology`` as plain data.

    Args:
        topology: the lab.
        libvirt_uri: the hypervisor that runs it.
        host_keys: public host key of each machine, by name.
        image: name of the system that the guests run.
    """
    order = (*topology.directors, *topology.web_servers, topology.client)
    return Inventory(
        version=VERSION,
        stack=topology.names.stack,
        image=image,
        libvirt_uri=libvirt_uri,
        network=topology.names.prefix,
        bridge=topology.segment.host_bridge or topology.names.bridge,
        cidr=str(topology.segment.cidr),
        gateway=str(topology.segment.gateway),
        private=topology.segment.mode != "bridge",
        vip=str(topology.service.vip),
        vip_prefix_length=topology.segment.cidr.prefixlen,
        port=topology.service.port,
        url=topology.url,
        vrrp_instance=topology.router.instance,
        vrrp_version=topology.router.version,
        virtual_router_id=topology.router.virtual_router_id,
        advert_int=float(topology.router.advert_int),
        preempt=topology.router.preempt,
        authenticated=topology.router.auth_pass is not None,
        lb_algo=topology.service.lb_algo,
        persistence_timeout=topology.service.persistence_timeout,
        delay_loop=topology.service.delay_loop,
        quorum=topology.service.quorum,
        check=HealthCheck(
            type=topology.service.check.type,
            path=topology.service.check.path,
            connect_timeout=topology.service.check.connect_timeout,
        ),
        smtp_server=topology.mail.smtp_server,
        machines=tuple(_machine(topology, machine, host_keys[machine.name]) for machine in order),
    ).model_dump(mode="json")


def _machine(topology: Topology, machine: Machine, host_key: str) -> InventoryMachine:
    return InventoryMachine(
        name=machine.name,
        role=machine.role,
        address=str(machine.address),
        mac=machine.mac,
        domain=topology.names.domain(machine.name),
        packages=PACKAGES[machine.role],
        priority=machine.priority if isinstance(machine, Director) else None,
        state=machine.state if isinstance(machine, Director) else None,
        weight=machine.weight if isinstance(machine, RealServer) else None,
        extra_addresses=tuple(map(str, machine.extra_addresses)) if isinstance(machine, Client) else (),
        host_key=" ".join(host_key.split()[:2]),
    )
