"""The embedded hypervisor, as root and as an ordinary user: real namespaces, real libvirt.

Nothing here is skipped: where libvirt, QEMU or the rights to make namespaces are missing, it fails.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.host import sandbox as sandbox_module
from lab.host.sandbox import Sandbox, why_not_rootless
from tests.users import User, ordinary_user

pytestmark = pytest.mark.timeout(300)

PROJECT = Path(__file__).resolve().parents[2]

NETWORK = """
<network>
  <name>segment</name>
  <forward mode="nat"/>
  <bridge name="br-dr"/>
  <ip address="192.168.1.1" netmask="255.255.255.0"/>
</network>
"""

# No operating system: that the emulator runs and holds a tap on the bridge is what is asked.
GUEST = """
<domain type="qemu">
  <name>guest</name>
  <memory unit="MiB">32</memory>
  <os><type>hvm</type></os>
  <devices>
    <interface type="network"><source network="segment"/><model type="virtio"/></interface>
    <console type="pty"/>
  </devices>
</domain>
"""


@pytest.fixture
def start() -> Iterator[Callable[[], Sandbox]]:
    """Start as many sandboxes as a test asks for; they are gone afterwards, whatever happened."""
    made: list[Sandbox] = []

    def another() -> Sandbox:
        sandbox = Sandbox(Path(tempfile.mkdtemp(prefix="lab-sandbox-")) / "hypervisor")
        made.append(sandbox)
        sandbox.ensure(print)
        return sandbox

    yield another
    for sandbox in made:
        sandbox.remove()
        sandbox.directory.parent.rmdir()


def inside(sandbox: Sandbox, *argv: str, text: str | None = None) -> str:
    done = subprocess.run(
        sandbox.command(argv), input=text, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def virsh(sandbox: Sandbox, *argv: str, text: str | None = None) -> str:
    return inside(sandbox, "virsh", "-q", "-c", "qemu:///system", *argv, text=text)


def start_network_and_guest(sandbox: Sandbox) -> None:
    for kind, xml in (("net", NETWORK), ("guest", GUEST)):
        (sandbox.directory.parent / f"{kind}.xml").write_text(xml)
    virsh(sandbox, "net-define", str(sandbox.directory.parent / "net.xml"))
    virsh(sandbox, "net-start", "segment")
    virsh(sandbox, "define", str(sandbox.directory.parent / "guest.xml"))
    virsh(sandbox, "start", "guest")
    for kind in ("net", "guest"):
        (sandbox.directory.parent / f"{kind}.xml").unlink()


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def namespace(pid: int, kind: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def processes_in(namespaces: set[str]) -> list[str]:
    """Command names of the processes that live in one of these namespaces."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if {str((process / "ns" / kind).readlink()) for kind in ("net", "pid")} & namespaces:
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return found


def holder_pid(sandbox: Sandbox) -> int:
    return int((sandbox.directory / "holder").read_text().split()[0])


def host_interfaces() -> str:
    return subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout


def test_libvirt_answers_inside_and_a_second_call_is_quick(start: Callable[[], Sandbox]) -> None:
    sandbox = start()
    assert "Running hypervisor: QEMU" in virsh(sandbox, "version")
    before = holder_pid(sandbox)
    begun = time.monotonic()
    sandbox.ensure(pytest.fail)
    assert time.monotonic() - begun < 5
    assert holder_pid(sandbox) == before


def test_nothing_of_the_host_changes_and_nothing_is_left(start: Callable[[], Sandbox]) -> None:
    def host() -> tuple[str, str, list[str], str]:
        files = sorted(str(path) for folder in ("/etc/libvirt", "/run") for path in Path(folder).rglob("*"))
        routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
        return host_interfaces(), Path("/proc/self/mounts").read_text(), files, routes

    before = host()
    sandbox = start()
    start_network_and_guest(sandbox)
    pid = holder_pid(sandbox)
    namespaces = {namespace(pid, "net"), namespace(pid, "pid")}
    assert {"libvirtd", "dnsmasq", "qemu-system-x86"} <= set(processes_in(namespaces))
    assert host() == before
    sandbox.remove()
    eventually(lambda: not processes_in(namespaces))
    assert not sandbox.directory.exists()
    assert not sandbox.running()
    assert str(sandbox.directory) not in _all_command_lines()
    assert host() == before
    sandbox.remove()


def _all_command_lines() -> str:
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_text())
        except OSError:
            continue
    return "\n".join(lines)


def test_two_run_side_by_side_with_the_same_network(start: Callable[[], Sandbox]) -> None:
    first, second = start(), start()
    for sandbox in (first, second):
        start_network_and_guest(sandbox)
        assert "192.168.1.1/24" in inside(sandbox, "ip", "-oneline", "address", "show", "br-dr")
        assert virsh(sandbox, "domstate", "guest") == "running"
    first.remove()
    assert virsh(second, "domstate", "guest") == "running"


def test_a_killed_libvirtd_comes_back_and_finds_its_guests(start: Callable[[], Sandbox]) -> None:
    sandbox = start()
    start_network_and_guest(sandbox)
    # Again and again: whether it is still dying when it is looked at is a matter of luck.
    for _ in range(10):
        inside(sandbox, "sh", "-c", "kill -KILL $(cat /run/libvirt/libvirtd.pid)")
        sandbox.ensure(pytest.fail)
    assert virsh(sandbox, "domstate", "guest") == "running"


def test_a_killed_way_out_comes_back(start: Callable[[], Sandbox]) -> None:
    sandbox = start()
    pidfile = sandbox.directory / "slirp4netns.pid"
    first = pidfile.read_text()
    way_out = int(first.split()[0])
    os.kill(way_out, 9)
    eventually(lambda: "tap0" not in inside(sandbox, "ip", "-oneline", "link"))
    eventually(lambda: not Path(f"/proc/{way_out}").exists())
    sandbox.ensure(pytest.fail)
    assert pidfile.read_text() != first
    assert "198.18.0." in inside(sandbox, "ip", "-oneline", "-4", "address", "show", "tap0")


def test_a_dead_holder_takes_everything_along_and_is_replaced(start: Callable[[], Sandbox]) -> None:
    sandbox = start()
    start_network_and_guest(sandbox)
    pid = holder_pid(sandbox)
    namespaces = {namespace(pid, "net"), namespace(pid, "pid")}
    way_out = int((sandbox.directory / "slirp4netns.pid").read_text().split()[0])
    os.kill(pid, 9)
    eventually(lambda: not processes_in(namespaces))
    eventually(lambda: not Path(f"/proc/{way_out}").exists())
    assert not sandbox.running()
    sandbox.ensure(print)
    # Definitions are kept, what ran is off: as after a restart of the computer.
    assert virsh(sandbox, "domstate", "guest") == "shut off"
    assert virsh(sandbox, "net-list", "--all", "--name") == "segment"


def test_another_process_with_the_recorded_number_is_not_ours(start: Callable[[], Sandbox]) -> None:
    sandbox = start()
    record = sandbox.directory / "holder"
    pid, started, boot = record.read_text().split()
    for changed in (
        f"{pid} {int(started) + 1} {boot}",
        f"{pid} {started} another-boot",
        f"1 {started} {boot}",
        "x",
    ):
        record.write_text(changed)
        assert not sandbox.running()
    record.write_text(f"{pid} {started} {boot}\n")
    assert sandbox.running()


def test_a_command_keeps_directory_environment_output_and_status(
    start: Callable[[], Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_MARK", "two words")
    shown = subprocess.run(
        sandbox.command(["sh", "-c", 'pwd; echo "$LAB_MARK"; echo wrong >&2; exit 7']),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shown.stdout, shown.stderr, shown.returncode) == (f"{tmp_path}\ntwo words\n", "wrong\n", 7)


def test_ctrl_c_is_the_commands_affair(start: Callable[[], Sandbox]) -> None:
    sandbox = start()
    script = 'trap "echo tidied; exit 0" INT; echo ready; while :; do sleep 0.1; done'
    with subprocess.Popen(
        sandbox.command(["sh", "-c", script]), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        os.killpg(running.pid, 2)
        assert running.stdout.read() == "tidied\n"
        assert running.wait(timeout=30) == 0
    assert sandbox.running()


def test_a_command_ends_with_the_one_that_waits_for_it(start: Callable[[], Sandbox]) -> None:
    sandbox = start()
    script = 'trap "echo told; exit 0" TERM; echo ready; while :; do sleep 0.1; done'
    with subprocess.Popen(
        sandbox.command(["sh", "-c", script]), stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        assert running.stdout.read() == "told\n"


def test_orphans_are_reaped(start: Callable[[], Sandbox]) -> None:
    sandbox = start()
    inside(sandbox, "sh", "-c", "for n in 1 2 3 4 5; do setsid true & done")
    eventually(lambda: " Z" not in inside(sandbox, "ps", "-eo", "comm,stat"))


def test_the_daemons_survive_the_session_that_started_them(tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="lab-sandbox-")) / "hypervisor"
    program = (
        "from pathlib import Path; from lab.host.sandbox import Sandbox; "
        f"Sandbox(Path({str(directory)!r})).ensure(print)"
    )
    starter = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    sandbox = Sandbox(directory)
    try:
        assert starter.stdout.strip() == "starting the embedded hypervisor"
        pid = holder_pid(sandbox)
        assert os.getsid(pid) != os.getsid(0)
        open_files = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
        assert open_files == {"/dev/null", str(directory / "holder.log"), str(directory / "alive")}
        assert virsh(sandbox, "version")
    finally:
        sandbox.remove()
        directory.parent.rmdir()


def test_a_missing_way_out_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[], Sandbox]
) -> None:
    sandbox = start()
    sandbox.stop()
    which = shutil.which
    monkeypatch.setattr(
        sandbox_module.shutil, "which", lambda name: None if name == "slirp4netns" else which(name)
    )
    said: list[str] = []
    sandbox.ensure(said.append)
    assert said[1:] == ["slirp4netns is not installed: the guests will not reach the internet"]


def test_a_libvirtd_that_cannot_start_is_quoted(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[], Sandbox]
) -> None:
    sandbox = start()
    sandbox.stop()
    monkeypatch.setattr(sandbox_module, "_LIBVIRTD_CONF", "no such setting\n")
    with pytest.raises(LabError, match=r"libvirtd does not start: .*libvirtd\.conf"):
        sandbox.ensure(print)


def test_a_stopped_sandbox_runs_no_commands(start: Callable[[], Sandbox]) -> None:
    sandbox = start()
    sandbox.stop()
    with pytest.raises(LabError, match="is not running"):
        sandbox.command(["true"])


@pytest.fixture
def user() -> Iterator[User]:
    """An account without rights that has a copy of the package in its home."""
    with ordinary_user() as account:
        shutil.copytree(PROJECT / "lab", account.home / "lab", ignore=shutil.ignore_patterns("__pycache__"))
        account.owns(account.home)
        yield account


def as_user(user: User, program: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program as the user; the system's interpreter, because root's may be out of reach."""
    return user.run(["/usr/bin/python3", "-c", program], environment={"PYTHONPATH": str(user.home)})


ROOTLESS = f"""
import subprocess
from pathlib import Path
from lab.host.sandbox import Sandbox, needs_sudo, why_not_rootless
assert why_not_rootless() is None, why_not_rootless()
assert not needs_sudo()
sandbox = Sandbox(Path.home() / "hypervisor")
def virsh(*argv):
    subprocess.run(sandbox.command(["virsh", "-q", "-c", "qemu:///system", *argv]), check=True)
try:
    sandbox.ensure(print)
    Path("net.xml").write_text({NETWORK!r})
    Path("guest.xml").write_text({GUEST!r})
    virsh("net-define", "net.xml")
    virsh("net-start", "segment")
    virsh("define", "guest.xml")
    virsh("start", "guest")
    virsh("domstate", "guest")
    subprocess.run(sandbox.command(["ip", "-oneline", "-4", "address"]), check=True)
    virsh("destroy", "guest")
finally:
    sandbox.remove()
assert not sandbox.directory.exists()
print("removed")
"""


def test_an_ordinary_user_runs_a_network_and_a_guest(user: User) -> None:
    before = host_interfaces()
    done = as_user(user, ROOTLESS)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "running" in lines
    assert any("br-dr" in line and "192.168.1.1/24" in line for line in lines)
    assert any("tap0" in line and "198.18.0." in line for line in lines)
    assert lines[-1] == "removed"
    assert "internet" not in done.stdout
    assert host_interfaces() == before
    eventually(lambda: not user.processes())


WHY = "from lab.host.sandbox import needs_sudo, why_not_rootless; print(needs_sudo(), why_not_rootless())"


def test_a_closed_tun_device_is_named(user: User) -> None:
    Path("/dev/net/tun").chmod(0o600)
    assert as_user(user, WHY).stdout.startswith("True /dev/net/tun is not open to ordinary users")


def test_a_missing_range_is_named_with_the_command_that_gives_one(user: User) -> None:
    subprocess.run(["usermod", "--del-subuids", "0-4294967294", user.name], check=False)
    shown = as_user(user, WHY).stdout
    assert shown.startswith(f"True {user.name} has no range in /etc/subuid"), shown
    assert f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user.name}" in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("user/max_user_namespaces", "0"),
    ],
)
def test_a_kernel_that_forbids_it_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setattr(sandbox_module, "_sysctl", lambda asked: value if asked == name else None)
    reason = why_not_rootless()
    assert reason is not None
    assert name.replace("/", ".") in reason


def test_root_needs_no_sudo() -> None:
    assert not sandbox_module.needs_sudo()
