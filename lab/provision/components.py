"""The lab's concepts as Pulumi components: what `pulumi up` shows as a tree."""

from collections.abc import Callable
from pathlib import Path

import pulumi
from pulumi import ComponentResource, Output, Resource, ResourceOptions

from lab.inventory import describe
from lab.keys import KeyPair, derive
from lab.provision import delivery
from lab.provision.delivery import Courier
from lab.provision.hypervisor import Hypervisor
from lab.render import guest, pushes
from lab.settings import Settings
from lab.topology import Machine, Role, Topology, boot_queues
from lab.versions import Versions, versions

_COMPONENTS = {
    Role.DIRECTOR: "Director",
    Role.REAL_SERVER: "RealServer",
    Role.SORRY_SERVER: "RealServer",
    Role.CLIENT: "Client",
}


class Guest(ComponentResource):
    """One machine of any role: disk, seed, domain, the gate that waits for it, and its settings."""

    def __init__(
        self,
        machine: Machine,
        *,
        documents: Output[guest.Seed],
        seeds: Path,
        host_key: Output[KeyPair],
        script: pulumi.Input[str],
        boot_timeout: int,
        hypervisor: Hypervisor,
        courier: Courier,
        after: list[Resource],
        opts: ResourceOptions,
    ) -> None:
        super().__init__(f"lvs-dr-lab:index:{_COMPONENTS[machine.role]}", machine.name, None, opts)
        child = ResourceOptions(parent=self)
        seed = delivery.seed_disk(machine, documents, seeds, child)
        self.domain = hypervisor.boot(machine, seed, after=after, opts=child)
        inside = ResourceOptions(parent=self, deleted_with=self.domain)
        self.ready = courier.await_ready(
            machine, host_key, pushes.ready_script(machine, boot_timeout), boot_timeout, inside
        )
        self.settings = courier.push(
            machine, host_key, script, ResourceOptions.merge(inside, ResourceOptions(depends_on=[self.ready]))
        )
        self.register_outputs({"address": str(machine.address)})


class Lab(ComponentResource):
    """The whole lab."""

    vip: str
    url: str
    image: Output[str]
    inventory: Output[dict[str, object]]
    versions: Output[Versions]
    ssh_private_key: Output[str]

    def __init__(
        self,
        topology: Topology,
        settings: Settings,
        *,
        accelerator: str,
        boot_limit: int,
        auth_pass_is_secret: bool,
        seeds: Path,
    ) -> None:
        """Declare every resource of the lab.

        Args:
            topology: who is who.
            settings: for what is not about who is who: image, sizes of waits, hypervisor.
            accelerator: libvirt's domain type, ``kvm`` or ``qemu``.
            boot_limit: how many machines may boot at a time; emulated guests beyond the number of
                processors only slow each other down.
            auth_pass_is_secret: whether the rendered keepalived.conf must be kept out of previews.
            seeds: directory on the operator's computer for the machines' cloud-init disks.
        """
        super().__init__("lvs-dr-lab:index:Lab", topology.names.prefix)
        child = ResourceOptions(parent=self)
        secret = delivery.stack_secret(child)
        image, self.image = delivery.guest_image(settings.image, settings.image_sha256, child)
        login = _key(secret, "login")
        hypervisor = Hypervisor(
            settings.libvirt_uri, accelerator, topology.names, topology.segment, image, child
        )
        courier = Courier(login)
        host_keys = {machine.name: _key(secret, f"host {machine.name}") for machine in topology.machines}
        waits = boot_queues(topology.machines, boot_limit)
        guests: dict[str, Guest] = {}
        for machine in topology.machines:
            script: pulumi.Input[str] = pushes.script(topology, machine)
            if machine.role == Role.DIRECTOR and auth_pass_is_secret:
                script = Output.secret(script)
            documents = Output.all(login, host_keys[machine.name], image.sha256).apply(
                _seeder(topology, machine, settings.package_proxy)
            )
            guests[machine.name] = Guest(
                machine,
                documents=documents,
                seeds=seeds,
                host_key=host_keys[machine.name],
                script=script,
                boot_timeout=settings.boot_timeout,
                hypervisor=hypervisor,
                courier=courier,
                after=[guests[waits[machine.name]].ready] if machine.name in waits else [],
                opts=child,
            )
        self.vip = str(topology.service.vip)
        self.url = topology.url
        self.ssh_private_key = login.apply(lambda key: key.private)
        public = {
            name: Output.unsecret(key.apply(lambda pair: pair.public)) for name, key in host_keys.items()
        }
        self.inventory = Output.all(self.image, Output.all(**public)).apply(
            lambda known: describe(topology, settings.libvirt_uri, known[1], image=known[0])
        )
        told = {name: one.ready.stdout for name, one in guests.items()}
        self.versions = Output.all(self.image, Output.all(**told)).apply(
            lambda known: versions(known[0], known[1])
        )
        self.register_outputs({"vip": self.vip, "url": self.url})


def _key(secret: Output[str], purpose: str) -> Output[KeyPair]:
    return secret.apply(lambda digits: derive(digits, purpose))


def _seeder(topology: Topology, machine: Machine, package_proxy: str) -> Callable[[list[object]], guest.Seed]:
    def seed(resolved: list[object]) -> guest.Seed:
        login, host_key, image_id = resolved
        assert isinstance(login, KeyPair)  # noqa: S101  Output.all forgets the types of its parts
        assert isinstance(host_key, KeyPair)  # noqa: S101
        return guest.seed(
            topology,
            machine,
            login_key=login.public,
            host_key=host_key,
            image_id=str(image_id),
            package_proxy=package_proxy,
        )

    return seed
