"""What the command plugin does, whoever made it: the lab relies on each of these."""

import json
import time
from pathlib import Path

import asyncssh

from lab.host.engine import Engine
from tests.toolchain.conftest import Project, SshServer

LONG = 200_000


def test_a_command_gets_its_stdin_and_the_state_keeps_its_secrets(
    project: Project, ssh_server: SshServer
) -> None:
    spec = {
        "push": {
            "type": "remote.Command",
            "connection": ssh_server.connection,
            "create": f"cat; head -c {LONG} /dev/zero | tr '\\0' x; echo; echo aside >&2",
            "stdin": {"secret": "the VRRP password\n"},
            "triggers": ["machine-1"],
        },
        "bare": {
            "type": "remote.Command",
            "connection": {"host": "127.0.0.1", "port": ssh_server.port, "private_key": ssh_server.key},
            "create": "hostname",
        },
    }
    project.up(spec)
    call = next(call for call in ssh_server.calls if call.command.startswith("cat"))
    assert call.stdin == "the VRRP password\n"

    push = project.resource("push")["outputs"]
    assert push["stdout"] == "the VRRP password\n" + "x" * LONG
    assert push["stderr"] == "aside"
    # What the official plugin fills in must be there, or it would see a change when it takes over.
    filled = {"user": "root", "port": ssh_server.port, "dialErrorLimit": 10, "perDialTimeout": 15}
    for side in ("inputs", "outputs"):
        connection = project.resource("bare")[side]["connection"]
        assert {key: connection[key] for key in filled} == filled

    sealed = project.exported()
    body = ssh_server.key.splitlines()[1]
    assert body not in sealed
    assert json.dumps(body)[1:-1] not in sealed
    assert '"stdin": "the VRRP' not in sealed

    ran = len(ssh_server.calls)
    project.up(spec, "--expect-no-changes")
    assert len(ssh_server.calls) == ran
    assert ssh_server.open_connections == 0


def test_the_life_of_a_command(project: Project, ssh_server: SshServer) -> None:
    spec = {
        "type": "remote.Command",
        "connection": ssh_server.connection,
        "create": "echo created",
        "delete": "echo deleted",
        "stdin": "one",
        "triggers": ["machine-1"],
    }
    project.up({"it": spec})
    assert ssh_server.commands == ["echo created"]

    # Without a command of its own an update runs the one of the creation.
    project.up({"it": spec | {"stdin": "two"}})
    assert ssh_server.commands == ["echo created"] * 2
    assert ssh_server.calls[-1].environment["PULUMI_COMMAND_STDOUT"] == "created"

    spec |= {"stdin": "two", "update": "echo updated", "add_previous_output_in_env": False}
    project.up({"it": spec})
    assert ssh_server.commands[2:] == ["echo updated"]
    assert "PULUMI_COMMAND_STDOUT" not in ssh_server.calls[-1].environment
    assert project.resource("it")["outputs"]["stdout"] == "updated"

    # A changed trigger replaces: the new one is made before the old one is taken away.
    project.up({"it": spec | {"triggers": ["machine-2"]}})
    assert ssh_server.commands[3:] == ["echo created", "echo deleted"]

    project.up({})
    assert ssh_server.commands[5:] == ["echo deleted"]


def test_failures_say_what_happened_and_keep_the_input_to_themselves(
    project: Project, ssh_server: SshServer
) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    done = project.try_up(
        {
            "broken": {
                "type": "remote.Command",
                "connection": ssh_server.connection,
                "create": "echo out; echo err >&2; exit 3",
                "stdin": "not to be seen",
            },
            "unreachable": {
                "type": "remote.Command",
                "connection": ssh_server.connection | {"port": 1, "dial_error_limit": 2},
                "create": "true",
            },
            "impostor": {
                "type": "remote.Command",
                "connection": ssh_server.connection | {"host_key": stranger},
                "create": "echo never",
            },
            "stranger": {
                "type": "remote.Command",
                "connection": {"host": "127.0.0.1", "port": ssh_server.port, "dial_error_limit": 0},
                "create": "echo never",
            },
        },
        "--continue-on-error",
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert 'status 3: running "echo out; echo err >&2; exit 3":' in said
    assert {"out", "err"} <= {line.strip() for line in said.splitlines()}
    assert "not to be seen" not in said
    assert "no connection to 127.0.0.1:1 after 3 failed attempts" in said
    assert "host key mismatch" in said
    assert "unable to authenticate" in said
    assert ssh_server.commands == ["echo out; echo err >&2; exit 3"]


def test_a_time_out_ends_a_command_that_hangs(project: Project, ssh_server: SshServer) -> None:
    begin = time.monotonic()
    done = project.try_up(
        {
            "hang": {
                "type": "remote.Command",
                "connection": ssh_server.connection,
                "create": "exec sleep 50",
                "timeout": "1s",
            },
            "wait": {
                "type": "remote.Command",
                "connection": ssh_server.connection | {"port": 1, "dial_error_limit": -1},
                "create": "true",
                "timeout": "1s",
            },
        },
        "--continue-on-error",
    )
    assert done.returncode != 0
    assert done.stdout.count("context deadline exceeded") >= 2
    assert time.monotonic() - begin < 20


def test_through_a_bastion_host(project: Project, ssh_server: SshServer) -> None:
    connection = ssh_server.connection
    project.up(
        {
            "it": {
                "type": "remote.Command",
                "connection": connection | {"proxy": connection},
                "create": "echo through",
            }
        }
    )
    assert project.resource("it")["outputs"]["stdout"] == "through"
    assert ssh_server.logins == 2
    assert ssh_server.open_connections == 0


def test_copies(project: Project, ssh_server: SshServer, tmp_path: Path) -> None:
    source = tmp_path / "site"
    (source / "css").mkdir(parents=True)
    (source / "index.html").write_text("hello")
    (source / "css" / "page.css").write_text("body {}")
    text = {
        "type": "remote.CopyToRemote",
        "connection": ssh_server.connection,
        "source": {"text": "one"},
        "remote_path": "/etc/new/file.conf",
    }
    site = {
        "type": "remote.CopyToRemote",
        "connection": ssh_server.connection,
        "source": {"directory": str(source)},
        "remote_path": "/srv",
    }
    project.up({"text": text, "site": site})
    target = ssh_server.root / "etc" / "new" / "file.conf"
    assert target.read_text() == "one"
    assert (ssh_server.root / "srv" / "site" / "css" / "page.css").read_text() == "body {}"

    logins = ssh_server.logins
    project.up({"text": text | {"source": {"text": "two"}}, "site": site})
    assert target.read_text() == "two"
    assert ssh_server.logins == logins + 1


def test_local_commands(project: Project, tmp_path: Path) -> None:
    spec = {
        "type": "local.Command",
        "create": "print(input(), __import__('os').environ['WHO']); open('a.txt', 'w'); open('b.bin', 'w')",
        "interpreter": ["python3", "-c"],
        "environment": {"WHO": "world"},
        "stdin": "hello",
        "dir": str(tmp_path),
        "asset_paths": ["*.txt"],
        "archive_paths": ["*", "!*.txt"],
    }
    project.up({"it": spec})
    outputs = project.resource("it")["outputs"]
    assert outputs["stdout"] == "hello world"
    assert list(outputs["assets"]) == ["a.txt"]
    assert list(outputs["archive"]["assets"]) == ["b.bin"]
    project.up({"it": spec}, "--expect-no-changes")

    done = project.try_up({"other": {"type": "local.Command", "create": "true", "dir": "/does/not/exist"}})
    assert done.returncode != 0
    assert "/does/not/exist" in done.stdout


def test_the_schema_is_that_of_the_sdk(project: Project, engine: Engine) -> None:
    done = project.pulumi("package", "get-schema", str(engine.bin_dir / "pulumi-resource-command"))
    schema = json.loads(done.stdout)
    assert (schema["name"], schema["version"]) == ("command", "1.2.1")
    resources = schema["resources"]
    for token in ("command:remote:Command", "command:remote:CopyToRemote"):
        assert resources[token]["inputProperties"]["connection"]["secret"]
    for token in ("command:remote:Command", "command:remote:CopyToRemote", "command:local:Command"):
        assert resources[token]["inputProperties"]["triggers"]["replaceOnChanges"]
    properties = schema["types"]["command:remote:Connection"]["properties"]
    secrets = {name for name, given in properties.items() if given.get("secret")}
    assert secrets == {"password", "privateKey", "privateKeyPassword"}
    defaults = {name: given["default"] for name, given in properties.items() if "default" in given}
    assert defaults == {"user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
