"""One Pulumi stack as the operator handles it: environment, engine calls, state."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from lab import PROJECT
from lab.errors import LabError
from lab.host.engine import Engine
from lab.host.paths import StackPaths
from lab.host.progress import Story, follow
from lab.host.sandbox import Sandbox
from lab.inventory import Inventory
from lab.say import Say

_PASSPHRASES = {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"}
_SALT = b"encryptionsalt:"
# A value that `pulumi config set --secret` wrote; only the passphrase of its salt opens it.
_SECRET = b"secure:"


class Stack:
    """Runs the engine for one stack, inside the embedded hypervisor's namespaces where there is one."""

    def __init__(self, paths: StackPaths, engine: Engine, sandbox: Sandbox | None) -> None:
        self.paths = paths
        self.name = paths.stack
        self.sandbox = sandbox
        self._engine = engine

    def outside(self) -> "Stack":
        """The same stack without its hypervisor, for what needs only the state."""
        return Stack(self.paths, self._engine, None)

    def environment(self) -> dict[str, str]:
        """Environment in which plain ``pulumi`` works on this stack.

        A backend or passphrase that the user has set stays as it is; otherwise state rests in the
        checkout's ``.lab`` and a passphrase drawn once seals its secrets.
        """
        environment = self._engine.environment(Path(sys.executable).parent)
        if not foreign_backend():
            private_dir(self.paths.backend)
            environment["PULUMI_BACKEND_URL"] = self.paths.backend.as_uri()
            # A login of the user's own Pulumi must not decide where this lab's state goes.
            private_dir(self.paths.pulumi_home)
            environment["PULUMI_HOME"] = str(self.paths.pulumi_home)
            self._engine.plug_into(environment)
        if not _PASSPHRASES & environment.keys():
            if not self.paths.passphrase.exists():
                private_dir(self.paths.lab)
                write_private(self.paths.passphrase, secrets.token_urlsafe(24) + "\n")
            environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(self.paths.passphrase)
        environment["LVS_DR_LAB_STACK"] = self.name
        # Which one is selected is the last word of whoever used the checkout; another stack's, perhaps.
        environment["PULUMI_STACK"] = self.name
        return environment

    def command(
        self, argv: Sequence[str], directory: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """``argv`` as it must be executed, with ``environment``, to reach the hypervisor and the guests."""
        return self.sandbox.command(argv, directory, environment) if self.sandbox else list(argv)

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` beside the machines, in the project; ``options`` as for subprocess.run."""
        environment = options.setdefault("env", self.environment())
        options.setdefault("text", True)
        project = self.paths.project
        return subprocess.run(self.command(argv, project, environment), cwd=project, **options)  # noqa: PLW1510  the caller decides

    def apply(self, say: Say, verb: str, *arguments: str) -> Story:
        """Let the engine change things (``up`` or ``destroy``), telling the story as it goes.

        The engine's own output is kept in ``<stack>/<verb>.log``.

        Raises:
            LabError: the engine failed; with what it said of each resource.
        """
        private_dir(self.paths.stack_dir)
        events = self.paths.stack_dir / f"{verb}.events"
        events.unlink(missing_ok=True)
        log = self.paths.stack_dir / f"{verb}.log"
        argv = ["pulumi", verb, "--yes", "--skip-preview", "--stack", self.name, "--non-interactive"]
        argv += ["--event-log", str(events), *arguments]
        story = Story(say)
        with self.untouched_config(), log.open("w", encoding="utf-8") as out:
            log.chmod(0o600)
            # Without it the engine does not know --event-log.
            environment = self.environment() | {"PULUMI_DEBUG_COMMANDS": "true"}
            engine = subprocess.Popen(
                self.command(argv, self.paths.project, environment),
                cwd=self.paths.project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            try:
                for event in follow(events, lambda: engine.poll() is None):
                    story.hear(event)
            except KeyboardInterrupt:
                # The engine got the same interrupt from the terminal and is writing its state down.
                say("stopping: what is under way is written down first")
                engine.wait()
                raise
            status = engine.wait()
        events.unlink(missing_ok=True)
        if status != 0:
            said = story.errors or [_engine_words(log.read_text(encoding="utf-8"))]
            raise LabError(f"pulumi {verb} of stack {self.name} failed.\n" + "\n".join(said))
        return story

    def ask(self, *arguments: str) -> str:
        """Run the engine quietly and return what it prints.

        Raises:
            LabError: it fails; with its own words.
        """
        argv = ["pulumi", *arguments, "--stack", self.name, "--non-interactive"]
        done = self.run(argv, check=False, capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            words = _engine_words(done.stderr or done.stdout)
            raise LabError(f"pulumi {arguments[0]} failed on stack {self.name}: {words}")
        return done.stdout

    def exists(self) -> bool:
        """Whether the backend knows the stack."""
        if not foreign_backend():
            return self.paths.state.exists()
        argv = ["pulumi", "stack", "ls", "--json", "--non-interactive"]
        done = self.run(argv, check=False, capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise LabError(f"the Pulumi backend cannot be read: {_engine_words(done.stderr)}")
        return any(entry["name"].rsplit("/", 1)[-1] == self.name for entry in json.loads(done.stdout))

    def create(self) -> None:
        """Make the stack in the backend, which does not know it yet.

        Raises:
            LabError: the configuration has secrets that this passphrase does not open; or the engine failed.
        """
        # What an engine that was killed has left of an earlier life of the stack fits no new passphrase.
        self._drop_salt()
        try:
            with self.untouched_config():
                self.ask("stack", "init", "--secrets-provider", "passphrase")
        except LabError as error:
            if "incorrect passphrase" not in str(error):
                raise
            name = self.paths.config.name
            raise LabError(
                f"the passphrase does not open the secrets in {name}.\n"
                "    Give the one they were written with: PULUMI_CONFIG_PASSPHRASE=... make up.\n"
                f"    If it is lost, take `encryptionsalt:` and the values with `secure:` out of {name}\n"
                "    and set them anew."
            ) from None

    @contextmanager
    def untouched_config(self) -> Iterator[None]:
        """Take out of the stack's configuration file the salt that the engine writes into it.

        That is the user's file, under version control, and the state has the salt too. What the user
        changes in it meanwhile stays.
        """
        config = self.paths.config
        there, salted = config.exists(), config.exists() and _SALT in config.read_bytes()
        try:
            yield
        finally:
            self._drop_salt(even_of_theirs=not salted)
            if not there and config.exists() and not config.read_bytes():
                config.unlink()

    def _drop_salt(self, *, even_of_theirs: bool = False) -> None:
        """Take the salt out if nothing needs it: no secret in the file, no passphrase of the user's."""
        config = self.paths.config
        text = config.read_bytes() if config.exists() else b""
        if _SALT not in text or _SECRET in text:
            return
        if even_of_theirs or not _PASSPHRASES & os.environ.keys():
            lines = [line for line in text.splitlines(keepends=True) if not line.startswith(_SALT)]
            config.write_bytes(b"".join(lines))

    def deployment(self) -> dict[str, Any]:
        """The engine's record of what exists, without opening secrets.

        Raises:
            LabError: it cannot be read, or is damaged: the engine takes an empty file for a stack without
                machines, and those that stand would be removed as nobody's.
        """
        if not foreign_backend():
            # Read here: to start the engine takes a second.
            return deployment_in(self.paths)
        exported = json.loads(self.ask("stack", "export")).get("deployment")
        return exported if isinstance(exported, dict) else {}

    def outputs(self, *, secrets_too: bool = False) -> dict[str, Any]:
        """The stack's outputs; secret ones only if asked for."""
        answer = self.ask("stack", "output", "--json", *(["--show-secrets"] if secrets_too else []))
        outputs = json.loads(answer)
        return outputs if isinstance(outputs, dict) else {}

    def inventory(self) -> Inventory:
        """The lab that is up.

        Raises:
            LabError: there is none.
        """
        found = self.outputs().get("inventory") if self.exists() else None
        if not found:
            raise LabError(f"stack {self.name} is not up.\n    `make up` builds it.")
        return Inventory.model_validate(found)

    def unlock(self) -> bool:
        """Free a stack that a killed engine left locked; whether it was locked.

        Raises:
            LabError: an engine is still at work on this checkout.
        """
        if not any((self.paths.backend / ".pulumi" / "locks").rglob(f"{self.name}/*.json")):
            return False
        for process in psutil.process_iter(["name", "cwd", "pid"]):
            if process.info["name"] == "pulumi" and process.info["cwd"] == str(self.paths.project):
                raise LabError(
                    f"stack {self.name} is locked: pulumi is at work on it (process {process.info['pid']}).\n"
                    "    Wait for it to end."
                )
        self.ask("cancel", "--yes")
        return True

    def forget(self) -> None:
        """Remove the stack from the backend, with whatever it still lists, and its own directory."""
        # What is in the checkout are files, and they go with the rest.
        if foreign_backend() and self.exists():
            with self.untouched_config():
                self.ask("stack", "rm", "--yes", "--force", "--preserve-config")
        for folder in list((self.paths.backend / ".pulumi").rglob(f"{PROJECT}/{self.name}")):
            shutil.rmtree(folder, ignore_errors=True)
        for backup in (self.paths.backend / ".pulumi" / "stacks" / PROJECT).glob(f"{self.name}.json*"):
            backup.unlink()
        shutil.rmtree(self.paths.stack_dir, ignore_errors=True)


def foreign_backend() -> bool:
    """Whether the user keeps the engine's state in a place of their own."""
    return "PULUMI_BACKEND_URL" in os.environ


def deployment_in(paths: StackPaths) -> dict[str, Any]:
    """The engine's record of a stack whose state rests in the checkout; empty if it was never built.

    Raises:
        LabError: the state cannot be read, or is damaged.
    """
    state = paths.state
    try:
        checkpoint = json.loads(state.read_text(encoding="utf-8"))["checkpoint"]
    except (OSError, ValueError, TypeError, KeyError):
        checkpoint = None
    if not isinstance(checkpoint, dict):
        raise LabError(
            f"the engine's state of stack {paths.stack} is damaged: {state}.\n"
            f"    Put {state.name}.bak, the copy of the step before, in its place and `make up` again;\n"
            "    or `make down`, which removes the lab by name."
        )
    found = checkpoint.get("latest")
    return found if isinstance(found, dict) else {}


def _engine_words(text: str) -> str:
    lines = [line.removeprefix("error: ") for line in text.strip().splitlines() if line.strip()]
    return " ".join(lines[-3:]) if lines else "it gave no reason"


def private_dir(path: Path) -> None:
    """Make ``path`` a directory that its owner alone can enter."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700)


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read; it appears whole or not at all."""
    private_dir(path.parent)
    staged = path.with_name(path.name + ".new")
    with os.fdopen(
        os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    staged.replace(path)
