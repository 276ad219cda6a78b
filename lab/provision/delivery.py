"""What happens by running commands: on the operator's computer and, over SSH, in the guests.

The only module that knows pulumi_command. Its rules: ``triggers`` always replace, so what runs in a
guest is tied to the guest's domain; nothing there has a ``delete`` command, because the guest may be
dead by then; scripts go through standard input, because a command line shows up in logs and errors.
"""

import json
import shlex
import sys
from pathlib import Path

import pulumi
from pulumi import CustomTimeouts, Output, ResourceOptions
from pulumi_command import local, remote

from lab.keys import KeyPair
from lab.provision.hypervisor import Image, SeedDisk
from lab.render.guest import Seed
from lab.topology import Machine

_PROJECT = Path(__file__).resolve().parents[2]
# The script that went through last is kept: `lab repair` runs it again.
_RUN_AND_KEEP = (
    "umask 077 && mkdir -p /var/lib/lvs-dr-lab && cd /var/lib/lvs-dr-lab && "
    "cat > push.sh.new && sh push.sh.new </dev/null && mv -f push.sh.new push.sh"
)
# About a minute of tries: the machine has answered before, so it is only busy.
_BUSY_DIALS = 20


def stack_secret(opts: ResourceOptions) -> Output[str]:
    """64 random hex digits, drawn once in the life of the stack and kept in its state as a secret."""
    drawn = local.Command(
        "secret",
        create="od -A n -v -t x1 -N 32 /dev/urandom | tr -d ' \\n'",
        logging=local.Logging.NONE,
        add_previous_output_in_env=False,
        # An update would draw another secret, and with it rebuild every machine.
        opts=ResourceOptions.merge(
            opts,
            ResourceOptions(
                additional_secret_outputs=["stdout"],
                ignore_changes=["create", "logging", "addPreviousOutputInEnv"],
            ),
        ),
    )
    return drawn.stdout


def guest_image(source: str, sha256: str, opts: ResourceOptions) -> tuple[Image, Output[str]]:
    """Provide the guest image when the program is applied, never in a preview.

    Which image ``auto`` means is decided once, here, and then rests in the state: a vendor's server that
    answers again tomorrow must not rebuild a running lab.

    Returns:
        The image, and the name of the system in it.
    """
    argv = [sys.executable, "-m", "lab.host.image", source, *([sha256] if sha256 else [])]
    step = local.Command(
        "guest-image",
        create=shlex.join(argv),
        dir=str(_PROJECT),
        logging=local.Logging.STDERR,
        add_previous_output_in_env=False,
        opts=opts,
    )
    report = step.stdout.apply(json.loads)
    return Image(step=step, path=report["path"], sha256=report["sha256"]), report["name"]


def seed_disk(machine: Machine, seed: Output[Seed], directory: Path, opts: ResourceOptions) -> SeedDisk:
    """Write the cloud-init documents of ``machine`` into a file of ``directory``; it goes with the step."""
    fingerprint = Output.unsecret(seed.apply(lambda documents: documents.fingerprint))
    path = fingerprint.apply(lambda digits: str(directory / f"{machine.name}-{digits}.iso"))
    step = local.Command(
        f"{machine.name}-seed-file",
        create=path.apply(lambda file: shlex.join([sys.executable, "-m", "lab.host.seed", file])),
        # The hypervisor has a copy of its own; the operator's is not to outlive the lab.
        delete=path.apply(lambda file: shlex.join(["rm", "-f", file])),
        dir=str(_PROJECT),
        stdin=seed.apply(lambda documents: json.dumps(documents.files())),
        triggers=[fingerprint],
        logging=local.Logging.NONE,
        add_previous_output_in_env=False,
        opts=opts,
    )
    return SeedDisk(step=step, path=path, fingerprint=fingerprint)


class Courier:
    """Carries scripts to the guests of a stack, with the stack's key and each guest's pinned host key."""

    def __init__(self, login: Output[KeyPair]) -> None:
        self._login = login

    def _connection(self, machine: Machine, host_key: Output[KeyPair], dials: int) -> remote.ConnectionArgs:
        return remote.ConnectionArgs(
            host=str(machine.address),
            user="root",
            private_key=self._login.apply(lambda key: key.private),
            host_key=host_key.apply(lambda key: key.public),
            dial_error_limit=dials,
            per_dial_timeout=5,
        )

    def await_ready(
        self, machine: Machine, host_key: Output[KeyPair], script: str, timeout: int, opts: ResourceOptions
    ) -> remote.Command:
        """Dial until the guest answers, then run ``script``; ``timeout`` seconds and a minute in all."""
        return remote.Command(
            f"{machine.name}-ready",
            connection=self._connection(machine, host_key, dials=-1),
            create="bash -s",
            stdin=script,
            logging=remote.Logging.NONE,
            add_previous_output_in_env=False,
            triggers=_triggers(opts),
            opts=ResourceOptions.merge(
                opts,
                # A changed time-out or wording is no reason to wait again.
                ResourceOptions(
                    custom_timeouts=CustomTimeouts(create=f"{timeout + 60}s"),
                    ignore_changes=["stdin", "connection"],
                ),
            ),
        )

    def push(
        self, machine: Machine, host_key: Output[KeyPair], script: pulumi.Input[str], opts: ResourceOptions
    ) -> remote.Command:
        """Run ``script`` in the guest now, and again whenever it changes or the guest is a new one."""
        return remote.Command(
            f"{machine.name}-settings",
            connection=self._connection(machine, host_key, dials=_BUSY_DIALS),
            create=_RUN_AND_KEEP,
            stdin=script,
            logging=remote.Logging.NONE,
            add_previous_output_in_env=False,
            triggers=_triggers(opts),
            opts=ResourceOptions.merge(
                opts, ResourceOptions(custom_timeouts=CustomTimeouts(create="10m", update="10m"))
            ),
        )


def _triggers(opts: ResourceOptions) -> list[Output[str]]:
    """The guest that a command belongs to, as the one trigger of it."""
    domain = opts.deleted_with
    if not isinstance(domain, pulumi.CustomResource):
        raise TypeError("a command in a guest needs deleted_with=<the guest's domain>")
    return [domain.id]
