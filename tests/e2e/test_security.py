"""What docs/security.md promises, on the real lab."""

import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import TheLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2700)]

GUESTS = ("master", "server1", "client")


def processes_of(lab: TheLab) -> dict[int, str]:
    """Number and command line of everything that runs for the lab."""
    marks = (str(lab.tree), f"lvs-dr-lab-{lab.stack}")
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if any(mark in words for mark in marks):
            found[process.pid] = words
    return found


def secrets_of(lab: TheLab) -> dict[str, str]:
    """Words that nobody but their owner may read."""
    key = (lab.tree / f".lab/stacks/{lab.stack}/ssh/id_ed25519").read_text(encoding="utf-8")
    return {
        # Its first line is that of every key; the second holds what is public of it.
        "login key": key.splitlines()[3],
        "passphrase": (lab.tree / ".lab/passphrase").read_text(encoding="utf-8").strip(),
        "auth_pass": "Venezuel",
    }


def test_nothing_of_the_lab_listens_on_the_computer(lab: TheLab) -> None:
    own = processes_of(lab)
    assert any("qemu-system" in words for words in own.values())
    open_here = [
        f"{own[one.pid]}: {one.laddr}"
        for one in psutil.net_connections("tcp")
        if one.pid in own and one.status == psutil.CONN_LISTEN
    ]
    assert open_here == []


def test_machines_have_no_screen_and_their_consoles_no_port(lab: TheLab) -> None:
    for name in ("master", "backup", "server1", "server2", "server3", "client"):
        described = lab.virsh("dumpxml", lab.domain(name))
        assert "<graphics" not in described
        assert "<serial type='pty'>" in described
        assert not any(f"type='{kind}'" in described for kind in ("tcp", "udp", "telnet"))


def test_guests_take_the_stacks_key_and_nothing_else(lab: TheLab, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    options = "-F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    addresses = ("192.168.1.21", "192.168.1.50", "192.168.1.100")
    tries = "; ".join(
        f"/usr/bin/ssh {options} {how} root@{address} true 2>&1 | tail -n 1"
        for address in addresses
        for how in ("-o PreferredAuthentications=none", f"-o IdentitiesOnly=yes -i {stranger}")
    )
    said = lab.beside("sh", "-c", tries).splitlines()
    # What is in the parentheses is all that a guest would take.
    assert said == [f"root@{address}: Permission denied (publickey)." for address in addresses for _ in "12"]


def test_a_machine_that_shows_another_host_key_is_refused(lab: TheLab, tmp_path: Path) -> None:
    known = (lab.tree / f".lab/stacks/{lab.stack}/ssh/known_hosts").read_text(encoding="utf-8")
    keys = {line.split()[0].split(",")[0]: line.split()[2] for line in known.splitlines()}
    wrong = tmp_path / "known_hosts"
    wrong.write_text(known.replace(keys["server1"], keys["server2"]), encoding="utf-8")
    # A login of its own: through a connection that is open already nobody shows a key.
    options = f'-o ControlPath=none -o UserKnownHostsFile="{wrong}"'
    said = lab.beside("sh", "-c", f"ssh {options} server1 echo in 2>&1 || echo refused")
    assert said.split()[-1] == "refused"
    assert "Host key verification failed" in said


def test_secrets_are_in_their_files_and_nowhere_else(lab: TheLab) -> None:
    secrets = secrets_of(lab)
    home = lab.tree / ".lab"
    # A guest's disk and seed hold what the guest must know; so does the configuration that was rendered.
    disks = {".qcow2", ".iso"}
    found: dict[str, set[str]] = {name: set() for name in secrets}
    for file in home.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.suffix not in disks:
            text = file.read_bytes()
            for name, secret in secrets.items():
                if secret.encode() in text:
                    found[name].add(str(file.relative_to(home)))
    assert found["login key"] == {f"stacks/{lab.stack}/ssh/id_ed25519"}
    assert found["passphrase"] == {"passphrase"}
    assert [name for names in found.values() for name in names if name.endswith(".log")] == []
    # Whoever could read the rest would have to pass here.
    assert [
        folder.name for folder in (home, home / "state", home / f"stacks/{lab.stack}") if mode(folder) & 0o077
    ] == []
    assert mode(home / "passphrase") == mode(home / f"stacks/{lab.stack}/ssh/id_ed25519") == 0o600


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_no_secret_is_on_a_command_line_or_in_what_the_engine_prints(lab: TheLab) -> None:
    secrets = secrets_of(lab)
    seen = set()
    # Otherwise there would be nothing to do, and the engine would not be asked.
    (lab.tree / f".lab/stacks/{lab.stack}/standing.json").unlink(missing_ok=True)
    with lab.started("up") as process:
        while process.poll() is None:
            for one in psutil.process_iter(["cmdline"]):
                seen.add(" ".join(one.info["cmdline"] or []))
    assert process.returncode == 0
    assert len(seen) > 10
    printed = lab.beside("sh", "-c", "pulumi stack output --json; pulumi stack export")
    for name, secret in secrets.items():
        assert not [words for words in seen if secret in words], name
    for name in ("login key", "passphrase"):
        assert secrets[name] not in printed, name
