"""An ordinary account of this computer, made for a test and removed after it."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class User:
    """An account and its home."""

    name: str
    home: Path

    def run(
        self,
        argv: Sequence[str],
        *,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        within: float = 240,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, with nothing of root's on its PATH or in its home."""
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "PULUMI"))
        }
        own = {"HOME": str(self.home), "PATH": SYSTEM_PATH, "USER": self.name, "LOGNAME": self.name}
        return subprocess.run(
            ["runuser", "-u", self.name, "--", *argv],
            cwd=directory or self.home,
            env=inherited | own | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=within,
        )

    def owns(self, path: Path) -> None:
        """Give ``path`` and all below it to this user."""
        subprocess.run(["chown", "-R", f"{self.name}:", str(path)], check=True)

    def processes(self) -> list[str]:
        """What runs under this account or its subordinate numbers; the dead who wait for init do not."""
        number = pwd.getpwnam(self.name).pw_uid
        shown = subprocess.run(["ps", "-eo", "uid=,stat=,args="], capture_output=True, text=True, check=True)
        rows = (line.split(None, 2) for line in shown.stdout.splitlines())
        return [
            words
            for uid, state, words in rows
            if not state.startswith("Z") and (int(uid) == number or 700000 <= int(uid) <= 765535)
        ]


@contextmanager
def ordinary_user(*, tun: bool = True, sudo: bool = False) -> Iterator[User]:
    """An account with a range of subordinate numbers.

    Args:
        tun: whether /dev/net/tun is open to everybody, as ordinary distributions have it.
        sudo: whether the account may use sudo without a password.
    """
    name = f"lab{os.getpid()}"
    home = Path(tempfile.mkdtemp(prefix="lab-home-", dir="/var/tmp"))
    device = Path("/dev/net/tun")
    mode = device.stat().st_mode & 0o777
    sudoers = Path("/etc/sudoers.d") / name
    subprocess.run(
        ["useradd", "--home-dir", str(home), "--shell", "/bin/sh", name], check=True, capture_output=True
    )
    try:
        ranges = ["--add-subuids", "700000-765535", "--add-subgids", "700000-765535"]
        subprocess.run(["usermod", *ranges, name], check=True)
        if sudo:
            sudoers.write_text(f"{name} ALL=(ALL) NOPASSWD: ALL\n", encoding="utf-8")
            sudoers.chmod(0o440)
        user = User(name, home)
        user.owns(home)
        device.chmod(0o666 if tun else 0o600)
        yield user
    finally:
        # Whatever a failed test left running, by sudo too: each of them names something in the home.
        for process in psutil.process_iter(["cmdline"]):
            if str(home) in " ".join(process.info["cmdline"] or []):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        device.chmod(mode)
        sudoers.unlink(missing_ok=True)
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)
        shutil.rmtree(home)
