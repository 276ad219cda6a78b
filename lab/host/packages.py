"""The system packages the lab needs on the operator's computer, and how they get there."""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lab.errors import LabError
from lab.say import Say

# Where Debian keeps administrators' commands; an ordinary user's PATH may lack them.
_ADMIN_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Package:
    """A package by its Debian and Ubuntu name, and what it must bring on any distribution."""

    name: str
    provides: str
    """A command, or the absolute path of a file."""
    purpose: str

    @property
    def present(self) -> bool:
        """Whether the package, or what it brings, is installed."""
        if has_apt():
            return _dpkg_installed(self.name)
        if self.provides.startswith("/"):
            return Path(self.provides).exists()
        return shutil.which(self.provides, path=_search_path()) is not None


def has_apt() -> bool:
    """Whether this is Debian, Ubuntu or one of their children."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg-query") is not None


_QEMU = {
    "x86_64": Package("qemu-system-x86", "qemu-system-x86_64", "runs the machines"),
    "aarch64": Package("qemu-system-arm", "qemu-system-aarch64", "runs the machines"),
}

HYPERVISOR: tuple[Package, ...] = (
    _QEMU.get(platform.machine(), _QEMU["x86_64"]),
    Package("qemu-utils", "qemu-img", "reads and writes disk images"),
    Package("libvirt-daemon-system", "libvirtd", "defines and starts machines and networks"),
    Package("libvirt-clients", "virsh", "asks libvirt"),
    Package("dnsmasq-base", "dnsmasq", "name server of the segment"),
    Package("xsltproc", "xsltproc", "fits the machines' XML to the lab"),
    Package("iproute2", "ip", "shows and sets interfaces"),
    Package("iptables", "iptables", "libvirt's address translation"),
    Package("nftables", "nft", "libvirt's address translation"),
    Package("openssh-client", "ssh", "reaches the machines"),
    Package("slirp4netns", "slirp4netns", "the embedded hypervisor's way out"),
    Package("uidmap", "newuidmap", "the embedded hypervisor without root"),
    Package("util-linux", "nsenter", "the embedded hypervisor's namespaces"),
)
"""For every lab."""

DEBIAN_IMAGE: tuple[Package, ...] = (
    Package("mmdebstrap", "mmdebstrap", "installs Debian into a directory"),
    Package("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg", "Debian's keys"),
    Package("apt-utils", "apt-ftparchive", "indexes the image's own package repository"),
    Package("e2fsprogs", "mkfs.ext4", "writes the root file system"),
    Package("dosfstools", "mkfs.vfat", "writes the boot file system"),
    Package("mtools", "mcopy", "fills the boot file system"),
    Package("fdisk", "sfdisk", "writes the partition table"),
    Package("syslinux", "syslinux", "boots the image"),
    Package("syslinux-common", "/usr/lib/syslinux/mbr/mbr.bin", "boots the image"),
)
"""Only where Ubuntu's image cannot be fetched and a Debian guest is built instead."""


def missing(packages: Iterable[Package] = HYPERVISOR) -> list[Package]:
    """Which of the packages are not installed.

    On Debian and its children dpkg(1) is asked; elsewhere the commands they provide are looked for.
    """
    return [package for package in packages if not package.present]


def install(wanted: Sequence[Package], say: Say) -> None:
    """Install packages with apt-get, through sudo unless root; nothing to install, nothing done.

    Raises:
        LabError: the distribution has no apt, there is no sudo, or apt-get fails.
    """
    if not wanted:
        return
    names = [package.name for package in wanted]
    if not has_apt():
        commands = ", ".join(f"{package.provides} (Debian: {package.name})" for package in wanted)
        raise LabError(f"missing: {commands}\n    install them with this distribution's package manager")
    say(f"installing with apt-get: {' '.join(names)}")
    prefix = _as_root()
    command = [*prefix, *_APT, "install", "--yes", "--no-install-recommends", *names]
    # Lists that are missing or older than the archive are apt's two reasons not to find a file.
    if _apt_knows(names) and _run(command).returncode == 0:
        return
    _apt([*prefix, *_APT, "update"], "update", say)
    _apt(command, f"install {' '.join(names)}", say)


def download(wanted: Sequence[Package], folder: Path, say: Say) -> list[Path]:
    """Fetch packages with all they depend on into ``folder``, as a computer would that has none of it.

    Returns:
        The packages' files.

    Raises:
        LabError: apt-get fails.
    """
    names = [package.name for package in wanted]
    nothing = folder / "status"
    nothing.touch()
    command = [
        *(*_APT, "-o", f"Dir::State::status={nothing}", "-o", f"Dir::Cache={folder}"),
        # Nothing of the system's is touched, so an ordinary user can do it beside a running apt.
        *("-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="),
        *("install", "--yes", "--no-install-recommends", "--download-only", *names),
    ]
    (folder / "archives" / "partial").mkdir(parents=True)
    if not (_apt_knows(names) and _run(command).returncode == 0):
        _apt([*_as_root(), *_APT, "update"], "update", say)
        _apt(command, f"install --download-only {' '.join(names)}", say)
    return sorted((folder / "archives").glob("*.deb"))


def index(debs: Iterable[Path]) -> str:
    """The text of a repository's file ``Packages`` (deb822(5)) for package files that lie beside it."""
    return "\n".join(_stanza(deb) for deb in debs)


def _stanza(deb: Path) -> str:
    control = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True).stdout
    with deb.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"


def install_from(repository: Path, wanted: Sequence[Package], say: Say) -> None:
    """Install packages out of a directory with a ``Packages`` file and from nowhere else.

    Raises:
        LabError: there is no sudo, or apt-get fails.
    """
    names = [package.name for package in wanted]
    say(f"installing with apt-get from the bundle, about a minute: {' '.join(names)}")
    argv = [*_as_root(), *_APT[:2], "sh", "-euc", FROM_REPOSITORY, "sh", quote(str(repository)), *names]
    _apt(argv, f"install {' '.join(names)}", say)


# Arguments: the repository as part of a URI, then the packages. What apt writes down of it is root's, so
# it cannot lie in a directory that its user is to remove.
FROM_REPOSITORY = """
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/lists" "$scratch/cache"
echo "deb [trusted=yes] file:$1 ./" > "$scratch/sources.list"
shift
set -- --yes --no-install-recommends "$@"
apt() {
    apt-get --quiet=2 -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::SourceList="$scratch/sources.list" -o Dir::State::Lists="$scratch/lists" \
        -o Dir::Cache="$scratch/cache" "$@"
}
apt update
apt install "$@"
"""


# The environment is given as arguments because sudo clears it.
_APT = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2", "-o", "Dpkg::Use-Pty=0"]


def _as_root() -> list[str]:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        raise LabError("packages can only be installed by root and sudo is missing: run this once as root")
    return ["sudo"]


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # No stdin: a question nobody answers must not hang the lab. sudo asks on the terminal itself.
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _apt(argv: Sequence[str], what: str, say: Say) -> None:
    done = _run(argv)
    if done.returncode == 0:
        return
    complaints = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    for line in complaints or done.stderr.splitlines()[-5:]:
        say(line)
    raise LabError(
        f"`apt-get {what}` failed: {complaints[0] if complaints else f'exit status {done.returncode}'}\n"
        "    run it by hand, repair what it complains about, then try again"
    )


def _apt_knows(names: Sequence[str]) -> bool:
    """Whether apt's lists hold a candidate for each package; a fresh machine has no lists yet."""
    shown = subprocess.run(
        ["apt-cache", "policy", *names], env=_plain_environment(), capture_output=True, text=True, check=False
    )
    candidates = [
        line for line in shown.stdout.splitlines() if line.startswith("  Candidate:") and "(none)" not in line
    ]
    return len(candidates) == len(names)


def _dpkg_installed(name: str) -> bool:
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name],
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.returncode == 0 and shown.stdout == "installed"


def _plain_environment() -> dict[str, str]:
    """Untranslated output, so that it can be read."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:{_ADMIN_PATH}"
