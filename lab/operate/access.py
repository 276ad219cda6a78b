"""The operator's way in: an SSH configuration of the stack's own, with its key and pinned host keys."""

from pathlib import Path

from lab.host.stack import private_dir, write_private
from lab.inventory import Inventory

_TOOLS = ("ssh", "scp", "sftp")


class Access:
    """Files below ``directory`` that let OpenSSH reach every machine of a stack by its name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config"
        self.key = directory / "id_ed25519"
        self.known_hosts = directory / "known_hosts"
        self.bin = directory / "bin"

    def write(self, inventory: Inventory, private_key: str) -> None:
        """Write key, known_hosts(5) and ssh_config(5), readable by their owner alone."""
        private_dir(self.directory)
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
            "    LogLevel ERROR\n"
        )
        write_private(self.config, "\n".join([*blocks, common]))
        self._write_tools()

    def _write_tools(self) -> None:
        """Wrappers, first on the PATH of `lab shell`: the user's own ~/.ssh/config is left alone."""
        private_dir(self.bin)
        for tool in _TOOLS:
            wrapper = self.bin / tool
            write_private(wrapper, f'#!/bin/sh\nexec /usr/bin/{tool} -F "{self.config}" "$@"\n')
            wrapper.chmod(0o700)

    def ssh(self, name: str, *command: str) -> list[str]:
        """The command line that reaches machine ``name``."""
        return ["ssh", "-F", str(self.config), name, *command]
