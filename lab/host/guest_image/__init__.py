"""The fallback guest: Debian 12 with cloud-init, built on the operator's computer.

It needs no network once built: the packages the lab's machines install lie in a repository inside the
image. The scripts next to this file are the recipe; the image's name carries their hash.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.host import packages
from lab.say import Say

NAME = "Debian 12 built locally"
MACHINE = "x86_64"
"""The only processor it can be built for."""

_RECIPE = Path(__file__).parent
_SCRIPTS = ("build.sh", "prepare.sh", "customize.sh", "cloud_init_launcher.py")
_CODENAME = "bookworm"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_BOOT_RECORD = "/usr/lib/syslinux/mbr/mbr.bin"

# Installed in the image: what every machine has before cloud-init adds its role's packages.
_BASE = (
    *("systemd", "systemd-sysv", "udev", "dbus", "systemd-timesyncd", "kmod", "procps", "sudo"),
    *("linux-image-cloud-amd64", "initramfs-tools", "lz4"),
    *("cloud-init", "eatmydata", "python3", "ca-certificates"),
    *("openssh-server", "netplan.io", "netbase", "iproute2", "iputils-ping", "nftables", "tcpdump"),
    *("less", "vim-tiny"),
    # Libraries that the distributions' cloud images have too: cloud-init need not unpack them each time.
    *("libbrotli1", "libcurl4", "libicu72", "libldap-2.5-0", "libnghttp2-14", "libnl-3-200"),
    *("libnl-genl-3-200", "libpcap0.8", "libpsl5", "librtmp1", "libsasl2-2", "libsqlite3-0"),
    *("libssh2-1", "libxml2"),
    # And what the client's mail sink brings along: its documentation's themes and fonts.
    *("python3-attr", "python3-public", "python3-pkg-resources"),
    *("libjs-sphinxdoc", "sphinx-rtd-theme-common"),
)
# Not installed, but at hand for cloud-init.
_AT_HAND = ("keepalived", "ipvsadm", "apache2", "curl", "arping", "python3-aiosmtpd")


def image_path(images: Path) -> Path:
    """Where the image of this recipe lies in the cache, built or not."""
    digest = hashlib.sha256(" ".join((*_BASE, "|", *_AT_HAND)).encode())
    for script in _SCRIPTS:
        digest.update((_RECIPE / script).read_bytes())
    return images / f"debian-12-{digest.hexdigest()[:12]}.qcow2"


def recipe() -> list[Path]:
    """The files that decide what the image is."""
    return [Path(__file__).resolve(), *(_RECIPE.resolve() / script for script in _SCRIPTS)]


def keeps_password() -> bool:
    """Whether an image built here now holds a password: mmdebstrap(1) leaves apt's proxy in it."""
    return any("@" in proxy for proxy in _apt_proxies())


def build(images: Path, say: Say) -> Path:
    """Build the image unless the cache has it, and return its path; takes one to three minutes.

    Raises:
        LabError: the processor is not x86-64, or a step of the recipe fails; the text names the log.
    """
    image = image_path(images)
    if image.exists():
        return image
    if platform.machine() != MACHINE:
        raise LabError(
            f"the Debian guest can be built on {MACHINE} only, this is {platform.machine()}: "
            "set `image` to `ubuntu` or to the path of a qcow2 file"
        )
    packages.install(packages.missing(packages.DEBIAN_IMAGE), say)
    privileged = _privileged(say)
    say("building the Debian guest image, one to three minutes")
    staging = Path(tempfile.mkdtemp(prefix="building-", dir=images))
    try:
        _run_recipe(privileged, staging, image.with_suffix(".log"))
        (staging / "image.qcow2").rename(image)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return image


def _run_recipe(privileged: list[str], staging: Path, log: Path) -> None:
    sources = staging / "sources.list"
    sources.write_text(_sources(), encoding="utf-8")
    output = staging / "image.qcow2"
    # Given as arguments because sudo clears the environment.
    settings = {
        "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        "LAB_BASE": ",".join(_BASE),
        "LAB_PACKAGES": " ".join(_AT_HAND),
        "LAB_APT_OPTIONS": " ".join(f"--aptopt={option}" for option in _apt_proxies()),
        "LAB_MBR": _BOOT_RECORD,
        "LAB_OWNER": f"{os.getuid()}:{os.getgid()}" if privileged[0] == "sudo" else "0:0",
    }
    argv = [
        *privileged,
        "env",
        *(f"{name}={value}" for name, value in settings.items()),
        *(str(_RECIPE / "build.sh"), str(staging), str(sources), str(output)),
    ]
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False)
    if done.returncode != 0 or not output.exists():
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise LabError(f"the Debian guest image could not be built: {''.join(last)}\n    see {log}")


def _privileged(say: Say) -> list[str]:
    """How to become the root that dpkg needs: really, in a user namespace, or through sudo."""
    if os.geteuid() == 0:
        return ["unshare", "--mount"]
    rootless = ["unshare", "--map-root-user", "--map-auto", "--mount"]
    if subprocess.run([*rootless, "true"], capture_output=True, check=False).returncode == 0:
        return rootless
    if shutil.which("sudo") is None:
        raise LabError("building the guest image needs user namespaces or sudo, and neither works here")
    say("building the guest image needs root here (no user namespaces for ordinary users): asking sudo")
    return ["sudo", "unshare", "--mount"]


def _sources() -> str:
    """Where to install from: the archive this computer uses if it is the same Debian, else Debian's own."""
    shown = subprocess.run(
        [
            *("apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)"),
            "Created-By: Packages",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = {
        (uri, codename)
        for origin, codename, uri, component in (line.split("|") for line in shown.stdout.splitlines())
        if origin == "Debian" and codename.split("-")[0] == _CODENAME and component == "main"
    }
    if not any(codename == _CODENAME for _, codename in found):
        found = {
            ("http://deb.debian.org/debian", _CODENAME),
            ("http://deb.debian.org/debian", f"{_CODENAME}-updates"),
            ("http://deb.debian.org/debian-security", f"{_CODENAME}-security"),
        }
    return "".join(f"deb [signed-by={_KEYRING}] {uri} {suite} main\n" for uri, suite in sorted(found))


def _apt_proxies() -> list[str]:
    """The proxies this computer's apt uses, as options of apt.conf(5)."""
    shown = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return [
        line.rstrip(";").replace(" ", "=").replace('"', "")
        for line in shown.stdout.splitlines()
        if line.startswith(("Acquire::http::Proxy ", "Acquire::https::Proxy "))
    ]
