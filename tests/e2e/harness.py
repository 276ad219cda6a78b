"""A lab as a person meets it: the `lab` command on a checkout, and what goes on inside."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from lab.host.sandbox import Sandbox
from lab.operate.recording import Measure, Recording

PROJECT = Path(__file__).resolve().parents[2]
LAB = Path(sys.executable).with_name("lab")
MEASURED: list[str] = []

# The smallest lab that balances anything.
SMALL = {
    "lvs-dr-lab:image": "debian",
    "lvs-dr-lab:directors": [{"name": "master", "address": "192.168.1.21", "priority": 150}],
    "lvs-dr-lab:servers": [{"name": "server1", "address": "192.168.1.50"}],
    "lvs-dr-lab:client": {"address": "192.168.1.100", "extra_addresses": 1},
}


def checkout(destination: Path) -> Path:
    """A copy of the tracked and new files of the project: a lab of its own, beside any other."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    for name in filter(None, listed):
        source = PROJECT / name
        if source.is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination / name)
    return destination


def eventually(condition: Callable[[], Any], within: float, what: str) -> Any:
    """Wait until ``condition`` gives something true, and return it; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.2)


class TheLab:
    """A checkout and the lab that is built from it."""

    def __init__(self, tree: Path, stack: str = "dev") -> None:
        self.tree = tree
        self.stack = stack

    def lab(
        self, *arguments: str, within: float = 300, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the `lab` command; its output is shown when it fails."""
        done = subprocess.run(
            self._command(arguments),
            cwd=self.tree,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"lab {' '.join(arguments)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [str(LAB), *arguments]

    def _environment(self) -> dict[str, str]:
        # As a user has it: the engine's settings are the lab's, and Python keeps what it has compiled.
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("PULUMI") and key != "PYTHONDONTWRITEBYTECODE"
        }
        return environment | {"LVS_DR_LAB_STACK": self.stack, "NO_COLOR": "1", "COLUMNS": "200"}

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start the `lab` command as a process group of its own, to be interrupted."""
        with subprocess.Popen(
            self._command(arguments),
            cwd=self.tree,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            yield process

    def assert_gone(self) -> None:
        """Nothing of this stack is left: no file, process, mount or interface."""
        directory = self.tree / ".lab" / "stacks" / self.stack
        assert not directory.exists()
        marks = (str(directory), f"lvs-dr-lab-{self.stack}")
        left = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = " ".join([*(process.info["cmdline"] or []), process.info["cwd"] or ""])
            if any(mark in words for mark in marks):
                left.append(words)
        assert left == []
        assert str(directory) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        assert f"br-{self.stack}" not in psutil.net_if_addrs()
        states = (self.tree / ".lab" / "state").rglob(f"*{self.stack}*")
        assert [str(state) for state in states] == []

    def note(self, measured: str) -> None:
        """Keep a figure for the summary at the end of the run."""
        MEASURED.append(measured)

    def up(self, *, check: bool = True, within: float = 2400) -> subprocess.CompletedProcess[str]:
        return self.lab("up", within=within, check=check)

    def refused_up(self, *, within: float) -> str:
        """What an `up` that must fail says."""
        done = self.up(check=False, within=within)
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert "Traceback" not in said
        return said

    def assert_whole(self) -> None:
        """Every check passes; on a busy host a login may take longer than one check waits."""
        said: list[str] = []

        def passes() -> bool:
            done = self.lab("check", check=False)
            said.append(done.stdout + done.stderr)
            return done.returncode == 0

        try:
            eventually(passes, 240, "every check passes")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{said[-1]}") from None

    def kill_libvirtd(self) -> None:
        """End this stack's libvirtd as a crash does; `lab exec` would start it again."""
        sandbox = Sandbox(self.tree / f".lab/stacks/{self.stack}/hypervisor")
        subprocess.run(
            sandbox.command(["sh", "-c", "kill -KILL $(cat /run/libvirt/libvirtd.pid)"]), check=True
        )

    def beside(self, *argv: str, within: float = 120, check: bool = True) -> str:
        """Run a command beside the machines, as `lab shell` would."""
        return self.lab("exec", "--", *argv, within=within, check=check).stdout

    def on(self, machine: str, command: str, *, within: float = 90, check: bool = True) -> str:
        """Run a shell command on a machine over SSH."""
        return self.beside("ssh", machine, command, within=within, check=check)

    def virsh(self, *arguments: str, check: bool = True) -> str:
        return self.beside("virsh", "-q", *arguments, check=check)

    def running(self) -> set[str]:
        """The machines that run, each by what no other one will ever be called."""
        return set(self.virsh("list", "--uuid").split())

    def domain(self, machine: str) -> str:
        return f"lvs-dr-lab-{self.stack}.{machine}"

    def output(self, name: str) -> Any:
        return json.loads(self.beside("pulumi", "stack", "output", "--json", name))

    @contextmanager
    def configured(self, **changes: Any) -> Iterator[None]:
        """Change the stack's configuration, and put the file back afterwards; runs no `up`."""
        file = self.tree / f"Pulumi.{self.stack}.yaml"
        before = file.read_text(encoding="utf-8")
        document = yaml.safe_load(before)
        document["config"] |= {f"lvs-dr-lab:{key}": value for key, value in changes.items()}
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(before, encoding="utf-8")

    def answers(self, *sources: str, times: int = 1) -> list[str]:
        """Which server answers the client through the VIP, from each source address in turn."""
        loop = (
            f"for n in $(seq {times}); do for a in {' '.join(sources)}; do "
            "curl -s -m 5 --interface $a http://192.168.1.20/ || echo FAILED; done; done"
        )
        return self.on("client", loop).split()

    @contextmanager
    def asked(self) -> Iterator[list[str]]:
        """Have the client ask the VIP until the end, five minutes at most; the list has the answers then."""
        seen: list[str] = []
        self.on(
            "client",
            "rm -f /tmp/stop /tmp/seen; "
            "nohup sh -c 'n=0; until [ -e /tmp/stop ] || [ $n -ge 3000 ]; do n=$((n+1)); "
            "curl -s -m 5 --interface 192.168.1.105 http://192.168.1.20/ || echo FAILED; sleep 0.1; "
            "done > /tmp/seen' >/dev/null 2>&1 &",
        )
        try:
            yield seen
        finally:
            seen += self.on("client", "touch /tmp/stop; sleep 1; cat /tmp/seen").split()

    def measured(self, drill: str, quantity: str) -> Measure:
        """One quantity of a drill that is run now, whether it is within its bound or not."""
        done = self.lab("drill", "run", drill, "--json", check=False)
        if not done.stdout.strip():
            raise AssertionError(f"drill {drill} had no result: {done.stderr.strip()}")
        [recording] = [Recording.model_validate(one) for one in json.loads(done.stdout)]
        [measure] = [one for one in recording.measures if one.bound.quantity == quantity]
        return measure

    def ipvs(self, director: str) -> dict[str, int]:
        """Weights in the IPVS table of a director, by real server address."""
        table = {}
        for line in self.on(director, "ipvsadm -Sn").splitlines():
            words = line.split()
            if words and words[0] == "-a":
                assert "-g" in words, f"not Direct Routing: {line}"
                table[words[words.index("-r") + 1].split(":")[0]] = int(words[words.index("-w") + 1])
        return table

    def holder(self) -> list[str]:
        """The directors that hold the VIP."""
        return [
            director
            for director in ("master", "backup")
            if "192.168.1.20/" in self.on(director, "ip -4 -o addr show dev eth0", check=False)
        ]
