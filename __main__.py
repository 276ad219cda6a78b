"""The Pulumi program: settings, topology, lab, outputs. `pulumi up` runs it."""

from pathlib import Path

import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret

from lab import settings, topology
from lab.errors import LabError
from lab.host import doctor
from lab.host.paths import StackPaths
from lab.provision.components import Lab

try:
    asked = settings.load(
        {
            key.removeprefix(f"{settings.NAMESPACE}:"): value
            for key, value in CONFIG.get().items()
            if key.startswith(f"{settings.NAMESPACE}:")
        }
    )
    plan = topology.plan(asked, pulumi.get_stack())
    for sentence in topology.warnings(asked):
        pulumi.log.warn(sentence)
    host = doctor.examine(asked, plan)
except LabError as error:
    raise pulumi.RunError(str(error)) from None

lab = Lab(
    plan,
    asked,
    accelerator=host.accelerator,
    boot_limit=host.boot_limit,
    auth_pass_is_secret=is_config_secret(f"{settings.NAMESPACE}:auth_pass"),
    seeds=StackPaths(Path(__file__).resolve().parent, pulumi.get_stack()).stack_dir / "seeds",
)

pulumi.export("vip", lab.vip)
pulumi.export("url", lab.url)
pulumi.export("image", lab.image)
pulumi.export("inventory", lab.inventory)
pulumi.export("versions", lab.versions)
pulumi.export("ssh_private_key", lab.ssh_private_key)
