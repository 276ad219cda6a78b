"""First boot: the cloud-init documents of a machine."""

import hashlib
from dataclasses import dataclass

from lab.keys import KeyPair
from lab.render.templates import render
from lab.topology import Machine, Role, Topology

# Where a guest keeps what it needs until its packages are installed; gone then.
FIRST_BOOT = "/var/lib/first-boot"
# What cloud-init installs, by role. Recommended packages are off, so ipvsadm is named.
PACKAGES: dict[Role, tuple[str, ...]] = {
    Role.DIRECTOR: ("keepalived", "ipvsadm"),
    Role.REAL_SERVER: ("apache2",),
    Role.SORRY_SERVER: ("apache2",),
    Role.CLIENT: ("curl", "tcpdump", "arping", "python3", "python3-aiosmtpd"),
}
# Scripts of cloud-init/ and the tools for which they stand in while packages are installed.
_STAND_INS = {
    "nothing.sh": ("update-rc.d",),
    "services.sh": ("deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "systemctl", "catch-up"),
}
_STAND_INS_FOR_APACHE = {"a2enmod.sh": ("a2enmod", "a2enconf", "a2ensite")}


@dataclass(frozen=True)
class Seed:
    """The NoCloud documents of one machine, and their fingerprint."""

    user_data: str
    network_config: str
    meta_data: str
    fingerprint: str
    """Eight hex digits over all of it and the image: another fingerprint is another machine."""

    def files(self) -> dict[str, str]:
        """The documents by the names that cloud-init looks for."""
        return {
            "user-data": self.user_data,
            "network-config": self.network_config,
            "meta-data": self.meta_data,
        }


def seed(
    topology: Topology,
    machine: Machine,
    *,
    login_key: str,
    host_key: KeyPair,
    image_id: str,
    package_proxy: str,
) -> Seed:
    """Render what ``machine`` reads at its first boot.

    cloud-init looks at it once per instance-id, and the provider would only swap the CD-ROM of a running
    machine. So the fingerprint goes into the instance-id and into the names of disk and ISO: a change
    rebuilds the machine.
    """
    packages = PACKAGES[machine.role]
    user_data = render(
        "user-data.yaml.j2",
        machine=machine,
        login_key=login_key,
        host_key=host_key,
        packages=packages,
        first_boot=FIRST_BOOT,
        stand_ins=_STAND_INS | (_STAND_INS_FOR_APACHE if "apache2" in packages else {}),
        package_proxy=package_proxy,
        nameserver=topology.segment.nameserver,
    )
    network_config = render(
        "network-config.yaml.j2",
        machine=machine,
        segment=topology.segment,
        addresses=[f"{address}/{topology.segment.cidr.prefixlen}" for address in machine.addresses],
    )
    fingerprint = hashlib.sha256("\0".join((user_data, network_config, image_id)).encode()).hexdigest()[:8]
    meta_data = render("meta-data.yaml.j2", machine=machine, instance_id=f"{machine.name}-{fingerprint}")
    return Seed(user_data, network_config, meta_data, fingerprint)
