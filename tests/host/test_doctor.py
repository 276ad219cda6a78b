"""The look at the operator's computer: what is seen, and what follows from it."""

import json
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.host import doctor
from lab.host.doctor import Facts, Host
from lab.settings import Problem, SettingsError, load
from lab.topology import Names, plan
from tests.settings.test_errors import GIB, ROOMY

MIB = 1024**2
FACTS = Facts(**ROOMY)


def problems(values: dict[str, Any] | None = None, **seen: Any) -> list[Problem]:
    settings = load(values or {})
    return list(doctor.diagnose(settings, plan(settings, "dev"), replace(FACTS, **seen)))


def test_nothing_is_in_the_way_on_a_roomy_computer() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("asked", "kvm", "expected"),
    [("auto", True, "kvm"), ("auto", False, "qemu"), ("qemu", True, "qemu"), ("kvm", True, "kvm")],
)
def test_auto_takes_kvm_where_it_can_work(asked: str, kvm: bool, expected: str) -> None:
    assert doctor.host(load({"virtualization": asked}), replace(FACTS, kvm=kvm)).accelerator == expected


@pytest.mark.parametrize(
    ("flags", "device", "expected"),
    [
        ("flags : fpu vmx sse", True, True),
        ("flags : fpu svm", True, True),
        ("flags : fpu vmx", False, False),
        ("flags : fpu", True, False),
        ("flags : fpu vmxfoo", True, False),
    ],
)
def test_kvm_needs_the_processors_flag_and_an_open_device(
    monkeypatch: pytest.MonkeyPatch, flags: str, device: bool, expected: bool
) -> None:
    """A device alone proves nothing: in some virtual machines it exists and guests hang on it."""
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: flags)
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: device and path == "/dev/kvm")
    assert doctor.has_kvm() is expected


def test_without_cpuinfo_there_is_no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert doctor.has_kvm() is False


def test_emulated_guests_boot_as_there_are_processors() -> None:
    settings = load({})
    assert doctor.host(settings, replace(FACTS, kvm=False, processors=2)) == Host("qemu", 2)
    assert doctor.host(settings, replace(FACTS, kvm=False, processors=0)).boot_limit == 1
    assert doctor.host(settings, replace(FACTS, kvm=True, processors=2)).boot_limit > 100


@pytest.mark.parametrize(
    ("owner", "subnet", "blocked"),
    [
        ("interface eth0", "192.168.1.0/24", True),
        ("interface eth0", "192.168.0.0/16", True),
        ("interface eth0", "192.168.1.128/25", True),
        ("interface eth0", "192.168.2.0/24", False),
        ("libvirt network office", "192.168.1.0/24", True),
        ("interface br-dev", "192.168.1.0/24", False),
        ("interface br-other", "192.168.1.0/24", True),
    ],
)
def test_a_subnet_in_use_is_named_with_its_owner(owner: str, subnet: str, blocked: bool) -> None:
    found = problems(subnets=((owner, IPv4Network(subnet)),))
    assert [problem.key for problem in found] == (["cidr"] if blocked else [])
    if blocked:
        assert f"{owner} has {subnet}" in found[0].rule


def test_in_bridge_mode_the_hosts_subnet_is_meant() -> None:
    bridged = {"network": "bridge", "bridge": "br0"}
    assert problems(bridged, subnets=(("interface br0", IPv4Network("192.168.1.0/24")),)) == []
    (missing,) = problems({**bridged, "bridge": "br9"})
    assert "it has: br0" in missing.rule
    (none,) = problems(bridged, bridges=frozenset())
    assert "it has: none" in none.rule


def test_memory_counts_for_the_machines_that_do_not_run_yet() -> None:
    need = 6 * (512 + 64)
    assert problems(memory_available=need * MIB) == []
    (short,) = problems(memory_available=(need - 1) * MIB)
    assert (short.key, short.value) == ("sizes", f"{need} MiB for 6 machines")
    running = frozenset(
        Names("dev").domain(name) for name in ("master", "backup", "server1", "server2", "server3")
    )
    assert problems(memory_available=(512 + 64) * MIB, running=running) == []
    others = frozenset(Names("other").domain(name) for name in ("master", "backup"))
    assert problems(memory_available=(need - 1) * MIB, running=others) != []


def test_emulation_takes_more_memory() -> None:
    assert problems(memory_available=6 * 600 * MIB) == []
    assert problems(kvm=False, memory_available=6 * 600 * MIB) != []


def test_disk_counts_until_it_is_written() -> None:
    (short,) = problems(disk_free=GIB)
    assert "of disk" in str(short.value)
    assert "/var/lib/libvirt/images" in short.rule
    assert problems(disk_free=GIB, volumes=True) == []


def test_another_computers_room_is_not_ours_to_judge() -> None:
    assert problems({"libvirt_uri": "qemu+ssh://root@far/system"}, memory_available=1, disk_free=1) == []


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("qemu:///system", True),
        ("qemu+unix:///system?socket=/x", True),
        ("qemu+ssh://root@far/system", False),
        ("qemu+tls://far:16514/system", False),
    ],
)
def test_a_uri_with_a_host_is_another_computer(uri: str, local: bool) -> None:
    assert doctor.is_local(uri) is local


def test_an_image_given_by_path_must_be_there(tmp_path: Path) -> None:
    image = tmp_path / "guest.qcow2"
    (missing,) = problems({"image": str(image)})
    assert missing.key == "image"
    image.touch()
    assert problems({"image": str(image)}) == []


def test_every_problem_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cramped = replace(FACTS, kvm=False, memory_available=0, disk_free=0)
    monkeypatch.setattr(doctor, "observe", lambda *_: cramped)
    settings = load({"virtualization": "kvm"})
    with pytest.raises(SettingsError) as caught:
        doctor.examine(settings, plan(settings, "dev"))
    assert [problem.key for problem in caught.value.problems] == ["virtualization", "sizes", "sizes"]


OFFICE = """<network><name>office</name><bridge name='virbr7'/>
<ip address='192.168.1.1' netmask='255.255.255.0'/>
<ip family='ipv6' address='fd00::1' prefix='64'/></network>"""
PREFIXED = "<network><name>lab</name><ip family='ipv4' address='10.9.8.1' prefix='20'/></network>"
OPEN = "<network><name>open</name><forward mode='bridge'/></network>"


def test_what_is_seen_comes_from_libvirt_and_the_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        ("version",): "",
        ("list", "--name"): "lvs-dr-lab-dev.master\n\n",
        ("net-list", "--all", "--name"): "office\nlvs-dr-lab-dev\nprefixed\nopen\n\n",
        ("net-dumpxml", "office"): OFFICE,
        ("net-dumpxml", "prefixed"): PREFIXED,
        ("net-dumpxml", "open"): OPEN,
        ("pool-list", "--all", "--name"): "default\nlvs-dr-lab-dev\n",
    }
    monkeypatch.setattr(doctor, "virsh", lambda uri, *arguments: answers[arguments])
    seen = {"default": "eth0", "172.16.5.0/24": "eth0", "10.7.0.9": "tun0"}
    routes = json.dumps([{"dst": target, "dev": device} for target, device in seen.items()])
    monkeypatch.setattr(
        doctor.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=routes)
    )
    settings = load({})
    facts = doctor.observe(settings, plan(settings, "dev"))
    assert {(owner, str(subnet)) for owner, subnet in facts.subnets} == {
        ("libvirt network office", "192.168.1.0/24"),
        ("libvirt network prefixed", "10.9.0.0/20"),
        ("interface eth0", "172.16.5.0/24"),
        ("interface tun0", "10.7.0.9/32"),
    }
    assert facts.running == {"lvs-dr-lab-dev.master"}
    assert facts.volumes is True
    assert facts.memory_available > 0
    assert Path(facts.disk_path).is_dir()


def test_without_virsh_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    with pytest.raises(LabError, match="libvirt-clients"):
        doctor.virsh("qemu:///system", "version")


def test_a_hypervisor_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, timeout: float, **__: Any) -> None:
        raise subprocess.TimeoutExpired("virsh", timeout)

    monkeypatch.setattr(doctor.shutil, "which", lambda _: "/usr/bin/virsh")
    monkeypatch.setattr(doctor.subprocess, "run", hang)
    with pytest.raises(SettingsError, match="no answer within 10 s"):
        doctor.virsh("qemu:///system", "version")


def test_as_a_program_it_says_what_is_wrong_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: lvs-dr-lab\n", encoding="utf-8")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {lvs-dr-lab:port: 0}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="lvs-dr-lab:port = 0"):
        doctor.main("dev")
