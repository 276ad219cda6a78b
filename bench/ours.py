"""Measures of this project's own lab, through its front door."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.figures import Growth, Results
from lab.say import Say
from tests.e2e.harness import TheLab, checkout, eventually

SERVERS = [{"name": f"server{n}", "address": f"192.168.1.{49 + n}", "weight": 1} for n in range(1, 10)]
DIRECTORS = [
    {"name": name, "address": f"192.168.1.{21 + n}", "priority": 150 - 50 * n}
    for n, name in enumerate(("master", "backup", "third"))
]
SOURCES = [f"192.168.1.{last}" for last in range(100, 110)]
# Directors and servers of labs that grow; the client comes on top.
SIZES = {3: (1, 1), 6: (2, 3), 9: (2, 6), 12: (3, 8)}

# Drill, the quantity that a client sees, and how the figure is called.
GAPS = (
    ("crash-failover", "clients without an answer", "gap when the master crashes"),
    ("graceful-failover", "clients without an answer", "gap when keepalived is stopped on the master"),
    ("failback", "clients without an answer at the takeover", "gap when the master comes back"),
    ("server-stopped", "seconds in which requests fail", "time in which requests to a dead server fail"),
)
# Seconds; of the other drills what they promise themselves is the target.
TARGETS = {"graceful-failover": 0.9}


class Bench:
    """A checkout whose lab is built, measured and taken down."""

    def __init__(self, folder: Path, results: Results, say: Say) -> None:
        self.lab = TheLab(checkout(folder))
        self._results = results
        self._say = say

    def make(self, goal: str, within: float = 3600) -> tuple[float, str]:
        """Run a goal of the Makefile as a person does; how long it took, and what it said."""
        environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
        begun = time.monotonic()
        done = subprocess.run(
            ["make", goal],
            cwd=self.lab.tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"make {goal} failed:\n{done.stdout}\n{done.stderr}")
        return time.monotonic() - begun, done.stdout + done.stderr

    @contextmanager
    def up(self, **changes: Any) -> Iterator[float]:
        """The lab with these settings, built, and how long until every server had answered a client."""
        servers = {server["name"] for server in changes.get("servers", SERVERS[:3])}
        tutorial = not changes
        with self.lab.configured(**changes):
            begun = time.monotonic()
            try:
                _, said = self.make("up")
                eventually(lambda: servers == set(self.lab.answers(*SOURCES)), 60, "every server answers")
                seconds = time.monotonic() - begun
                for machine, took in re.findall(r"(\w+): ready after (\d+) s", said):
                    self._say(f"    {machine} was ready after {took} s")
                    if tutorial:
                        self._results.boots.setdefault(machine, []).append(float(took))
                yield seconds
            finally:
                took, _ = self.make("down")
            self.lab.assert_gone()
            if tutorial:
                self._results.add("destroy", "s", took, target=10)

    def no_op(self, times: int) -> None:
        """`make up` where nothing is to be done."""
        self._results.add("up with nothing to do", "s", *(self.make("up")[0] for _ in range(times)), target=3)

    def memory(self) -> None:
        """What the guests and their hypervisor hold while nothing happens, each shared page counted once."""
        holder = (self.lab.tree / ".lab/stacks/dev/hypervisor/holder").read_text(encoding="utf-8").split()[0]
        # The holder is the first process of its namespace.
        own = Path(f"/proc/{holder}/ns/pid").readlink()
        held = 0
        for process in psutil.process_iter():
            try:
                if Path(f"/proc/{process.pid}/ns/pid").readlink() == own:
                    held += process.memory_full_info().pss
            except (OSError, psutil.Error):
                continue
        self._results.add("host memory of the lab at rest", "GiB", held / 2**30)

    def weight(self, times: int) -> None:
        """A changed weight, until both directors have it, while clients go on asking."""
        for turn in range(times):
            changed = [SERVERS[0] | {"weight": 2 + turn}, *SERVERS[1:3]]
            with self.lab.configured(servers=changed), self.lab.asked() as answers:
                begun = time.monotonic()
                self.make("up")
                with ThreadPoolExecutor() as both:
                    weights = list(both.map(self.lab.ipvs, ("master", "backup")))
                took = time.monotonic() - begun
                if {table["192.168.1.50"] for table in weights} != {2 + turn}:
                    raise RuntimeError(f"the directors have {weights}")
            self._results.add("changed weight, until both directors have it", "s", took, target=15)
            lost = answers.count("FAILED")
            self._results.add("requests lost while a weight changes", "", lost, target=0)
        self.make("up")

    def fourth_server(self) -> None:
        """One more server in a lab that stands."""
        before = self.lab.running()
        with self.lab.configured(servers=SERVERS[:4]):
            took, said = self.make("up")
            after = self.lab.running()
            if not before < after or len(after - before) != 1:
                raise RuntimeError("a fourth server changed other machines")
            found = re.search(r"server4: ready after (\d+) s", said)
            if not found:
                raise RuntimeError(f"server4 is not named:\n{said}")
            own = float(found[1])
            self._results.add("one more server", "s", took)
            self._results.add("one more server, by its own boot", "times", took / own, target=1.3)
        self.make("up")

    def gaps(self, times: int, kind: str, **changes: Any) -> None:
        """What a client sees of each kind of failure, by the drills."""
        with self.lab.configured(**changes):
            self.make("up")
            for _ in range(times):
                for drill, quantity, figure in GAPS:
                    try:
                        measure = self.lab.measured(drill, quantity)
                    except AssertionError as error:
                        self._say(f"    {error}")
                        self._results.notes.append(f"{drill}, {kind}: a run without a result")
                        self.lab.lab("drill", "restore", check=False)
                        continue
                    self._say(f"    {drill}: {measure.in_words()}")
                    if measure.value is not None:
                        target = TARGETS.get(drill, measure.bound.high)
                        self._results.add(f"{figure}, {kind}", "s", measure.value, target=target)
        self.make("up")


def grow(folder: Path, results: Results, say: Say, sizes: list[int]) -> None:
    """How `up` grows with the number of machines."""
    for machines in sizes:
        directors, servers = SIZES[machines]
        bench = Bench(folder / f"lab-of-{machines}", results, say)
        changes = {"directors": DIRECTORS[:directors], "servers": SERVERS[:servers]}
        with bench.up(**changes) as seconds:
            say(f"  {machines} machines: {seconds:.0f} s")
            results.growth.append(Growth(machines=machines, servers=servers, seconds=seconds))
            results.save()
