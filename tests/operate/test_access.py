"""The operator's SSH files: OpenSSH itself says how it reads them."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.inventory import Inventory, describe
from lab.keys import derive
from lab.operate.access import Access
from lab.topology import Topology

SECRET = "0f" * 32


@pytest.fixture
def inventory(tutorial: Topology) -> Inventory:
    keys = {machine.name: derive(SECRET, f"host {machine.name}").public for machine in tutorial.machines}
    return Inventory.model_validate(describe(tutorial, "qemu:///system", keys))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where connections are kept of which the stack's own directory is too deep."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def access(tmp_path: Path, inventory: Inventory) -> Access:
    written = Access(tmp_path / "a directory with blanks" / "ssh")
    written.write(inventory, derive(SECRET, "login").private)
    return written


def understood(access: Access, name: str) -> dict[str, str]:
    done = subprocess.run(
        ["ssh", "-G", "-F", access.config, name], check=True, capture_output=True, text=True, timeout=10
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.mark.parametrize("name", ["master", "192.168.1.21"])
def test_openssh_finds_a_machine_by_name_and_by_address(access: Access, name: str) -> None:
    options = understood(access, name)
    assert options["hostname"] == "192.168.1.21"
    assert options["user"] == "root"
    assert options["stricthostkeychecking"] == "true"
    assert options["identitiesonly"] == "yes"
    assert options["identityagent"] == "none"
    assert options["identityfile"].strip('"') == str(access.directory / "id_ed25519")
    assert options["userknownhostsfile"].strip('"') == str(access.directory / "known_hosts")
    assert options["globalknownhostsfile"] == "/dev/null"


def test_connections_are_shared_and_end_some_time_after_their_guest(access: Access) -> None:
    options = understood(access, "master")
    assert options["controlmaster"] == "auto"
    assert options["controlpath"] == f"{access.shared}/192.168.1.21"
    assert options["controlpersist"] == "600"
    assert int(options["serveraliveinterval"]) * int(options["serveralivecountmax"]) <= 10


def test_programs_elsewhere_share_no_connection(access: Access, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(access.unshared_config(), encoding="utf-8")
    done = subprocess.run(
        ["ssh", "-G", "-F", config, "master"], check=True, capture_output=True, text=True, timeout=10
    )
    assert "hostname 192.168.1.21\n" in done.stdout
    assert "controlpath" not in done.stdout


def test_connections_of_a_stack_far_down_are_kept_where_sockets_can_be(
    tmp_path: Path, elsewhere: Path, inventory: Inventory
) -> None:
    deep = tmp_path / ("x" * 100) / "ssh"
    written = Access(deep)
    assert written.shared.parent == elsewhere
    assert written.shared != Access(deep.parent / "other").shared
    written.write(inventory, derive(SECRET, "login").private)
    assert stat.S_IMODE(written.shared.stat().st_mode) == 0o700
    written.hang_up()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("trap", ["open", "elsewhere"])
def test_a_place_for_connections_that_others_can_enter_is_refused(
    tmp_path: Path, inventory: Inventory, trap: str
) -> None:
    written = Access(tmp_path / "ssh")
    written.shared.parent.mkdir(mode=0o700, exist_ok=True)
    if trap == "open":
        written.shared.mkdir()
        written.shared.chmod(0o755)
    else:
        (tmp_path / "theirs").mkdir(mode=0o700)
        written.shared.symlink_to(tmp_path / "theirs")
    with pytest.raises(LabError, match="belongs to somebody else, or others can enter it"):
        written.write(inventory, derive(SECRET, "login").private)


def test_every_host_key_is_pinned(access: Access, inventory: Inventory) -> None:
    for machine in inventory.machines:
        for name in (machine.name, machine.address):
            done = subprocess.run(
                ["ssh-keygen", "-F", name, "-f", access.directory / "known_hosts"],
                check=True,
                capture_output=True,
                text=True,
            )
            assert machine.host_key in done.stdout


def test_nobody_else_can_read_it(access: Access) -> None:
    for path in (access.directory, access.shared, *access.directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path == access.bin, path


def test_the_key_is_the_stacks(access: Access) -> None:
    done = subprocess.run(
        ["ssh-keygen", "-y", "-f", access.directory / "id_ed25519"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == derive(SECRET, "login").public


def test_writing_again_forgets_what_was_there(access: Access, inventory: Inventory) -> None:
    fewer = inventory.model_copy(update={"machines": inventory.machines[:1]})
    access.write(fewer, derive("1f" * 32, "login").private)
    assert (access.directory / "known_hosts").read_text(encoding="utf-8").count("\n") == 1
    assert understood(access, "client")["hostname"] == "client"


@pytest.mark.parametrize("tool", ["ssh", "scp", "sftp"])
def test_a_wrapper_uses_these_files(access: Access, tool: str) -> None:
    wrapper = access.bin / tool
    assert wrapper.stat().st_mode & 0o111
    assert f'-F "{access.config}"' in wrapper.read_text(encoding="utf-8")
    subprocess.run(["sh", "-n", wrapper], check=True)


def test_the_wrapper_of_ssh_works(access: Access) -> None:
    if not shutil.which("ssh", path="/usr/bin"):
        pytest.fail("the wrappers call /usr/bin/ssh, which is not there")
    done = subprocess.run([access.bin / "ssh", "-G", "backup"], check=True, capture_output=True, text=True)
    assert "hostname 192.168.1.22\n" in done.stdout


def test_the_command_line_of_a_login(access: Access) -> None:
    assert access.ssh("master", "ipvsadm", "-Ln") == [
        "ssh",
        "-F",
        str(access.config),
        "master",
        "ipvsadm",
        "-Ln",
    ]
