"""The embedded hypervisor: a libvirt of the lab's own that changes nothing on the computer around it.

A holder process owns user (unless root), network, mount and PID namespaces. Inside them libvirtd finds
private directories where it expects the system's, so ``qemu:///system`` means this instance alone, and
the lab's network may use a subnet that the computer or another lab uses too. The holder is PID 1 of
its namespace: when it goes, the kernel ends libvirtd, dnsmasq and every guest with it
(pid_namespaces(7)). slirp4netns(1) gives the guests a way out without an interface on the host.
"""

import fcntl
import getpass
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lab.errors import LabError
from lab.say import Say

URI = "qemu:///system"

# RFC 2544 sets 198.18.0.0/15 aside for benchmarks: no home or office network uses it.
OUTWARD_CIDR = "198.18.0.0/24"
OUTWARD_DNS = "198.18.0.3"

# Seconds. libvirtd asks every qemu binary for its capabilities when it starts for the first time.
_START_DEADLINE = 30.0
_LIBVIRT_DEADLINE = 120.0
_OUTWARD_DEADLINE = 10.0
_STOP_DEADLINE = 60.0

# No cgroups, security driver or device namespaces: none of them is ours to use in a namespace, and
# `file` for stdio saves virtlogd. Nobody's files change hands (dynamic_ownership).
_QEMU_CONF = """\
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
_LIBVIRTD_CONF = """\
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
max_client_requests = 20
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

# The directories libvirt was compiled to use, and where they are kept in the sandbox's directory.
# /run is a tmpfs instead: what it says about running guests must not outlive them.
_PRIVATE = {
    "/etc/libvirt": "etc",
    "/var/lib/libvirt": "lib",
    "/var/cache/libvirt": "cache",
    "/var/log/libvirt": "log",
}

# Argument: the sandbox's directory. While /proc is still the host's it shows this process's number
# there; afterwards nothing inside could tell. Descriptor 9 keeps the FIFO open: slirp4netns ends
# when the last writer is gone (--exit-fd).
_HOLDER = r"""
set -eu
directory=$1
cd "$directory"
read -r stat < /proc/self/stat
set -- $stat
echo "$1 ${22} $(cat /proc/sys/kernel/random/boot_id)" > holder.new
exec 9<> alive
umask 022
mount -t proc proc /proc
mount -t sysfs sysfs /sys 2>/dev/null || echo "note: /sys stays the host's"
ip link set lo up
resolver=$(readlink -m /etc/resolv.conf)
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/libvirt run/lock run/user
if [ -d /run/user ]; then mount --rbind /run/user run/user; fi
mount --rbind run /run
while read -r inside own; do
    mkdir -p "$own"
    mount --bind "$own" "$inside"
done < private
case $resolver in
/run/*) mkdir -p "$(dirname "$resolver")"; cp resolv.conf "$resolver" ;;
*) if [ -e "$resolver" ]; then mount --bind resolv.conf "$resolver"; fi ;;
esac
mv holder.new holder
while :; do sleep 86400 & wait; done
"""

# Runs inside. The number in a pid file may belong to something else by now: the name is asked too.
_START_LIBVIRTD = r"""
pidfile=/run/libvirt/libvirtd.pid
pid=$(cat $pidfile 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = libvirtd ] && exit 0
rm -f $pidfile
mkdir -p /var/log/libvirt/qemu
exec libvirtd --daemon --pid-file $pidfile --config /etc/libvirt/libvirtd.conf
"""

# Arguments: the sandbox's directory, slirp4netns and its arguments. Prints its process number.
_START_OUTWARD = r"""
cd "$1"; shift
setsid "$@" < /dev/null >> slirp4netns.log 2>&1 3< alive & echo $!
"""


@dataclass(frozen=True)
class _Process:
    """A process recognised by number and birth: numbers alone are used again."""

    pid: int
    started: str
    boot: str

    @classmethod
    def of(cls, pid: int) -> "_Process | None":
        """The process that has this number now, unless it is dead or a zombie."""
        try:
            # The name in parentheses may hold blanks; the fields after it are regular (proc(5)).
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, fields[19], _boot_id())

    @classmethod
    def recorded(cls, file: Path) -> "_Process | None":
        """The process a file of ours tells of, if it still runs."""
        try:
            pid, started, boot = file.read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            return None
        known = cls(int(pid), started, boot)
        return None if known.gone() else known

    def gone(self) -> bool:
        """Whether it has ended, though its number may be in use again."""
        return _Process.of(self.pid) != self


class Sandbox:
    """One embedded hypervisor, kept in one directory.

    With ``sudo`` everything privileged goes through sudo(8), for users whom the kernel forbids user
    namespaces; otherwise root needs none and an ordinary user gets a user namespace.
    """

    def __init__(self, directory: Path, *, sudo: bool = False) -> None:
        self.directory = directory.absolute()
        self._sudo = ["sudo"] if sudo and os.geteuid() != 0 else []
        self._rootless = not self._sudo and os.geteuid() != 0

    def ensure(self, say: Say) -> None:
        """Start what does not run and wait until libvirt answers.

        Raises:
            LabError: the namespaces cannot be made or libvirtd does not answer in time; the text ends
                with the last lines of the log.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not self.running():
                say("starting the embedded hypervisor")
                self._write_files()
                self._start_holder()
            self._start_outward(say)
            self._bring_up_libvirt()

    def running(self) -> bool:
        """Whether the namespaces exist."""
        return self._holder() is not None

    def command(
        self,
        argv: Sequence[str],
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> list[str]:
        """What to execute so that ``argv`` runs inside, with the same environment.

        Args:
            argv: the program and its arguments.
            directory: where it runs; the current directory if not given.
            environment: what it will be executed with; that of this process if not given.

        Ctrl-C reaches ``argv`` alone, not the nsenter(1) that waits for it; when that ends, ``argv`` is
        told to end too.

        Raises:
            LabError: the sandbox is not running.
        """
        return self._enter(argv, str(directory or Path.cwd()), environment)

    def _enter(
        self, argv: Sequence[str], directory: str, environment: Mapping[str, str] | None = None
    ) -> list[str]:
        holder = self._holder()
        if holder is None:
            raise LabError(f"the embedded hypervisor in {self.directory} is not running: `lab up` starts it")
        # sudo replaces PATH and may replace HOME even when told to preserve the environment.
        known = os.environ if environment is None else environment
        kept = [f"{name}={known[name]}" for name in ("PATH", "HOME") if self._sudo and name in known]
        return [
            *("env", "--ignore-signal=INT,QUIT"),
            *([*self._sudo, "--preserve-env"] if self._sudo else []),
            "nsenter",
            *(["--user", "--preserve-credentials"] if self._rootless else []),
            *("--net", "--mount", "--pid", f"--target={holder.pid}", "--"),
            *("setpriv", "--pdeathsig", "TERM"),
            *("env", "--default-signal=INT,QUIT", f"--chdir={directory}", *kept, *argv),
        ]

    def stop(self) -> None:
        """End every process of the sandbox and wait until they are gone.

        Raises:
            LabError: a process survives SIGKILL for a minute.
        """
        # The kernel lets PID 1 go only after everything else in its namespace has gone.
        for file in (self.directory / "holder", self.directory / "slirp4netns.pid"):
            if process := _Process.recorded(file):
                self._run([*self._sudo, "kill", "-KILL", str(process.pid)])
                if not _eventually(process.gone, _STOP_DEADLINE):
                    raise LabError(f"process {process.pid} of the embedded hypervisor does not end")
            file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop and delete the directory with everything libvirt kept in it."""
        self.stop()
        if not self.directory.exists():
            return
        if self._rootless:
            # dnsmasq's files belong to one of the user's subordinate numbers.
            self._run(["unshare", "--map-root-user", "--map-auto", "rm", "-rf", str(self.directory)])
        else:
            self._run([*self._sudo, "rm", "-rf", str(self.directory)])
        if self.directory.exists():
            raise LabError(f"{self.directory} cannot be deleted: remove it as root")

    def give_back(self, *paths: Path) -> None:
        """Make the user the owner again of what was written inside; only sudo's root leaves it otherwise."""
        if self._sudo and (there := [str(path) for path in paths if path.exists()]):
            self._run([*self._sudo, "chown", "-R", f"{os.getuid()}:{os.getgid()}", *there])

    def _holder(self) -> _Process | None:
        return _Process.recorded(self.directory / "holder")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write_files(self) -> None:
        """Settings of the private libvirt; a directory in the sandbox for each that it will not see."""
        for own in _PRIVATE.values():
            (self.directory / own).mkdir(exist_ok=True)
        (self.directory / "run").mkdir(exist_ok=True)
        for needed in ("dnsmasq", "images", "qemu", "boot"):
            (self.directory / "lib" / needed).mkdir(exist_ok=True)
        (self.directory / "etc" / "qemu.conf").write_text(_QEMU_CONF, encoding="utf-8")
        (self.directory / "etc" / "libvirtd.conf").write_text(_LIBVIRTD_CONF, encoding="utf-8")
        (self.directory / "resolv.conf").write_text(f"nameserver {OUTWARD_DNS}\n", encoding="utf-8")
        (self.directory / "private").write_text(
            "".join(f"{inside} {own}\n" for inside, own in _PRIVATE.items()), encoding="utf-8"
        )
        self._log.touch()
        for stale in ("holder", "slirp4netns.pid", "alive"):
            (self.directory / stale).unlink(missing_ok=True)
        os.mkfifo(self.directory / "alive", 0o600)

    def _start_holder(self) -> None:
        unshare = [
            "unshare",
            *(["--map-root-user", "--map-auto"] if self._rootless else []),
            *("--net", "--mount", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", _HOLDER, "holder", str(self.directory)),
        ]
        # setsid: neither Ctrl-C nor the end of the terminal may reach the guests. The shell goes at
        # once and leaves no child to this process.
        script = f"setsid {shlex.join(unshare)} < /dev/null >> {shlex.quote(str(self._log))} 2>&1 &"
        self._run([*self._sudo, "sh", "-c", script])
        if not _eventually(self.running, _START_DEADLINE):
            raise LabError(f"the embedded hypervisor's namespaces did not come up: {_tail(self._log)}")

    def _start_libvirtd(self) -> None:
        with self._log.open("a") as log:
            done = self._run(self._enter(["sh", "-c", _START_LIBVIRTD], "/"), log)
        if done.returncode != 0:
            raise LabError(f"libvirtd does not start: {_tail(self._log, self._libvirtd_log)}")

    def _bring_up_libvirt(self) -> None:
        def answers() -> bool:
            # Again, while nothing answers: a libvirtd that was just killed passes for a running one at first.
            self._start_libvirtd()
            return self._run(self._enter(["virsh", "-q", "-c", URI, "version"], "/")).returncode == 0

        if not _eventually(answers, _LIBVIRT_DEADLINE):
            raise LabError(f"libvirtd does not answer: {_tail(self._libvirtd_log, self._log)}")

    def _start_outward(self, say: Say) -> None:
        """Attach slirp4netns, the guests' way out; a lab works without."""
        pidfile = self.directory / "slirp4netns.pid"
        holder = self._holder()
        if holder is None or _Process.recorded(pidfile):
            return
        if not shutil.which("slirp4netns"):
            say("slirp4netns is not installed: the guests will not reach the internet")
            return
        slirp = [
            *("slirp4netns", "--configure", "--mtu=1500", "--disable-host-loopback", "--exit-fd=3"),
            *(f"--cidr={OUTWARD_CIDR}", str(holder.pid), "tap0"),
        ]
        started = self._run([*self._sudo, "sh", "-c", _START_OUTWARD, "outward", str(self.directory), *slirp])
        process = _Process.of(int(started.stdout)) if started.returncode == 0 else None
        if process:
            pidfile.write_text(f"{process.pid} {process.started} {process.boot}\n", encoding="utf-8")

        def attached() -> bool:
            shown = self._run(self._enter(["ip", "-4", "-oneline", "address", "show", "dev", "tap0"], "/"))
            return shown.returncode == 0 and bool(shown.stdout)

        if not _eventually(attached, _OUTWARD_DEADLINE):
            log = self.directory / "slirp4netns.log"
            say(f"no way out for the guests, they will not reach the internet: {_tail(log)}")

    @property
    def _log(self) -> Path:
        return self.directory / "holder.log"

    @property
    def _libvirtd_log(self) -> Path:
        return self.directory / "log" / "libvirtd.log"

    @staticmethod
    def _run(argv: Sequence[str], log: TextIO | None = None) -> subprocess.CompletedProcess[str]:
        """Run to the end; what it prints is kept, or goes to ``log`` where daemons may hold it open."""
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log or subprocess.PIPE,
            stderr=log or subprocess.PIPE,
            text=True,
            check=False,
        )


def why_not_rootless() -> str | None:
    """Why an ordinary user cannot have a hypervisor without sudo, as a sentence; ``None`` if possible."""
    for name, value, remedy in (
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    ):
        if _sysctl(name) == value:
            return f"the kernel forbids ordinary users their own namespaces (`{remedy}` allows them)"
    user = getpass.getuser()
    for tool in ("newuidmap", "newgidmap"):
        if not shutil.which(tool):
            return f"{tool} is missing (Debian package uidmap)"
    for table in (Path("/etc/subuid"), Path("/etc/subgid")):
        if not _has_range(table, user):
            return (
                f"{user} has no range in {table} "
                f"(`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}` gives one)"
            )
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun is not open to ordinary users (mode 0666 on ordinary distributions)"
    tried = Sandbox._run(
        ["unshare", "--map-root-user", "--map-auto", "--net", "--mount", "--pid", "--fork", "true"]
    )
    if tried.returncode != 0:
        return (
            f"user namespaces do not work here: {tried.stderr.strip().splitlines()[-1:] or 'unshare failed'}"
        )
    return None


def needs_sudo() -> bool:
    """Whether this user can have an embedded hypervisor only through sudo."""
    return os.geteuid() != 0 and why_not_rootless() is not None


def _sysctl(name: str) -> str | None:
    try:
        return Path("/proc/sys", name).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _has_range(table: Path, user: str) -> bool:
    """Whether subuid(5) gives the user numbers enough for dnsmasq's (nobody is 65534)."""
    try:
        rows = [line.strip().split(":") for line in table.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return False
    owners = {user, str(os.getuid())}
    return any(len(row) == 3 and row[0] in owners and int(row[2]) >= 65535 for row in rows)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()


def _eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition`` becomes true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _tail(*logs: Path) -> str:
    """The last lines of the logs in one line, and where the rest is."""
    lines: list[str] = []
    for log in logs:
        with suppress(OSError):
            lines += log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
    return f"{' | '.join(lines) or 'no message'} (see {logs[0]})"
