"""The lab on libvirt. The only module that knows pulumi_libvirt: another provider would replace it alone.

Rules of the provider that shape this module (each was met in its source or on a machine):
a domain's network interfaces are never updated, so the network's id is in the domain's description,
which replaces it; a machine reads its seed once, so the seed's fingerprint is in the name of its disk;
``host-model`` differs at every read; addresses on an interface differ until there is a lease, so machines
address themselves and libvirt leases nothing.
"""

from dataclasses import dataclass

import pulumi
import pulumi_libvirt as libvirt
from pulumi import Output, ResourceOptions

from lab.render.domain import stylesheet
from lab.topology import Machine, Names, Segment

_GIB = 1024**3
_NETWORK_MODES = {"nat": "nat", "isolated": "none", "bridge": "bridge"}


@dataclass(frozen=True)
class Image:
    """A guest image on the operator's computer, as the step that provides it reports it."""

    step: pulumi.Resource
    path: Output[str]
    sha256: Output[str]


@dataclass(frozen=True)
class SeedDisk:
    """The file with a machine's cloud-init documents, as the step that writes it reports it."""

    step: pulumi.Resource
    path: Output[str]
    fingerprint: Output[str]


class Hypervisor:
    """One libvirt, with what all machines of the stack share there: the segment and the disks' pool."""

    def __init__(
        self, uri: str, accelerator: str, names: Names, segment: Segment, image: Image, opts: ResourceOptions
    ) -> None:
        self._accelerator = accelerator
        self._names = names
        self._provider = libvirt.Provider("hypervisor", uri=uri, opts=opts)
        opts = ResourceOptions.merge(opts, ResourceOptions(provider=self._provider))
        self.network = libvirt.Network(
            "segment",
            name=names.prefix,
            mode=_NETWORK_MODES[segment.mode],
            bridge=segment.host_bridge or names.bridge,
            addresses=None if segment.host_bridge else [str(segment.cidr)],
            dhcp=None if segment.host_bridge else {"enabled": False},
            autostart=True,
            # The image is the last thing that can fail before anything is built.
            opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=[image.step])),
        )
        self._pool_path = f"/var/lib/libvirt/images/{names.prefix}"
        self.pool = libvirt.Pool(
            "disks",
            name=names.prefix,
            type="dir",
            path=self._pool_path,
            opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=[image.step])),
        )
        self.base = libvirt.Volume(
            "base-image",
            # Volumes of the same path are never compared, so the checksum is the name.
            name=image.sha256.apply(lambda digest: f"base-{digest[:12]}.qcow2"),
            pool=self.pool.name,
            source=image.path,
            format="qcow2",
            opts=ResourceOptions.merge(opts, ResourceOptions(ignore_changes=["source"])),
        )

    def boot(
        self, machine: Machine, seed: SeedDisk, *, after: list[pulumi.Resource], opts: ResourceOptions
    ) -> libvirt.Domain:
        """Define and start ``machine`` once every resource of ``after`` is there."""
        opts = ResourceOptions.merge(opts, ResourceOptions(provider=self._provider))
        disk = libvirt.Volume(
            f"{machine.name}-disk",
            name=seed.fingerprint.apply(lambda digits: f"{machine.name}-{digits}.qcow2"),
            pool=self.pool.name,
            base_volume_id=self.base.id,
            format="qcow2",
            size=machine.size.disk * _GIB,
            opts=opts,
        )
        # Not a CloudInitDisk: that resource downloads itself again at every read, and the provider's
        # libvirt client deadlocks when the end of a download is announced twice (docs/adr/0001).
        iso = libvirt.Volume(
            f"{machine.name}-seed",
            name=seed.fingerprint.apply(lambda digits: f"{machine.name}-{digits}.iso"),
            pool=self.pool.name,
            source=seed.path,
            opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=[seed.step])),
        )
        domain = self._names.domain(machine.name)
        return libvirt.Domain(
            f"{machine.name}-domain",
            name=domain,
            description=self.network.id.apply(
                lambda network: f"{machine.role} {machine.name} of {self._names.prefix}, network {network}"
            ),
            type=self._accelerator,
            cpu={"mode": "host-passthrough"} if self._accelerator == "kvm" else None,
            memory=machine.size.memory,
            vcpu=machine.size.vcpus,
            disks=[{"volume_id": disk.id}, {"volume_id": iso.id}],
            network_interfaces=[{"network_id": self.network.id, "mac": machine.mac.upper()}],
            consoles=[{"type": "pty", "target_type": "serial", "target_port": "0"}],
            xml={"xslt": stylesheet(self._pool_path, f"/var/log/libvirt/qemu/{domain}.console.log")},
            # A machine that somebody switched off is started again by an `up` that refreshes.
            running=True,
            opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=after)),
        )
