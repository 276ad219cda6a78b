"""A real engine, a real Pulumi program and an SSH server on the loopback interface."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from lab.host.engine import Engine, ensure_engine
from lab.host.paths import cache_dir

PROGRAM = """
import json, pathlib
import pulumi, pulumi_command

def value(given):
    if isinstance(given, dict):
        match given:
            case {"secret": inner}:
                return pulumi.Output.secret(inner)
            case {"text": text}:
                return pulumi.StringAsset(text)
            case {"directory": path}:
                return pulumi.FileArchive(path)
        return {key: value(inner) for key, inner in given.items()}
    return given

for name, spec in json.loads(pathlib.Path("spec.json").read_text()).items():
    module, kind = spec.pop("type").split(".")
    timeout = spec.pop("timeout", None)
    options = pulumi.ResourceOptions(
        custom_timeouts=pulumi.CustomTimeouts(create=timeout) if timeout else None,
    )
    getattr(getattr(pulumi_command, module), kind)(
        name, opts=options, **{key: value(given) for key, given in spec.items()}
    )
"""


@dataclass
class Call:
    """A command that reached the SSH server."""

    command: str
    stdin: str
    environment: dict[str, str]


@dataclass
class SshServer:
    """Runs what it is told with sh; knows one key."""

    port: int
    key: str
    host_key: str
    root: Path
    calls: list[Call] = field(default_factory=list)
    logins: int = 0
    open_connections: int = 0

    @property
    def connection(self) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "private_key": self.key,
            "host_key": self.host_key,
            "dial_error_limit": 0,
        }

    @property
    def commands(self) -> list[str]:
        return [call.command for call in self.calls]


@pytest.fixture(scope="session")
def engine() -> Engine:
    return ensure_engine(cache_dir(), lambda text: None)


@pytest.fixture
def ssh_server(tmp_path: Path) -> Iterator[SshServer]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    root = tmp_path / "remote"
    root.mkdir()
    server = SshServer(0, key.export_private_key().decode(), host_key.export_public_key().decode(), root)

    class Connections(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            server.open_connections += 1

        def connection_lost(self, exc: Exception | None) -> None:
            server.open_connections -= 1

        def auth_completed(self) -> None:
            server.logins += 1

        def connection_requested(self, *where: object) -> bool:
            return True

    async def answer(process: asyncssh.SSHServerProcess[str]) -> None:
        assert process.command
        shell = await asyncio.create_subprocess_exec(
            *("sh", "-c", process.command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **process.env},
        )
        try:
            stdin = await process.stdin.read()
            server.calls.append(Call(process.command, stdin, dict(process.env)))
            stdout, stderr = await shell.communicate(stdin.encode())
            process.stdout.write(stdout.decode())
            process.stderr.write(stderr.decode())
            process.exit(shell.returncode or 0)
        finally:
            if shell.returncode is None:
                shell.kill()
                await shell.wait()

    loop = asyncio.new_event_loop()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            Connections,
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(key.export_public_key().decode()),
            process_factory=answer,
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(root)),
        )

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    acceptor = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    server.port = acceptor.get_port()
    yield server

    async def stop() -> None:
        acceptor.close()
        # A command whose client gave up is still running.
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@dataclass
class Project:
    """A Pulumi project whose program declares what a dictionary says."""

    folder: Path
    environment: dict[str, str]

    def pulumi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def try_up(self, spec: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "spec.json").write_text(json.dumps(spec))
        return self.pulumi("up", "--yes", "--skip-preview", "--color=never", *arguments)

    def up(self, spec: dict[str, Any], *arguments: str) -> str:
        done = self.try_up(spec, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def exported(self, *arguments: str) -> str:
        done = self.pulumi("stack", "export", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def resource(self, name: str) -> dict[str, Any]:
        """Inputs and outputs of a resource, secrets opened."""
        for resource in json.loads(self.exported("--show-secrets"))["deployment"]["resources"]:
            if resource["urn"].endswith(f"::{name}"):
                return {side: _opened(resource[side]) for side in ("inputs", "outputs")}
        raise KeyError(name)


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        if "plaintext" in value:
            return json.loads(value["plaintext"])
        return {key: _opened(inner) for key, inner in value.items()}
    return value


@pytest.fixture
def project(engine: Engine, tmp_path: Path) -> Project:
    folder = tmp_path / "program"
    state = tmp_path / "state"
    for new in (folder, state):
        new.mkdir()
    (folder / "Pulumi.yaml").write_text("name: trial\nruntime: python\n")
    (folder / "__main__.py").write_text(PROGRAM)
    environment = engine.environment(Path(sys.executable).parent)
    environment |= {
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "",
    }
    engine.plug_into(environment)
    project = Project(folder, environment)
    done = project.pulumi("stack", "init", "dev")
    assert done.returncode == 0, done.stderr
    return project
