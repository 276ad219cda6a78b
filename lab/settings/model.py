"""The model of the stack's configuration. The defaults are the tutorial's values.

Keys carry the names of keepalived.conf(5) where it has one. This file has the shape of every key; the
rules about values are in ``rules``.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class LbAlgo(StrEnum):
    """Schedulers that ipvsadm(8) lists and every distribution kernel ships as a module."""

    RR = "rr"
    WRR = "wrr"
    LC = "lc"
    WLC = "wlc"
    LBLC = "lblc"
    LBLCR = "lblcr"
    SH = "sh"
    MH = "mh"
    DH = "dh"
    FO = "fo"
    OVF = "ovf"
    SED = "sed"
    NQ = "nq"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DirectorSettings(_Model):
    """One keepalived director."""

    name: str = Field(description="host name")
    address: str = Field(description="address on the segment")
    priority: int = Field(description="VRRP priority, 1 to 254; the highest is the MASTER")


class ServerSettings(_Model):
    """One apache2 real server."""

    name: str = Field(description="host name")
    address: str = Field(description="address on the segment")
    weight: int = Field(default=1, description="weight in the IPVS table, 0 or more")


class SorryServerSettings(_Model):
    """The server that answers when the real servers are below quorum."""

    name: str = Field(description="host name")
    address: str = Field(description="address on the segment")


class ClientSettings(_Model):
    """The trainee's workstation."""

    name: str = Field(default="client", description="host name")
    address: str = Field(default="192.168.1.100", description="address on the segment")
    extra_addresses: int = Field(default=9, description="how many source addresses follow the first one")


class CheckSettings(_Model):
    """How the directors test a real server."""

    type: str = Field(default="tcp", description="`tcp` (TCP_CHECK) or `http` (HTTP_GET)")
    connect_timeout: int = Field(default=5, description="seconds")
    path: str = Field(default="", description="URL path, `http` only")
    status: int = Field(default=200, description="expected status code, `http` only")


class MailSettings(_Model):
    """Who hears of changes, and from whom."""

    to: tuple[str, ...] = Field(default=("cgomez.stack@gmail.com",), description="notification_email")
    from_domain: str = Field(default="laboratorio.com", description="a director writes as NAME@from_domain")
    smtp_server: str = Field(
        default="mysmtp.laboratorio.com",
        description="name of the mail server; the directors' /etc/hosts points it at the client's mail sink",
    )
    smtp_connect_timeout: int = Field(default=30, description="seconds")
    smtp_alert_vrrp: bool = Field(default=True, description="mail VRRP state changes too")


class SizeSettings(_Model):
    """What one machine is given."""

    memory: int = Field(default=512, description="MiB")
    vcpus: int = Field(default=1, description="virtual processors")
    disk: int = Field(default=6, description="GiB, allocated as it is written")


class SizesSettings(_Model):
    """Sizes by role."""

    director: SizeSettings = SizeSettings()
    server: SizeSettings = SizeSettings()
    client: SizeSettings = SizeSettings()


class Settings(_Model):
    """The stack's configuration, complete and checked."""

    cidr: str = Field(default="192.168.1.0/24", description="the one segment, IPv4")
    gateway: str = Field(
        default="", description="default route of the guests; empty: the first address of `cidr`"
    )
    nameserver: str = Field(default="", description="DNS server of the guests; empty: the gateway")
    vip: str = Field(default="192.168.1.20", description="the virtual IP address")
    directors: tuple[DirectorSettings, ...] = Field(
        default=(
            DirectorSettings(name="master", address="192.168.1.21", priority=150),
            DirectorSettings(name="backup", address="192.168.1.22", priority=100),
        ),
        description="keepalived directors, one or more: `name`, `address`, `priority`",
    )
    servers: tuple[ServerSettings, ...] = Field(
        default=(
            ServerSettings(name="server1", address="192.168.1.50"),
            ServerSettings(name="server2", address="192.168.1.51"),
            ServerSettings(name="server3", address="192.168.1.52"),
        ),
        description="apache2 real servers, one or more: `name`, `address`, `weight`",
    )
    client: ClientSettings = Field(
        default=ClientSettings(),
        description="the trainee's workstation: `name`, `address`, `extra_addresses`",
    )
    vrrp_instance: str = Field(default="externa", description="name of the VRRP instance")
    vrrp_version: int = Field(default=2, description="2 or 3")
    virtual_router_id: int = Field(default=21, description="VRID, 1 to 255")
    advert_int: str = Field(
        default="1", description="seconds between advertisements; whole with version 2, from 0.01 with 3"
    )
    preempt: bool = Field(
        default=True, description="a returning director of higher priority takes the VIP back"
    )
    auth_type: str = Field(default="PASS", description="`PASS`, or `none` (VRRP 3 knows none)")
    auth_pass: str = Field(default="Venezuela21", description="password; keepalived uses its first 8 bytes")
    port: int = Field(default=80, description="TCP port of the virtual server and of every real server")
    lb_algo: str = Field(default="rr", description="IPVS scheduler: " + ", ".join(LbAlgo))
    persistence_timeout: int = Field(
        default=7200, description="seconds a client address stays with its server; 0 turns persistence off"
    )
    delay_loop: int = Field(default=10, description="seconds between two checks of a real server")
    check: CheckSettings = Field(
        default=CheckSettings(),
        description="health check: `type` (`tcp`, `http`), `connect_timeout`, `path`, `status`",
    )
    quorum: int = Field(default=1, description="weight of live servers below which the sorry server answers")
    sorry_server: SorryServerSettings | None = Field(
        default=None, description="one more machine, for when quorum is lost: `name`, `address`; empty: none"
    )
    mail: MailSettings = Field(
        default=MailSettings(),
        description=(
            "notifications: `to`, `from_domain`, `smtp_server`, `smtp_connect_timeout`, `smtp_alert_vrrp`"
        ),
    )
    sizes: SizesSettings = Field(
        default=SizesSettings(),
        description="per role (`director`, `server`, `client`): `memory` MiB, `vcpus`, `disk` GiB",
    )
    image: str = Field(
        default="auto",
        description="`auto` (Ubuntu, or a Debian guest built here where Ubuntu's server cannot be reached), "
        "`ubuntu`, `debian`, or the absolute path of a qcow2 file",
    )
    image_sha256: str = Field(default="", description="checksum that an image given by path must have")
    package_proxy: str = Field(default="", description="URL of an apt proxy for the guests")
    libvirt_uri: str = Field(default="qemu:///system", description="the hypervisor")
    virtualization: str = Field(default="auto", description="`auto`, `kvm` or `qemu` (emulation)")
    network: str = Field(default="nat", description="`nat`, `isolated`, or `bridge` (needs `bridge`)")
    bridge: str = Field(default="", description="existing bridge of the host for `network: bridge`")
    boot_timeout: int = Field(default=1800, description="seconds a machine may take until cloud-init is done")
