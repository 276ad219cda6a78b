"""keepalived on what is rendered for it: its check of every file, and two of it at work.

``keepalived -t`` exits 0 for some warnings that change the meaning, and for an empty file, so it must
keep silent too, and files that are wrong on purpose show that it can speak.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.render import pushes
from lab.topology import Topology
from tests import golden
from tests.oracles.tools import Namespaces, need, until

pytestmark = pytest.mark.timeout(120)

RENDERED = sorted(name for name in golden.names("render") if name.endswith("/keepalived.conf"))
TUTORIAL = golden.HERE / "render/tutorial/master/keepalived.conf"
SEGMENT = golden.HERE / "render/tutorial/master/hosts"

_CHECK = """set -e
mount --bind "$1" /etc/hosts
ip link add eth0 type veth peer name peer0
ip link set eth0 up
exec "$3" -t -f "$2"
"""


def opinion(conf: Path, hosts: Path) -> tuple[int, str]:
    """Status and words of ``keepalived -t`` where there is an eth0 and the names of the segment."""
    done = subprocess.run(
        [
            need("unshare", "util-linux"),
            *([] if os.geteuid() == 0 else ["-r"]),
            *("--mount", "--net", "sh", "-c", _CHECK, "check", hosts, conf, need("keepalived", "keepalived")),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if not re.search("validated$", line)]
    return done.returncode, "\n".join(said)


@pytest.mark.parametrize("name", RENDERED)
def test_keepalived_has_nothing_to_say_about_a_rendered_file(name: str) -> None:
    conf = golden.HERE / name
    hosts = conf.with_name("hosts")
    assert conf.stat().st_size > 0
    assert opinion(conf, hosts if hosts.exists() else SEGMENT) == (0, "")


SEEDED = {
    "password of eleven bytes": ("auth_pass Venezuel", "auth_pass Venezuela21", "Truncating auth_pass"),
    "name that does not resolve": ("mysmtp.laboratorio.com", "mysmtp.invalid", "Invalid smtp server"),
    "interface that is not there": ("interface eth0", "interface eth7", "eth7"),
    "unknown keyword": ("delay_loop 10", "delay_lop 10", "delay_lop"),
    "unknown scheduler": ("lb_algo rr", "lb_algo wwr", "wwr"),
    "unknown forwarding method": ("lb_kind DR", "lb_kind DRR", "DRR"),
    "another port behind Direct Routing": ("192.168.1.50 80", "192.168.1.50 81", "port"),
    "interval below a second": ("advert_int 1", "advert_int 0.5", "integer"),
    "VRID out of range": ("virtual_router_id 21", "virtual_router_id 256", "256"),
    "priority out of range": ("priority 150", "priority 300", "300"),
    "MASTER without preemption": ("priority 150", "priority 150\n    nopreempt", "nopreempt"),
    "password with version 3": ("interface eth0", "interface eth0\n    version 3", "authentication"),
    "a brace too few": ("    virtual_ipaddress {", "    virtual_ipaddress", ""),
}


@pytest.mark.parametrize("fault", SEEDED)
def test_keepalived_speaks_up_about_a_fault(fault: str, tmp_path: Path) -> None:
    before, after, word = SEEDED[fault]
    text = TUTORIAL.read_text(encoding="utf-8")
    assert before in text
    conf = tmp_path / "keepalived.conf"
    conf.write_text(text.replace(before, after, 1), encoding="utf-8")
    status, said = opinion(conf, SEGMENT)
    assert status != 0
    assert said
    assert word in said


def test_the_check_here_passes_what_is_right(tmp_path: Path) -> None:
    conf = tmp_path / "keepalived.conf"
    conf.write_text(
        "vrrp_instance a {\n interface eth0\n virtual_router_id 1\n priority 9\n"
        " virtual_ipaddress {\n  192.0.2.1\n }\n}\n",
        encoding="utf-8",
    )
    assert opinion(conf, SEGMENT) == (0, "")


class Pair:
    """The tutorial's two directors, VRRP part, each in a namespace on one bridge."""

    def __init__(self, lan: Namespaces, folder: Path, topology: Topology) -> None:
        self._lan = lan
        self._folder = folder
        self._keepalived = need("keepalived", "keepalived")
        for director in topology.directors:
            conf = folder / f"{director.name}.conf"
            conf.write_text(pushes.keepalived_conf(topology, director), encoding="utf-8")
            lan.on(director.name, f"ip addr add {director.address}/24 dev eth0")

    def start(self, name: str) -> None:
        """Run keepalived in the foreground of the namespace, VRRP only: IPVS is another kernel's matter."""
        files = f"-f {name}.conf -p {name}.pid -r {name}-vrrp.pid"
        self._lan.run(f"cd '{self._folder}'")
        self._lan.run(
            f"nsenter --target ${name} --net '{self._keepalived}' --dont-fork --vrrp --log-console {files}"
            f" --log-detail </dev/null >> {name}.log 2>&1 &"
        )

    def log(self, name: str) -> str:
        file = self._folder / f"{name}.log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def stop(self, name: str) -> None:
        """Ask keepalived to end, as `systemctl stop` does."""
        self._lan.run(f"kill -TERM $(cat {name}.pid)")

    def stopped(self, name: str) -> bool:
        return not any((self._folder / file).exists() for file in (f"{name}.pid", f"{name}-vrrp.pid"))

    def freeze(self, name: str) -> None:
        """Every process of keepalived stands still, as on a machine that hangs."""
        self._lan.run(f"kill -STOP $(cat {name}.pid {name}-vrrp.pid)")

    def holders(self) -> set[str]:
        """Who has the VIP."""
        return {
            name
            for name in ("master", "backup")
            if " 192.168.1.20/24 " in self._lan.on(name, "ip -4 -o addr show dev eth0")
        }

    def wait(self, holder: str, *, within: float) -> float:
        try:
            return until(lambda: self.holders() == {holder}, within=within, what=f"VIP on {holder} alone")
        except AssertionError as error:
            logs = "".join(log.read_text(encoding="utf-8")[-2000:] for log in self._folder.glob("*.log"))
            raise AssertionError(f"{error}; {self.holders()}\n{logs}") from None


@pytest.fixture
def pair(tmp_path: Path, tutorial: Topology) -> Iterator[Pair]:
    hosts = tmp_path / "hosts"
    hosts.write_text(pushes.hosts(tutorial, tutorial.directors[0]), encoding="utf-8")
    need("keepalived", "keepalived")
    with Namespaces(hosts, ("master", "backup")) as lan:
        yield Pair(lan, tmp_path, tutorial)


def test_two_directors_elect_the_master_and_the_vip_moves_and_comes_back(pair: Pair) -> None:
    """Times of RFC 3768 with an interval of 1 s: 3 adverts and a skew of (256 - priority)/256 s.

    Priority 150 waits 3.41 s, priority 100 3.61 s. A master that is stopped says so (priority 0), and
    the other waits for its skew alone, 0.61 s. One that falls silent is missed after 2.61 to 3.61 s.
    What is allowed on top is for a busy computer.
    """
    assert pair.holders() == set()
    pair.start("backup")
    pair.start("master")
    assert pair.wait("master", within=8) > 2

    pair.stop("master")
    assert pair.wait("backup", within=3) < 2
    until(lambda: pair.stopped("master"), within=5, what="end of the master")

    pair.start("master")
    pair.wait("master", within=8)


def test_a_master_that_falls_silent_is_missed(pair: Pair) -> None:
    pair.start("master")
    pair.wait("master", within=8)
    pair.start("backup")
    until(lambda: "Entering BACKUP" in pair.log("backup"), within=8, what="BACKUP")
    pair.freeze("master")
    # A stopped process keeps the address on its interface, as a hung machine would.
    took = until(lambda: "backup" in pair.holders(), within=8, what="VIP on backup")
    assert took > 2
