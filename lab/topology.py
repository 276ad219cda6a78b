"""Who is who in the lab: plain data that every later step reads, worked out from the settings alone.

The tutorial's cluster in this vocabulary: two *directors* share a *virtual router* that moves the
VIP between them, and on the VIP a *virtual server* that forwards (Direct Routing) to three *real
servers*. A *client* on the same *segment* looks at it all from outside.
"""

import hashlib
import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from lab import PROJECT
from lab.settings import CheckSettings, MailSettings, Settings, SizeSettings

# vrrp.h, VRRP_AUTH_LEN: what follows the eighth byte is never sent and never compared.
AUTH_PASS_LENGTH = 8


class Role(StrEnum):
    """What a machine is there for."""

    DIRECTOR = "director"
    REAL_SERVER = "real-server"
    SORRY_SERVER = "sorry-server"
    CLIENT = "client"


@dataclass(frozen=True)
class Machine:
    """One guest: its place on the segment and its size."""

    name: str
    role: Role
    address: IPv4Address
    size: SizeSettings

    @property
    def mac(self) -> str:
        """Hardware address: QEMU's prefix and the last three bytes of the address.

        A rebuilt machine keeps it, and a capture shows at a glance whose frame it is.
        """
        return "52:54:00:" + ":".join(f"{byte:02x}" for byte in self.address.packed[1:])

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All its own on the segment, the one it is known by first."""
        return (self.address,)


@dataclass(frozen=True)
class Director(Machine):
    """A keepalived host that may hold the VIP and balances what arrives there."""

    priority: int
    state: str
    """Initial ``state`` of the VRRP instance. Priority decides; this is what the tutorial writes."""


@dataclass(frozen=True)
class RealServer(Machine):
    """An apache2 host that answers for the VIP, or the sorry server that stands in for all."""

    weight: int


@dataclass(frozen=True)
class Client(Machine):
    """The trainee's workstation, with further source addresses so that persistence can be seen."""

    extra_addresses: tuple[IPv4Address, ...]

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """Those further ones among them."""
        return (self.address, *self.extra_addresses)


@dataclass(frozen=True)
class Segment:
    """The one layer-2 network that all machines share."""

    cidr: IPv4Network
    gateway: IPv4Address
    nameserver: IPv4Address
    mode: str
    host_bridge: str
    """Bridge of the host to join; empty unless ``mode`` is ``bridge``."""


@dataclass(frozen=True)
class VirtualRouter:
    """The VRRP side: who holds the VIP, how fast it moves."""

    instance: str
    version: int
    virtual_router_id: int
    advert_int: str
    """Seconds, as written in the configuration."""
    preempt: bool
    auth_pass: str | None


@dataclass(frozen=True)
class VirtualServer:
    """The IPVS side: what arrives at the VIP and where it goes."""

    vip: IPv4Address
    port: int
    lb_algo: str
    persistence_timeout: int
    delay_loop: int
    check: CheckSettings
    quorum: int


@dataclass(frozen=True)
class Names:
    """Every name the hypervisor sees; the stack's name keeps stacks apart."""

    stack: str

    @property
    def prefix(self) -> str:
        """Start of every name of this stack, and the name of its network and pool."""
        return f"{PROJECT}-{self.stack}"

    @property
    def bridge(self) -> str:
        """Name of the segment's bridge, within the kernel's 15 characters."""
        plain = f"br-{self.stack}"
        if re.fullmatch(r"[A-Za-z0-9-]{1,15}", plain):
            return plain
        return "br-" + hashlib.sha256(self.stack.encode()).hexdigest()[:8]

    def domain(self, machine: str) -> str:
        """Name of a machine's libvirt domain.

        The last dot ends the stack's name, as host names have none: the machines of stack ``dev-x`` are
        not taken for those of ``dev``.
        """
        return f"{self.prefix}.{machine}"

    def owns_domain(self, domain: str) -> bool:
        """Whether ``domain`` is called like a machine of this stack."""
        stack, _, machine = domain.rpartition(".")
        return stack == self.prefix and bool(machine)


@dataclass(frozen=True)
class Topology:
    """The whole lab."""

    names: Names
    segment: Segment
    router: VirtualRouter
    service: VirtualServer
    directors: tuple[Director, ...]
    real_servers: tuple[RealServer, ...]
    sorry_server: RealServer | None
    client: Client
    mail: MailSettings

    @property
    def web_servers(self) -> tuple[RealServer, ...]:
        """All machines that serve pages for the VIP: the real servers and the sorry server."""
        return (*self.real_servers, self.sorry_server) if self.sorry_server else self.real_servers

    @property
    def machines(self) -> tuple[Machine, ...]:
        """All machines in boot order: the slowest first, so that no wave waits long for its last."""
        return (*self.web_servers, *self.directors, self.client)

    @property
    def url(self) -> str:
        """Where a client finds the service."""
        port = "" if self.service.port == 80 else f":{self.service.port}"
        return f"http://{self.service.vip}{port}/"

    @property
    def hosts(self) -> tuple[tuple[IPv4Address, tuple[str, ...]], ...]:
        """The names of the segment, as /etc/hosts on every machine lists them.

        The mail server's name is an alias of the client, whose sink takes the mail. It must never be
        left to DNS: keepalived resolves it while it parses, and a slow answer costs the VIP.
        """
        aliases: dict[str, tuple[str, ...]] = {machine.name: (machine.name,) for machine in self.machines}
        aliases[self.client.name] += (self.mail.smtp_server,)
        placed = sorted(self.machines, key=lambda machine: machine.address)
        return (
            (self.service.vip, ("vip",)),
            *((machine.address, aliases[machine.name]) for machine in placed),
        )


def plan(settings: Settings, stack: str) -> Topology:
    """Work out the lab of ``stack``. Pure: the same settings always give the same topology."""
    cidr = IPv4Network(settings.cidr)
    first = IPv4Address(int(cidr.network_address) + 1)
    gateway = IPv4Address(settings.gateway) if settings.gateway else first
    client_address = IPv4Address(settings.client.address)
    return Topology(
        names=Names(stack),
        segment=Segment(
            cidr=cidr,
            gateway=gateway,
            nameserver=IPv4Address(settings.nameserver) if settings.nameserver else gateway,
            mode=settings.network,
            host_bridge=settings.bridge if settings.network == "bridge" else "",
        ),
        router=VirtualRouter(
            instance=settings.vrrp_instance,
            version=settings.vrrp_version,
            virtual_router_id=settings.virtual_router_id,
            advert_int=settings.advert_int,
            preempt=settings.preempt,
            auth_pass=_effective_password(settings),
        ),
        service=VirtualServer(
            vip=IPv4Address(settings.vip),
            port=settings.port,
            lb_algo=settings.lb_algo,
            persistence_timeout=settings.persistence_timeout,
            delay_loop=settings.delay_loop,
            check=settings.check,
            quorum=settings.quorum,
        ),
        directors=_directors(settings),
        real_servers=tuple(
            RealServer(
                server.name,
                Role.REAL_SERVER,
                IPv4Address(server.address),
                settings.sizes.server,
                server.weight,
            )
            for server in settings.servers
        ),
        sorry_server=_sorry_server(settings),
        client=Client(
            settings.client.name,
            Role.CLIENT,
            client_address,
            settings.sizes.client,
            tuple(client_address + step for step in range(1, settings.client.extra_addresses + 1)),
        ),
        mail=settings.mail,
    )


# What an emulated machine's first boot costs, packages included, compared with a director's.
_BOOT_COST = {Role.REAL_SERVER: 1.4, Role.SORRY_SERVER: 1.4, Role.DIRECTOR: 1.0, Role.CLIENT: 0.9}


def boot_queues(machines: Sequence[Machine], limit: int) -> dict[str, str]:
    """Which machine each one waits for before it boots, by name; those that boot at once are missing.

    At most ``limit`` boot at a time. Each machine, in the given order, joins the queue that should be free
    first (Graham's list scheduling), so that none works on alone for long when the others are done.
    """
    queues: list[tuple[float, int, str]] = []
    waits: dict[str, str] = {}
    for place, machine in enumerate(machines):
        begins = 0.0
        if place >= limit:
            begins, _, waits[machine.name] = heapq.heappop(queues)
        heapq.heappush(queues, (begins + _BOOT_COST[machine.role], place, machine.name))
    return waits


def warnings(settings: Settings) -> list[str]:
    """What is allowed but will surprise; one sentence each."""
    found = []
    if settings.auth_type == "PASS" and len(settings.auth_pass) > AUTH_PASS_LENGTH:
        found.append(
            f"auth_pass has {len(settings.auth_pass)} characters; keepalived uses the first "
            f"{AUTH_PASS_LENGTH}, so the lab writes just those."
        )
    if sum(server.weight for server in settings.servers) < settings.quorum:
        found.append(f"quorum is {settings.quorum}, more than all weights together: it is never reached.")
    return found


def _effective_password(settings: Settings) -> str | None:
    return settings.auth_pass[:AUTH_PASS_LENGTH] if settings.auth_type == "PASS" else None


def _sorry_server(settings: Settings) -> RealServer | None:
    asked = settings.sorry_server
    if asked is None:
        return None
    return RealServer(
        asked.name, Role.SORRY_SERVER, IPv4Address(asked.address), settings.sizes.server, weight=0
    )


def _directors(settings: Settings) -> tuple[Director, ...]:
    highest = max(director.priority for director in settings.directors)
    return tuple(
        Director(
            director.name,
            Role.DIRECTOR,
            IPv4Address(director.address),
            settings.sizes.director,
            director.priority,
            # keepalived.conf(5): nopreempt needs an initial state of BACKUP.
            "MASTER" if director.priority == highest and settings.preempt else "BACKUP",
        )
        for director in settings.directors
    )
