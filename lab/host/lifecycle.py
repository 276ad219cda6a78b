"""Building a lab and taking it away, step by step; what `make up` and `make down` do."""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import topology as topologies
from lab.errors import LabError
from lab.host import (
    doctor,
    hypervisor,
    image,
    leftovers,
    packages,
    pulse,
    recall,
    standing,
    whereabouts,
)
from lab.host.engine import Engine, ensure_engine
from lab.host.paths import StackPaths, cache_dir
from lab.host.progress import Story
from lab.host.sandbox import Sandbox
from lab.host.stack import Stack, foreign_backend, private_dir
from lab.inventory import Inventory
from lab.say import Say
from lab.settings import Settings, load, stack_values

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Up:
    """A lab that stands, and how long its parts took in seconds."""

    stack: Stack
    inventory: Inventory
    image: str
    changed: str
    """What the engine did, in a few words."""
    seconds: dict[str, float]


def read_settings(paths: StackPaths) -> Settings:
    """The configuration in ``Pulumi.<stack>.yaml``; what is encrypted there is checked by the program.

    Raises:
        LabError: the file is missing or breaks a rule.
    """
    if not paths.config.exists():
        known = ", ".join(sorted(file.name.split(".")[1] for file in paths.project.glob("Pulumi.*.yaml")))
        raise LabError(
            f"stack {paths.stack} has no configuration: {paths.config.name} does not exist.\n"
            f"    Copy Pulumi.dev.yaml to it, or use one of: {known or 'none here'}."
        )
    return load(stack_values(paths.config.read_text(encoding="utf-8")))


@contextmanager
def alone(paths: StackPaths) -> Iterator[None]:
    """Keep a second `lab up` or `lab down` of the same stack out.

    Raises:
        LabError: one is at work.
    """
    private_dir(paths.lab)
    with (paths.lab / f"{paths.stack}.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(
                f"another `lab up` or `lab down` of stack {paths.stack} is at work.\n    Wait for it to end."
            ) from None
        yield


def install(say: Say) -> Engine:
    """Bring the operator's computer to what the lab needs; the second time there is nothing to do."""
    if missing := packages.missing():
        packages.install(missing, say)
    return ensure_engine(cache_dir(), say)


def up(paths: StackPaths, say: Say, progress: Progress | None = None, *, asked: str = "auto") -> Up:
    """Build the lab of a stack, or bring it to what its configuration says now.

    Args:
        paths: of the stack.
        say: hears what is being done.
        progress: hears of a download: bytes so far, bytes in all if known.
        asked: which hypervisor: ``auto``, ``system`` or ``embedded``.

    Raises:
        LabError: a step failed; nothing that stood before is lost.
    """
    clock = _Clock()
    settings = read_settings(paths)
    topology = topologies.plan(settings, paths.stack)
    with alone(paths):
        engine = install(say)
        clock.lap("set-up")
        choice = hypervisor.choose(settings, topology, paths, asked)
        sandbox = _start(choice, paths, say)
        stack = Stack(paths, engine, sandbox)
        clock.lap("hypervisor")
        virsh = _virsh(stack, settings.libvirt_uri)
        if stands := standing.unchanged(paths, settings, engine, virsh):
            return Up(stack, recall.inventory(stack), stands.image, "nothing changed", clock.laps)
        standing.forget(paths)
        new = not stack.exists()
        if new:
            # Of one that is there, the program looks at what is added before it makes it.
            _check(stack, say)
        if stack.unlock():
            say("an earlier run was killed: its lock is removed")
        if new:
            stack.create()
        deployment = stack.deployment()
        _refuse_moving(deployment, settings, paths)
        if not _image_is_chosen(deployment):
            # The program would fetch it as a step of its own; here there is a progress bar.
            guest = image.ensure_image(
                settings.image, settings.image_sha256 or None, cache_dir(), say, progress
            )
            clock.lap("image")
            _announce(topology, settings, guest.name, say)
        refresh = leftovers.mend(virsh, paths.stack, deployment, say)
        try:
            if refresh:
                _look_again(stack, say)
            story = stack.apply(say, "up")
            inventory = recall.remember(stack, stack.outputs(secrets_too=True))
            if refresh or story.built:
                say("waiting until every machine answers")
                inventory = _settle(stack, inventory, virsh, story, settings.boot_timeout)
        except LabError as error:
            silent = "".join(_console_words(stack, topology, settings, str(error)))
            raise LabError(
                f"{error}\n{silent}"
                "    What was built stays. Mend the cause and run `make up` again, or `make down`."
            ) from None
        clock.lap("up")
        if sandbox:
            sandbox.give_back(paths.backend, paths.pulumi_home)
        # Only now is the engine's state this user's to read.
        standing.note(paths, settings, engine, inventory.image)
        clock.lap("access")
        return Up(stack, inventory, inventory.image, story.summary(), clock.laps)


class _Clock:
    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = now - self._last
        self._last = now


def _start(choice: hypervisor.Choice, paths: StackPaths, say: Say) -> Sandbox | None:
    if not choice.embedded:
        say(f"hypervisor: the system's libvirt ({choice.reason})")
        whereabouts.note(paths, "system")
        return None
    say(f"hypervisor: one of the lab's own, in namespaces of its own ({choice.reason})")
    sandbox = whereabouts.embedded(paths)
    whereabouts.note(paths, "embedded")
    sandbox.ensure(say)
    return sandbox


def _check(stack: Stack, say: Say) -> None:
    """Run the doctor where the hypervisor is: inside its namespaces the host's subnets do not count."""
    done = stack.run(["python", "-m", "lab.host.doctor", stack.name], check=False, capture_output=True)
    if done.returncode != 0:
        raise LabError(done.stderr.strip() or "the check of this computer failed without a word")
    for line in done.stdout.splitlines():
        say(line)


def _virsh(stack: Stack, uri: str) -> leftovers.Virsh:
    def virsh(*arguments: str) -> str:
        argv = ["virsh", "-q", "-c", uri, *arguments]
        done = stack.run(argv, check=False, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise LabError(f"virsh {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    return virsh


def _look_again(stack: Stack, say: Say) -> None:
    """Bring the state to what exists."""
    say("looking at what is still there")
    stack.apply(say, "refresh", "--clear-pending-creates")


def _settle(
    stack: Stack, inventory: Inventory, virsh: leftovers.Virsh, story: Story, boot_timeout: int
) -> Inventory:
    """See that every machine answers; build those anew that were there already and do not.

    A machine that was only switched on passes no readiness gate, and one whose computer lost its power may
    have lost what it had written. One that is still at work is waited for, ``boot_timeout`` seconds at most.
    """
    domains = {machine.name: machine.domain for machine in inventory.machines}
    deadline = time.monotonic() + boot_timeout
    while silent := _silent(stack):
        if time.monotonic() > deadline or not pulse.at_work(virsh, [domains[name] for name in silent]):
            break
        story.say(f"{', '.join(silent)}: no answer yet, but still at work: waiting on")
    if silent:
        story.say(f"{', '.join(silent)}: no answer after being switched on; building anew")
        leftovers.discard(virsh, stack.name, [domains[name] for name in silent])
        _look_again(stack, story.say)
        story.changes.update(stack.apply(story.say, "up").changes)
        inventory = recall.remember(stack, stack.outputs(secrets_too=True))
        if silent := _silent(stack):
            raise LabError(f"{', '.join(silent)} cannot be reached by SSH, though built anew.")
    return inventory


def _silent(stack: Stack) -> list[str]:
    """Machines that cannot be reached; the clocks of the others are right then."""
    done = stack.run(["python", "-m", "lab.operate.settle", stack.name], check=False, capture_output=True)
    if done.returncode != 0:
        raise LabError(done.stderr.strip() or "the look at the machines failed without a word")
    return done.stdout.split()


def _console_words(
    stack: Stack, topology: topologies.Topology, settings: Settings, error: str
) -> Iterator[str]:
    """What the consoles of machines that never answered show last, and what to do."""
    directory = stack.paths.hypervisor / "log" / "qemu" if stack.sandbox else Path("/var/log/libvirt/qemu")
    for machine in topology.machines:
        if f"{machine.name}-ready: " not in error or f"{machine.name}: cloud-init" in error:
            continue
        console = directory / f"{topology.names.domain(machine.name)}.console.log"
        yield (
            f"    {machine.name} did not answer by SSH in time. If it is only slow, raise "
            f"lvs-dr-lab:boot_timeout ({settings.boot_timeout} s now). Its console, {console}, ends with:\n"
        )
        try:
            text = console.read_bytes()[-4000:].decode(errors="replace")
        except OSError as failure:
            yield f"        ({(failure.strerror or 'it cannot be read').lower()})\n"
            continue
        # Without the escape sequences and the carriage returns of a terminal.
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x09\x0b-\x1f]", "", text)
        yield from (f"        {line}\n" for line in plain.splitlines()[-6:])


def _refuse_moving(deployment: dict[str, Any], settings: Settings, paths: StackPaths) -> None:
    """Refuse another hypervisor for a lab that stands: it would be left behind where it is."""
    uri = leftovers.recorded_uri(deployment)
    if uri and uri != settings.libvirt_uri:
        raise LabError(
            f"lvs-dr-lab:libvirt_uri = {settings.libvirt_uri}: stack {paths.stack} was built on {uri}.\n"
            "    `make down` removes it there; then `make up` builds it anew."
        )


def _image_is_chosen(deployment: dict[str, Any]) -> bool:
    """Whether the state holds the image: which one it is was decided when the stack was built."""
    return any(resource["urn"].endswith("::guest-image") for resource in deployment.get("resources", []))


def _announce(topology: topologies.Topology, settings: Settings, image_name: str, say: Say) -> None:
    emulated = doctor.accelerator(settings.virtualization) == "qemu"
    count = len(topology.machines)
    at_once = os.cpu_count() or 1
    usual = (
        f"by emulation, {at_once} at a time, about {max(2, round(count / at_once * 1.3))} minutes"
        if emulated
        else "with KVM, all at once, about two minutes"
    )
    say(f"building {count} machines from {image_name}: {usual}")


def down(paths: StackPaths, say: Say) -> None:
    """Take the lab of a stack away; nothing of it is left, whatever state it was in.

    Raises:
        LabError: something could not be removed; says what.
    """
    with alone(paths):
        kind = whereabouts.noted(paths)
        sandbox = whereabouts.embedded(paths) if kind == "embedded" else None
        if kind is None and not paths.backend.exists() and not foreign_backend():
            say(f"stack {paths.stack}: nothing to take down")
        else:
            stack = Stack(paths, ensure_engine(cache_dir(), say), sandbox)
            if kind is None and not stack.exists():
                say(f"stack {paths.stack}: nothing to take down")
            else:
                _take_down(stack, say)
    _tidy(paths)


def _take_down(stack: Stack, say: Say) -> None:
    sandbox = stack.sandbox
    if sandbox and not sandbox.running():
        # The computer was restarted: the guests are gone with their hypervisor, only files are left.
        say("the lab's own hypervisor is not running: removing what it left on disk")
    else:
        _destroy(stack, say)
        if sandbox:
            say("stopping the lab's own hypervisor")
    if sandbox:
        sandbox.remove()
        sandbox.give_back(stack.paths.lab)
    recall.access(stack.paths).hang_up()
    stack.outside().forget()
    say(f"stack {stack.name} is gone")


def _tidy(paths: StackPaths) -> None:
    """Remove what no stack of this checkout needs any more."""
    (paths.lab / f"{paths.stack}.lock").unlink(missing_ok=True)
    if any((paths.lab / "stacks").glob("*")) or any(paths.lab.glob("*.lock")):
        return
    if any((paths.backend / ".pulumi" / "stacks").rglob("*.json")):
        return
    configurations = (file.read_text(encoding="utf-8") for file in paths.project.glob("Pulumi.*.yaml"))
    if any("secure:" in text for text in configurations):
        # The passphrase opens the secrets that the user keeps in a configuration file.
        return
    shutil.rmtree(paths.lab, ignore_errors=True)


def _destroy(stack: Stack, say: Say) -> None:
    paths = stack.paths
    if stack.sandbox:
        stack.sandbox.ensure(say)
    deployment: dict[str, Any] = {}
    if stack.exists():
        stack.unlock()
        try:
            deployment = stack.deployment()
        except LabError as error:
            say(f"{error}\nremoving it by name")
    # Not by the model: a lab that another version built can be removed too.
    uri = leftovers.recorded_uri(deployment) or _configured_uri(paths)
    virsh = _virsh(stack, uri)
    if deployment.get("resources"):
        refresh = leftovers.mend(virsh, paths.stack, deployment, say)
        say("destroying the machines: about ten seconds")
        # All at once: the engine takes machines away one by one, those that booted last first.
        leftovers.switch_off(virsh, paths.stack)
        try:
            if refresh:
                _look_again(stack, say)
            stack.apply(say, "destroy")
        except LabError as error:
            say(f"{error}\nremoving the rest by name")
    leftovers.remove(virsh, paths.stack, leftovers.present(virsh, paths.stack))
    if rest := leftovers.present(virsh, paths.stack):
        raise LabError(f"stack {paths.stack} could not be removed wholly: {rest} is left on {uri}.")


def _configured_uri(paths: StackPaths) -> str:
    try:
        return read_settings(paths).libvirt_uri
    except LabError:
        # A configuration that was broken after the lab was built must not keep it from being removed.
        return Settings().libvirt_uri
