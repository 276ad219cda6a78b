"""Every rule about values that have the right shape.

Nothing here touches the machine: rules that need to look at it are in ``lab.host.doctor``.
"""

import re
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from urllib.parse import urlsplit

from lab.settings.model import CheckSettings, LbAlgo, Settings, SizeSettings, SizesSettings
from lab.settings.problem import Problem

# Below this an Ubuntu 24.04 server guest runs out of memory while cloud-init installs packages.
SMALLEST_MEMORY = 384
# The virtual size of Ubuntu's cloud image; an overlay must not be smaller than what it lies on.
SMALLEST_DISK = 4

# RFC 1123 section 2.1, one label.
_HOST_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\Z")
_MAILBOX = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?P<domain>[A-Za-z0-9.-]{1,253})\Z")
# What /etc/hosts of every machine says beside the machines (lab/templates/hosts.j2).
_HOSTS_NAMES = frozenset(
    {"localhost", "ip6-localhost", "ip6-loopback", "ip6-allnodes", "ip6-allrouters", "vip"}
)
# What keepalived reads as one word: no blank, quote, brace, comment sign (# and !), $ (a definition)
# or ~ and @ (conditional configuration).
_WORD = re.compile(r"[A-Za-z0-9._%+=:,/-]+\Z")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?\Z")
_INSTANCE = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")
_URL_PATH = re.compile(r"/[A-Za-z0-9._~%+=:,/?&@-]*\Z")
# IFNAMSIZ is 16 with the terminating NUL (linux/if.h).
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")


def broken(settings: Settings) -> Iterator[Problem]:
    """The rules that ``settings`` breaks, in the order of the README's table."""
    yield from _address_problems(settings)
    yield from _name_problems(settings)
    yield from _vrrp_problems(settings)
    yield from _virtual_server_problems(settings)
    yield from _mail_problems(settings)
    yield from _machine_problems(settings)
    yield from _image_problems(settings)
    yield from _hypervisor_problems(settings)


def _placed(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every address the lab occupies, as (key, address)."""
    yield "vip", settings.vip
    for index, director in enumerate(settings.directors):
        yield f"directors.{index}.address", director.address
    for index, server in enumerate(settings.servers):
        yield f"servers.{index}.address", server.address
    if settings.sorry_server:
        yield "sorry_server.address", settings.sorry_server.address
    yield "client.address", settings.client.address


def _address_problems(settings: Settings) -> Iterator[Problem]:
    try:
        network = IPv4Network(settings.cidr)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        yield Problem(
            "cidr", settings.cidr, f"not an IPv4 network ({error}).", "Write it like 192.168.1.0/24."
        )
        return
    if not 8 <= network.prefixlen <= 29:
        yield Problem(
            "cidr",
            settings.cidr,
            "the prefix length must be 8 to 29.",
            "Six machines and a VIP need a /28 or wider.",
        )
        return
    if network.is_loopback or network.is_multicast or network.is_link_local:
        yield Problem(
            "cidr",
            settings.cidr,
            "machines cannot have loopback, link-local or multicast addresses.",
            "Choose a private network such as 192.168.1.0/24.",
        )
        return
    free = f"Choose a free address of {network}."
    gateway = IPv4Address(int(network.network_address) + 1)
    if settings.gateway:
        try:
            gateway = IPv4Address(settings.gateway)
        except AddressValueError:
            yield Problem(
                "gateway", settings.gateway, "not an IPv4 address.", "Leave it empty for the first address."
            )
            return
        yield from _place("gateway", gateway, network, {}, free)
    if settings.nameserver and not _is_address(settings.nameserver):
        yield Problem(
            "nameserver", settings.nameserver, "not an IPv4 address.", "Leave it empty for the gateway."
        )
    # libvirt gives the host the first address of a network it makes itself.
    taken: dict[IPv4Address, str] = {gateway: "the gateway"}
    if settings.network != "bridge":
        first = IPv4Address(int(network.network_address) + 1)
        taken.setdefault(first, "the host (the segment's first address)")
    for key, text in _placed(settings):
        try:
            address = IPv4Address(text)
        except AddressValueError:
            yield Problem(key, text, "not an IPv4 address.", free)
            continue
        yield from _place(key, address, network, taken, free)
    yield from _extra_address_problems(settings, network, taken)


def _place(
    key: str, address: IPv4Address, network: IPv4Network, taken: dict[IPv4Address, str], free: str
) -> Iterator[Problem]:
    if address not in network:
        yield Problem(key, address, f"lies outside cidr {network}.", free)
    elif address == network.network_address:
        yield Problem(key, address, f"is the network address of {network}.", free)
    elif address == network.broadcast_address:
        yield Problem(key, address, f"is the broadcast address of {network}.", free)
    elif address in taken:
        yield Problem(key, address, f"is already used by {taken[address]}.", free)
    else:
        taken[address] = key


def _extra_address_problems(
    settings: Settings, network: IPv4Network, taken: dict[IPv4Address, str]
) -> Iterator[Problem]:
    count = settings.client.extra_addresses
    key = "client.extra_addresses"
    if not 0 <= count <= 200:
        yield Problem(key, count, "must be 0 to 200.", "Nine are enough for every drill.")
        return
    if not _is_address(settings.client.address):
        return
    first = int(IPv4Address(settings.client.address))
    for address in (IPv4Address(first + step) for step in range(1, count + 1)):
        if address not in network or address == network.broadcast_address or address in taken:
            owner = taken.get(address, f"not a host address of {network}")
            yield Problem(
                key,
                count,
                f"source address {address} is {owner}.",
                "Lower the number or move client.address.",
            )
            return


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    for index, director in enumerate(settings.directors):
        yield f"directors.{index}.name", director.name
    for index, server in enumerate(settings.servers):
        yield f"servers.{index}.name", server.name
    if settings.sorry_server:
        yield "sorry_server.name", settings.sorry_server.name
    yield "client.name", settings.client.name


def _name_problems(settings: Settings) -> Iterator[Problem]:
    for key, least in (("directors", settings.directors), ("servers", settings.servers)):
        if not least:
            yield Problem(
                key, "[]", "at least one is needed.", "Add one, or leave the key out for the tutorial's."
            )
    seen: dict[str, str] = {}
    for key, name in _named(settings):
        if not _HOST_LABEL.match(name):
            yield Problem(
                key,
                repr(name),
                "not a host name (RFC 1123: a-z, 0-9 and inner hyphens, 1 to 63).",
                "Rename it, for example `server4`.",
            )
        elif name in _HOSTS_NAMES:
            yield Problem(key, name, "is taken: /etc/hosts has it already.", "Rename it.")
        elif name in seen:
            yield Problem(
                key, name, f"is already the name of {seen[name]}.", "Give every machine a name of its own."
            )
        else:
            seen[name] = key.removesuffix(".name")


def _vrrp_problems(settings: Settings) -> Iterator[Problem]:
    if not _INSTANCE.match(settings.vrrp_instance):
        yield Problem(
            "vrrp_instance",
            repr(settings.vrrp_instance),
            "must be 1 to 32 letters, digits, dots, hyphens or underscores.",
            "The tutorial calls it `externa`.",
        )
    if not 1 <= settings.virtual_router_id <= 255:
        yield Problem(
            "virtual_router_id",
            settings.virtual_router_id,
            "must be 1 to 255 (RFC 5798, 5.2.3).",
            "Choose one that no other router on the segment uses.",
        )
    priorities = Counter(director.priority for director in settings.directors)
    for index, director in enumerate(settings.directors):
        key = f"directors.{index}.priority"
        if not 1 <= director.priority <= 254:
            yield Problem(
                key,
                director.priority,
                "must be 1 to 254 (0 and 255 have meanings of their own, RFC 5798, 5.2.4).",
                "The tutorial uses 150 and 100.",
            )
        elif priorities[director.priority] > 1:
            yield Problem(
                key,
                director.priority,
                "two directors share this priority, so which one is MASTER is left to their addresses.",
                "Give each director a priority of its own.",
            )
            break
    yield from _advert_problems(settings)
    yield from _auth_problems(settings)


def _advert_problems(settings: Settings) -> Iterator[Problem]:
    key, text = "advert_int", settings.advert_int
    if settings.vrrp_version not in (2, 3):
        yield Problem("vrrp_version", settings.vrrp_version, "must be 2 or 3.", "The tutorial uses 2.")
        return
    if not _SECONDS.match(text):
        yield Problem(key, repr(text), "not a number of seconds.", "The tutorial uses 1.")
        return
    seconds = float(text)
    if settings.vrrp_version == 2 and not (seconds.is_integer() and 1 <= seconds <= 255):
        yield Problem(
            key,
            text,
            "VRRP version 2 counts whole seconds, 1 to 255 (RFC 3768, 5.3.7).",
            "Use 1 or more, or set vrrp_version to 3.",
        )
    # The field counts centiseconds in 12 bits.
    if settings.vrrp_version == 3 and not 0.01 <= seconds <= 40.95:
        yield Problem(
            key,
            text,
            "VRRP version 3 takes 0.01 to 40.95 seconds (RFC 5798, 5.2.7).",
            "0.1 gives fast failover.",
        )


def _auth_problems(settings: Settings) -> Iterator[Problem]:
    if settings.auth_type not in ("PASS", "none"):
        yield Problem("auth_type", settings.auth_type, "must be PASS or none.", "The tutorial uses PASS.")
        return
    if settings.auth_type == "none":
        return
    if settings.vrrp_version == 3:
        yield Problem(
            "auth_type",
            settings.auth_type,
            "VRRP version 3 has no password (RFC 5798, section 9).",
            "Set auth_type to none, or vrrp_version to 2.",
        )
    if not settings.auth_pass:
        yield Problem(
            "auth_pass", "", "must not be empty.", "Give 1 to 8 characters, or set auth_type to none."
        )
    elif not _WORD.match(settings.auth_pass):
        yield Problem(
            "auth_pass",
            "",
            "keepalived reads it as one word: letters, digits and . _ % + = : , / - only.",
            "Choose another password.",
        )


def _virtual_server_problems(settings: Settings) -> Iterator[Problem]:
    if not 1 <= settings.port <= 65535:
        yield Problem("port", settings.port, "must be 1 to 65535.", "The tutorial uses 80.")
    elif settings.port == 22:
        yield Problem("port", 22, "is where the machines' own SSH listens.", "The tutorial uses 80.")
    if settings.lb_algo not in set(LbAlgo):
        close = get_close_matches(settings.lb_algo, list(LbAlgo), n=1)
        remedy = f"Did you mean `{close[0]}`?" if close else "One of " + ", ".join(LbAlgo) + "."
        yield Problem(
            "lb_algo",
            settings.lb_algo,
            "no such scheduler (ipvsadm(8); keepalived would fall back to wlc).",
            remedy,
        )
    for index, server in enumerate(settings.servers):
        if not 0 <= server.weight <= 65535:
            yield Problem(
                f"servers.{index}.weight", server.weight, "must be 0 to 65535.", "0 keeps new clients away."
            )
    if not 0 <= settings.persistence_timeout <= 2678400:
        yield Problem(
            "persistence_timeout",
            settings.persistence_timeout,
            "must be 0 to 2678400 seconds.",
            "0 turns it off.",
        )
    if not 1 <= settings.delay_loop <= 3600:
        yield Problem(
            "delay_loop", settings.delay_loop, "must be 1 to 3600 seconds.", "The tutorial uses 10."
        )
    if settings.quorum < 1:
        yield Problem("quorum", settings.quorum, "must be 1 or more.", "1 is keepalived's own default.")
    yield from _check_problems(settings.check)


def _check_problems(check: CheckSettings) -> Iterator[Problem]:
    if check.type not in ("tcp", "http"):
        yield Problem("check.type", check.type, "must be tcp or http.", "The tutorial uses tcp (TCP_CHECK).")
    if not 1 <= check.connect_timeout <= 600:
        yield Problem(
            "check.connect_timeout",
            check.connect_timeout,
            "must be 1 to 600 seconds.",
            "The tutorial uses 5.",
        )
    if check.type == "http" and not check.path:
        yield Problem(
            "check.path", "(nothing)", "an http check needs the path it asks for.", "Set it to `/`."
        )
    elif check.path and not _URL_PATH.match(check.path):
        yield Problem(
            "check.path",
            repr(check.path),
            "must start with / and hold no blank, quote or brace.",
            "Set it to `/`.",
        )
    elif check.type == "tcp" and check.path:
        yield Problem(
            "check.path", check.path, "a tcp check asks for no path.", "Set check.type to http, or remove it."
        )
    if not 100 <= check.status <= 599:
        yield Problem("check.status", check.status, "not an HTTP status code (100 to 599).", "200 is usual.")


def _mail_problems(settings: Settings) -> Iterator[Problem]:
    mail = settings.mail
    if not mail.to:
        yield Problem(
            "mail.to", "[]", "at least one address is needed.", "Mail stays in the lab's own mail sink."
        )
    for index, mailbox in enumerate(mail.to):
        match = _MAILBOX.match(mailbox)
        if not match or not _DOMAIN.match(match["domain"]):
            yield Problem(
                f"mail.to.{index}", repr(mailbox), "not a mail address.", "Write it like trainer@example.org."
            )
    for key in ("from_domain", "smtp_server"):
        value = getattr(mail, key)
        if not _DOMAIN.match(value):
            yield Problem(f"mail.{key}", repr(value), "not a domain name.", "Write it like mail.example.org.")
    # It becomes an alias of the client in /etc/hosts.
    elsewhere = _HOSTS_NAMES | {name for key, name in _named(settings) if key != "client.name"}
    if mail.smtp_server in elsewhere:
        yield Problem(
            "mail.smtp_server",
            mail.smtp_server,
            "is the name of another machine; the client's mail sink must have it.",
            "Give the mail server a name of its own.",
        )
    if not 1 <= mail.smtp_connect_timeout <= 600:
        yield Problem(
            "mail.smtp_connect_timeout",
            mail.smtp_connect_timeout,
            "must be 1 to 600 seconds.",
            "The tutorial uses 30.",
        )


def _machine_problems(settings: Settings) -> Iterator[Problem]:
    for role in SizesSettings.model_fields:
        size: SizeSettings = getattr(settings.sizes, role)
        if size.memory < SMALLEST_MEMORY:
            yield Problem(
                f"sizes.{role}.memory",
                size.memory,
                f"a guest does not get through its first boot with less than {SMALLEST_MEMORY} MiB.",
                "512 is the default.",
            )
        if not 1 <= size.vcpus <= 16:
            yield Problem(f"sizes.{role}.vcpus", size.vcpus, "must be 1 to 16.", "1 is enough.")
        if not SMALLEST_DISK <= size.disk <= 1024:
            yield Problem(
                f"sizes.{role}.disk", size.disk, f"must be {SMALLEST_DISK} to 1024 GiB.", "6 is the default."
            )


def _hypervisor_problems(settings: Settings) -> Iterator[Problem]:
    yield from _choice("virtualization", settings.virtualization, ("auto", "kvm", "qemu"))
    yield from _choice("network", settings.network, ("nat", "isolated", "bridge"))
    if settings.network == "bridge" and not settings.bridge:
        yield Problem(
            "bridge",
            "(nothing)",
            "network: bridge needs the name of a bridge of the host.",
            "Set it, e.g. to br0.",
        )
    if settings.bridge and not _INTERFACE.match(settings.bridge):
        yield Problem(
            "bridge", repr(settings.bridge), "not an interface name.", "`ip link` lists the host's."
        )
    if not re.fullmatch(r"qemu(\+[a-z]+)?://[\x21-\x7e]*", settings.libvirt_uri):
        yield Problem(
            "libvirt_uri", repr(settings.libvirt_uri), "not a qemu libvirt URI.", "qemu:///system is usual."
        )
    if not 10 <= settings.boot_timeout <= 7200:
        yield Problem(
            "boot_timeout", settings.boot_timeout, "must be 10 to 7200 seconds.", "1800 suits emulation."
        )


def _image_problems(settings: Settings) -> Iterator[Problem]:
    if settings.image not in ("auto", "ubuntu", "debian") and not settings.image.startswith("/"):
        yield Problem(
            "image",
            settings.image,
            "must be auto, ubuntu, debian or an absolute path.",
            "`auto` is the default.",
        )
    if settings.image_sha256 and not re.fullmatch(r"[0-9a-f]{64}", settings.image_sha256):
        yield Problem(
            "image_sha256",
            settings.image_sha256,
            "must be 64 hex digits.",
            "`sha256sum FILE` gives it.",
        )
    elif settings.image_sha256 and not settings.image.startswith("/"):
        yield Problem(
            "image_sha256",
            settings.image_sha256,
            f"belongs to an image given by path, and image is {settings.image}, which has its own checksum.",
            "Remove it, or give the path of the image.",
        )
    if settings.package_proxy and not _is_proxy(settings.package_proxy):
        yield Problem(
            "package_proxy",
            repr(settings.package_proxy),
            "not an http URL.",
            "Write it like http://192.168.1.1:3142.",
        )


def _choice(key: str, value: str, allowed: tuple[str, ...]) -> Iterator[Problem]:
    if value not in allowed:
        yield Problem(
            key,
            value,
            "must be " + ", ".join(allowed[:-1]) + f" or {allowed[-1]}.",
            f"`{allowed[0]}` is the default.",
        )


def _is_proxy(text: str) -> bool:
    try:
        url = urlsplit(text)
        return (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and bool(re.fullmatch(r"[\x21\x23-\x26\x28-\x7e]+", text))
        )
    except ValueError:
        return False
