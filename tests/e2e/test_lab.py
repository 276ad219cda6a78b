"""The real lab, through the front door. One lab for all of it; each test puts back what it changed."""

import os
import re
import signal
import time
from collections import Counter

import pytest
import yaml

from lab.operate.outputs import pinned_sources
from lab.operate.sources import FORGET
from tests.e2e.harness import TheLab, eventually

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2700)]

SERVERS = {"server1": "192.168.1.50", "server2": "192.168.1.51", "server3": "192.168.1.52"}
SOURCES = [f"192.168.1.{last}" for last in range(100, 110)]
EVEN = dict.fromkeys(SERVERS.values(), 1)


def test_up_says_what_it_built(lab: TheLab) -> None:
    said = (lab.tree / "up.out").read_text(encoding="utf-8")
    for word in ("192.168.1.20", "master", "backup", "server1", "server2", "server3", "client"):
        assert word in said
    assert lab.output("vip") == "192.168.1.20"
    assert lab.output("url") == "http://192.168.1.20/"
    assert lab.output("image") in said
    inventory = lab.output("inventory")
    assert {machine["name"]: machine["address"] for machine in inventory["machines"]} == {
        "master": "192.168.1.21",
        "backup": "192.168.1.22",
        **SERVERS,
        "client": "192.168.1.100",
    }


def test_nothing_secret_is_said_or_left_open(lab: TheLab) -> None:
    said = (lab.tree / "up.out").read_text(encoding="utf-8")
    assert "PRIVATE KEY" not in said
    assert "PRIVATE KEY" not in lab.beside("pulumi", "stack", "export")
    private = [*(lab.tree / ".lab").glob("**/ssh/*"), lab.tree / ".lab" / "passphrase"]
    assert len(private) >= 4
    for file in private:
        assert file.stat().st_mode & 0o077 == 0, file


def test_the_tree_is_as_it_was(lab: TheLab) -> None:
    assert "encryptionsalt" not in (lab.tree / "Pulumi.dev.yaml").read_text(encoding="utf-8")


def test_cloud_init_installed_what_it_should(lab: TheLab) -> None:
    for machine, package in (("master", "keepalived"), ("server1", "apache2"), ("client", "arping")):
        log = lab.on(machine, "cat /var/log/cloud-init-output.log")
        assert re.search(rf"Setting up {package} ", log), f"{machine}: cloud-init did not install {package}"


@pytest.mark.parametrize(("machine", "service"), [("master", "keepalived"), ("server1", "apache2")])
def test_nothing_stands_in_for_the_tools_of_packages_any_more(
    lab: TheLab, machine: str, service: str
) -> None:
    """And what the real ones have caught up with is as they leave it after an installation."""
    assert lab.on(machine, "ls -d /var/lib/first-boot || echo gone").strip() == "gone"
    assert "first-boot" not in lab.on(machine, "apt-config dump")
    assert lab.on(machine, f"systemctl is-enabled {service}").strip() == "enabled"
    assert lab.on(machine, f"cat /var/lib/systemd/deb-systemd-helper-enabled/{service}.service.dsh-also") == (
        f"/etc/systemd/system/multi-user.target.wants/{service}.service\n"
    )


def test_what_apache2_disables_is_disabled(lab: TheLab) -> None:
    assert "disabled" in lab.on("server1", "systemctl is-enabled apache-htcacheclean || true")
    assert lab.on("server1", "dpkg --verify apache2 | grep sbin || true") == ""


def test_all_three_servers_answer_through_the_vip(lab: TheLab) -> None:
    # Whoever asked while a server was away stays with another one for two hours.
    lab.on("master", FORGET)
    assert set(lab.answers(*SOURCES)) == set(SERVERS)


def test_ipvs_tables_equal_the_topology_on_both_directors(lab: TheLab) -> None:
    for director in ("master", "backup"):
        assert lab.ipvs(director) == EVEN
        assert "-A -t 192.168.1.20:80 -s rr -p 7200" in lab.on(director, "ipvsadm -Sn")


def test_persistence_pins_a_source_address(lab: TheLab) -> None:
    assert len(set(lab.answers(SOURCES[3], times=6))) == 1


def test_clients_that_were_forgotten_are_spread_evenly(lab: TheLab) -> None:
    lab.answers(*SOURCES)
    lab.on("master", FORGET)
    # Whoever asks meanwhile, the probes of no drill and no check are among them.
    assert pinned_sources(lab.on("master", "ipvsadm -Lcn")) == {}
    assert lab.ipvs("master") == EVEN
    assert Counter(lab.answers(*SOURCES[:9])) == dict.fromkeys(SERVERS, 3)


def test_replies_bypass_the_director(lab: TheLab) -> None:
    lab.answers(*SOURCES)
    rows = [
        line.split()
        for line in lab.on("master", "ipvsadm -Ln --stats --exact").splitlines()
        if line.lstrip().startswith("->") and "RemoteAddress" not in line
    ]
    assert len(rows) == 3
    # -> address, Conns, InPkts, OutPkts, InBytes, OutBytes
    assert sum(int(row[3]) for row in rows) > 0
    assert [int(row[4]) for row in rows] == [0, 0, 0]


def test_only_the_master_answers_arp_for_the_vip(lab: TheLab) -> None:
    said = lab.on("client", "ip neigh flush 192.168.1.20; arping -c 4 -I eth0 192.168.1.20")
    macs = set(re.findall(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", said.lower()))
    assert macs == {"52:54:00:a8:01:15"}


def test_real_servers_are_clean_for_direct_routing(lab: TheLab) -> None:
    for server in SERVERS:
        assert_dr_clean(lab, server)


def assert_dr_clean(lab: TheLab, server: str) -> None:
    state = lab.on(
        server,
        "ip -4 -o addr show dev lo; sysctl -n net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce",
    )
    assert "192.168.1.20/32" in state
    assert state.split()[-2:] == ["1", "2"]


def test_a_second_up_changes_nothing(lab: TheLab) -> None:
    lab.beside("pulumi", "preview", "--diff", "--expect-no-changes", "--non-interactive")
    lab.beside("pulumi", "preview", "--refresh", "--expect-no-changes", "--non-interactive")
    begun = time.monotonic()
    said = lab.up(within=120)
    lab.note(f"no-op up: {time.monotonic() - begun:.1f} s")
    assert "Nothing changed" in said.stdout


def test_a_changed_weight_is_a_reload_on_both_directors_and_costs_no_request(lab: TheLab) -> None:
    machines = lab.running()
    pids = [lab.on(name, "cat /run/keepalived.pid") for name in ("master", "backup")]
    servers = [{"name": name, "address": address, "weight": 1} for name, address in SERVERS.items()]
    servers[0]["weight"] = 3
    with lab.asked() as seen:
        try:
            begun = time.monotonic()
            with lab.configured(servers=servers):
                lab.up(within=300)
                lab.note(f"changed weight: {time.monotonic() - begun:.1f} s")
                for director in ("master", "backup"):
                    assert lab.ipvs(director) == EVEN | {"192.168.1.50": 3}
        finally:
            lab.up(within=300)
    assert len(seen) > 10
    assert "FAILED" not in seen
    assert lab.running() == machines
    assert [lab.on(name, "cat /run/keepalived.pid") for name in ("master", "backup")] == pids
    assert lab.ipvs("master") == EVEN


def test_a_configuration_that_keepalived_refuses_never_comes_into_force(lab: TheLab) -> None:
    template = lab.tree / "lab" / "templates" / "keepalived.conf.j2"
    good = template.read_text(encoding="utf-8")
    before = lab.on("master", "sha256sum /etc/keepalived/keepalived.conf; cat /run/keepalived.pid")
    # A misspelt method: keepalived would take it and fall back to NAT.
    template.write_text(good.replace("lb_kind DR", "lb_kind DIRECT"), encoding="utf-8")
    try:
        done = lab.up(check=False, within=300)
    finally:
        template.write_text(good, encoding="utf-8")
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in said
    assert re.search(r"(master|backup): keepalived refuses its new configuration", said)
    assert "DIRECT" in said, "keepalived's own words are missing"
    assert lab.on("master", "sha256sum /etc/keepalived/keepalived.conf; cat /run/keepalived.pid") == before
    assert lab.on("master", "systemctl is-active keepalived").strip() == "active"
    assert "FAILED" not in lab.answers(*SOURCES[:3])
    lab.up(within=300)


def test_a_restarted_networkd_does_not_take_the_vip_away(lab: TheLab) -> None:
    lab.on("master", "systemctl restart systemd-networkd")
    assert lab.holder() == ["master"]


def test_mail_of_the_directors_reaches_the_sink(lab: TheLab) -> None:
    assert "192.168.1.100" in lab.on("master", "getent hosts mysmtp.laboratorio.com")

    def mail() -> str:
        return lab.on("client", "cat /var/lib/mail-sink/mail/new/* 2>/dev/null", check=False)

    eventually(lambda: "master@laboratorio.com" in mail(), 60, "a mail from the master")


def test_a_rebooted_real_server_comes_back_clean(lab: TheLab) -> None:
    booted = lab.on("server2", "cat /proc/sys/kernel/random/boot_id")
    lab.on("server2", "systemctl reboot", check=False)

    def back() -> bool:
        now = lab.on("server2", "cat /proc/sys/kernel/random/boot_id", check=False)
        return bool(now) and now != booted

    eventually(back, 240, "server2 is back")
    eventually(lambda: lab.ipvs("master") == EVEN, 60, "server2 is in the table again")
    assert_dr_clean(lab, "server2")
    said = lab.on("client", "ip neigh flush 192.168.1.20; arping -c 3 -I eth0 192.168.1.20")
    assert set(re.findall(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", said.lower())) == {"52:54:00:a8:01:15"}


def test_up_switches_a_dead_master_on_and_the_vip_comes_back(lab: TheLab) -> None:
    """How fast the VIP moves away is the drill crash-failover's; here it is `up` that mends."""
    lab.virsh("destroy", lab.domain("master"))
    eventually(lambda: lab.holder() == ["backup"], 30, "backup takes the VIP")
    eventually(lambda: "FAILED" not in lab.answers(SOURCES[6]), 30, "the VIP answers again")
    lab.up(within=600)
    eventually(lambda: lab.holder() == ["master"], 120, "master takes the VIP back")
    eventually(lambda: lab.ipvs("master") == EVEN, 60, "the master's table is whole")
    assert set(lab.answers(*SOURCES)) == set(SERVERS)


def test_a_killed_up_of_another_stack_is_taken_down_and_this_lab_never_notices(lab: TheLab) -> None:
    tiny = TheLab(lab.tree, "tiny")
    document = yaml.safe_load((lab.tree / "Pulumi.dev.yaml").read_text(encoding="utf-8"))
    for key in ("directors", "servers"):
        del document["config"][f"lvs-dr-lab:{key}"][1:]
    (lab.tree / "Pulumi.tiny.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    console = lab.tree / ".lab/stacks/tiny/hypervisor/log/qemu" / f"{tiny.domain('server1')}.console.log"
    with tiny.started("up") as process:
        eventually(lambda: console.exists() and console.stat().st_size, 120, "its first machine boots")
        os.killpg(process.pid, signal.SIGKILL)
    begun = time.monotonic()
    said = tiny.lab("down", within=300)
    lab.note(f"down after a killed up: {time.monotonic() - begun:.1f} s")
    assert "gone" in said.stderr
    tiny.assert_gone()
    assert "FAILED" not in lab.answers(*SOURCES)
    assert "Nothing changed" in lab.up(within=300).stdout


@pytest.mark.ends_the_lab
def test_down_leaves_nothing_whatever_state_the_machines_are_in(lab: TheLab) -> None:
    lab.virsh("destroy", lab.domain("server1"))
    lab.virsh("suspend", lab.domain("server2"))
    lab.virsh("destroy", lab.domain("server3"))
    lab.virsh("undefine", lab.domain("server3"))
    orphan = lab.tree / "orphan.xml"
    orphan.write_text(
        f"<domain type='qemu'><name>{lab.domain('stray')}</name><memory unit='MiB'>64</memory>"
        "<os><type>hvm</type></os></domain>",
        encoding="utf-8",
    )
    lab.virsh("define", str(orphan))
    begun = time.monotonic()
    lab.lab("down", within=300)
    lab.note(f"down: {time.monotonic() - begun:.1f} s")
    lab.assert_gone()
    lab.lab("down", within=120)
    lab.assert_gone()
