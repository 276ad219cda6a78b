"""The operator's way in: an SSH configuration of the stack's own, with its key and pinned host keys.

A login costs an emulated guest two seconds. So it is made once: OpenSSH keeps the connection open and lets
whatever comes later through it (ControlMaster in ssh_config(5)), be it a person's `ssh` or one of the tools.
"""

import hashlib
import stat
import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.host.stack import private_dir, write_private
from lab.inventory import Inventory

_TOOLS = ("ssh", "scp", "sftp")

# Seconds that a connection is kept when nobody uses it, and between two signs of life of a quiet guest; the
# third that is missed ends it.
_KEPT = 600
_ALIVE = 3
# Bytes of a socket's path (unix(7), sun_path with its end), and what OpenSSH appends while it makes one.
_SOCKET_PATH = 107
_STAGED = 17
_LONGEST_ADDRESS = len("255.255.255.255")


class Access:
    """Files below ``directory`` that let OpenSSH reach every machine of a stack by its name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config"
        self.key = directory / "id_ed25519"
        self.known_hosts = directory / "known_hosts"
        self.bin = directory / "bin"
        self.shared = _short(directory.absolute() / "shared")

    def write(self, inventory: Inventory, private_key: str) -> None:
        """Write key, known_hosts(5) and ssh_config(5), readable by their owner alone.

        Raises:
            LabError: where connections would be kept, somebody else has put something.
        """
        private_dir(self.directory)
        self._make_shared()
        write_private(self.key, private_key)
        write_private(
            self.known_hosts,
            "".join(f"{m.name},{m.address} {m.host_key}\n" for m in inventory.machines),
        )
        blocks = [
            f"Host {machine.name} {machine.address}\n    HostName {machine.address}\n"
            for machine in inventory.machines
        ]
        common = (
            "Host *\n"
            f"    User {inventory.user}\n"
            f'    IdentityFile "{self.key}"\n'
            "    IdentitiesOnly yes\n"
            "    IdentityAgent none\n"
            f'    UserKnownHostsFile "{self.known_hosts}"\n'
            "    GlobalKnownHostsFile /dev/null\n"
            "    StrictHostKeyChecking yes\n"
            # What resists quantum computers costs an emulated guest a fifth of a second a login.
            "    KexAlgorithms curve25519-sha256\n"
            "    ConnectTimeout 10\n"
            f"    ServerAliveInterval {_ALIVE}\n"
            "    ControlMaster auto\n"
            f'    ControlPath "{self.shared}/%h"\n'
            f"    ControlPersist {_KEPT}\n"
            "    LogLevel ERROR\n"
        )
        write_private(self.config, "\n".join([*blocks, common]))
        self._write_tools()

    def _make_shared(self) -> None:
        private_dir(self.shared)
        there, own = self.shared.lstat(), self.directory.stat()
        if not stat.S_ISDIR(there.st_mode) or there.st_mode & 0o077 or there.st_uid != own.st_uid:
            raise LabError(
                f"{self.shared} belongs to somebody else, or others can enter it.\n"
                "    Remove it, and try again."
            )

    def _write_tools(self) -> None:
        """Wrappers, first on the PATH of `lab shell`: the user's own ~/.ssh/config is left alone."""
        private_dir(self.bin)
        for tool in _TOOLS:
            wrapper = self.bin / tool
            write_private(wrapper, f'#!/bin/sh\nexec /usr/bin/{tool} -F "{self.config}" "$@"\n')
            wrapper.chmod(0o700)

    def unshared_config(self) -> str:
        """The same for programs elsewhere on this computer: their connections are their own."""
        return f"ControlPath none\n\n{self.config.read_text(encoding='utf-8')}"

    def ssh(self, name: str, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        """What to execute to reach machine ``name``, with more ``options`` for OpenSSH."""
        return ["ssh", "-F", str(self.config), *options, name, *command]

    def is_open(self, address: str) -> bool:
        """Whether there is a connection to ``address``: OpenSSH removes the socket with it."""
        return (self.shared / address).exists()

    def hang_up(self) -> None:
        """End every connection, and remove where they are kept."""
        for socket in self.shared.glob("*"):
            argv = ["ssh", "-F", "none", "-o", f'ControlPath="{socket}"', "-O", "exit", socket.name]
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            socket.unlink(missing_ok=True)
        if self.shared.exists():
            self.shared.rmdir()


def _short(directory: Path) -> Path:
    """``directory``, or one for the same purpose with a path that sockets can have."""
    if len(bytes(directory)) + 1 + _LONGEST_ADDRESS + _STAGED <= _SOCKET_PATH:
        return directory
    mark = hashlib.sha256(bytes(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lvs-dr-lab-{mark}"
