"""One archive with everything that helps to understand a lab from afar, and nothing secret."""

import io
import re
import tarfile
import time
from pathlib import Path

from lab.errors import LabError
from lab.operate.guests import Guests
from lab.topology import Role

_COMMON = {
    "addresses": "ip -brief address; echo; ip -4 route; echo; ip neighbour",
    "hosts": "cat /etc/hosts",
    "versions": (
        "cat /etc/os-release; uname -a; "
        "dpkg-query -W keepalived ipvsadm apache2 cloud-init systemd 2>/dev/null"
    ),
    "journal": "journalctl -b --no-pager -n 2000 -o short-precise",
    "cloud-init": "cat /run/cloud-init/result.json; tail -n 200 /var/log/cloud-init-output.log",
    "sockets": "ss -ltnup",
    "firewall": "nft list ruleset",
}
_ROLES = {
    Role.DIRECTOR: {
        "keepalived.conf": "cat /etc/keepalived/keepalived.conf",
        "ipvs": "ipvsadm -Ln; echo; ipvsadm -Ln --stats --exact; echo; ipvsadm -Lcn",
        "sysctl": "sysctl net.ipv4.vs",
    },
    Role.REAL_SERVER: {
        "sysctl": "sysctl -a 2>/dev/null | grep -E 'arp_(ignore|announce)'",
        "apache": "apache2ctl -S; tail -n 100 /var/log/apache2/error.log",
    },
    Role.CLIENT: {"mail": "ls -l /var/lib/mail-sink/mail/new"},
}
_ROLES[Role.SORRY_SERVER] = _ROLES[Role.REAL_SERVER]

_SECRET = re.compile(r"(auth_pass\s+)\S+")


def masked(text: str) -> str:
    """``text`` without passwords and private keys."""
    text = _SECRET.sub(r"\1********", text)
    return re.sub(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----",
        "(private key left out)",
        text,
        flags=re.DOTALL,
    )


async def collect(guests: Guests, versions: str, file: Path) -> list[str]:
    """Write the archive.

    Args:
        guests: how the machines are reached.
        versions: of project, engine, plugins, image and packages, as JSON.
        file: the archive, ``.tar.gz``; it appears whole or not at all.

    Returns:
        What could not be had, a sentence each.
    """
    inventory = guests.inventory
    parts = {
        "inventory.json": inventory.model_dump_json(indent=1),
        "versions.json": versions,
    }
    missing = []

    async def ask(name: str) -> dict[str, str]:
        wanted = _COMMON | _ROLES[inventory.machine(name).role]
        found = {}
        for title, command in wanted.items():
            answer = await guests.run(name, command, check=False, timeout=60)
            found[f"{name}/{title}.txt"] = masked(answer.stdout + answer.stderr)
        return found

    told = await guests.on_each([machine.name for machine in inventory.machines], ask)
    for name, answer in told.items():
        if isinstance(answer, LabError):
            missing.append(str(answer))
            parts[f"{name}/unreachable.txt"] = f"{answer}\n"
        else:
            parts |= answer
    _write(file, f"lvs-dr-lab-{inventory.stack}", parts)
    return missing


def _write(file: Path, folder: str, parts: dict[str, str]) -> None:
    staged = file.with_name(file.name + ".new")
    now = int(time.time())
    with tarfile.open(staged, "w:gz") as archive:
        for name, text in sorted(parts.items()):
            data = text.encode()
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), now, 0o644
            archive.addfile(entry, io.BytesIO(data))
    staged.replace(file)
