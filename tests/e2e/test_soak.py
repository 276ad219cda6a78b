"""What takes long to do to a lab, for `make soak`.

A lab of three machines of its own: what six add is tested elsewhere. The tests share it and leave it whole.
"""

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.host.sandbox import Sandbox
from tests.e2e.harness import SMALL, TheLab, checkout, eventually

pytestmark = [pytest.mark.lab, pytest.mark.own_lab, pytest.mark.soak, pytest.mark.timeout(3600)]


def planned(tree: Path, stack: str) -> TheLab:
    (tree / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": SMALL}), encoding="utf-8")
    return TheLab(tree, stack)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def unbuilt(tree: Path) -> Iterator[TheLab]:
    """The one lab of this module, whether it stands or not."""
    lab = planned(tree, "small")
    try:
        yield lab
    finally:
        lab.lab("down", check=False)
        lab.assert_gone()


@pytest.fixture
def small(unbuilt: TheLab) -> TheLab:
    """The same lab, built by whoever needs it first."""
    if not (unbuilt.tree / ".lab/stacks/small/inventory.json").exists():
        unbuilt.up()
    return unbuilt


def interrupted(lab: TheLab, number: int, seconds: float) -> bool:
    """End an `up` after ``seconds``; whether it was still at work."""
    with lab.started("up") as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, number)
            # Ctrl-C and TERM let the engine write down what it has.
            process.wait(240)
            return True
        return False


@pytest.mark.parametrize("seconds", [0.3, 1, 2, 3, 5, 8, 13, 21])
def test_down_leaves_nothing_of_an_up_that_was_killed(tree: Path, seconds: float) -> None:
    lab = planned(tree, "cut")
    assert interrupted(lab, signal.SIGKILL, seconds)
    lab.lab("down", within=300)
    lab.assert_gone()


def test_an_up_that_is_interrupted_again_and_again_ends_in_a_whole_lab(unbuilt: TheLab) -> None:
    begun = time.monotonic()
    numbers = itertools.cycle((signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
    # What was built stays, so the points of interruption spread over the whole of a run.
    cut = [interrupted(unbuilt, next(numbers), 2.0 + step) for step in range(20)]
    assert sum(cut) >= 10, cut
    unbuilt.up()
    unbuilt.assert_whole()
    unbuilt.note(f"up of three machines, interrupted {sum(cut)} times: {time.monotonic() - begun:.0f} s")


def test_a_computer_that_was_restarted_has_its_lab_again_after_one_up(small: TheLab) -> None:
    small.on("server1", "echo kept > /root/kept; sync")
    Sandbox(small.tree / ".lab/stacks/small/hypervisor").stop()
    away = small.lab("check", check=False)
    assert away.returncode == 3
    assert "`make up` brings the lab back" in away.stderr
    begun = time.monotonic()
    small.up(within=900)
    small.note(f"up of three machines after a restart: {time.monotonic() - begun:.0f} s")
    assert small.on("server1", "cat /root/kept").strip() == "kept"
    small.assert_whole()


def test_a_libvirtd_that_is_killed_during_an_up(small: TheLab) -> None:
    two = [{"name": f"server{n}", "address": f"192.168.1.{49 + n}"} for n in (1, 2)]
    console = small.tree / ".lab/stacks/small/hypervisor/log/qemu" / f"{small.domain('server2')}.console.log"
    with small.configured(servers=two):
        with small.started("up") as process:
            eventually(console.exists, 60, "the second server is switched on")
            small.kill_libvirtd()
            process.wait(900)
        small.up(within=900)
        small.assert_whole()
    small.up(within=300)
    small.assert_whole()


def test_a_machine_that_boots_no_more_is_built_again(small: TheLab) -> None:
    # As after a power failure that took what the guest had not written yet.
    small.on("server1", "rm /etc/ssh/ssh_host_*; sync")
    small.virsh("destroy", small.domain("server1"))
    others = small.running()
    said = small.up(within=1200).stderr
    assert "server1: no answer after being switched on; building anew" in " ".join(said.split())
    assert others <= small.running()
    small.assert_whole()


@pytest.mark.parametrize("started", [False, True])
def test_a_network_that_was_stopped_is_back_after_one_up(small: TheLab, started: bool) -> None:
    small.virsh("net-destroy", "lvs-dr-lab-small")
    if started:
        # That alone plugs no machine in.
        small.virsh("net-start", "lvs-dr-lab-small")
    small.up(within=900)
    small.assert_whole()


def test_a_network_that_is_gone_is_back_after_one_up(small: TheLab) -> None:
    small.virsh("net-destroy", "lvs-dr-lab-small")
    small.virsh("net-undefine", "lvs-dr-lab-small")
    small.up(within=1200)
    small.assert_whole()


def test_a_package_that_cannot_be_installed_is_named_and_the_rest_stands(small: TheLab) -> None:
    source = small.tree / "lab/render/guest.py"
    good = source.read_text(encoding="utf-8")
    source.write_text(good.replace('"arping", ', '"arping", "no-such-package", '), encoding="utf-8")
    try:
        said = small.refused_up(within=900)
        assert "client: cloud-init finished with errors" in said
        assert "Unable to locate package no-such-package" in said
        assert small.on("server1", "systemctl is-active apache2").strip() == "active"
    finally:
        source.write_text(good, encoding="utf-8")
    small.up(within=900)
    small.assert_whole()


def test_a_machine_with_another_host_key_is_refused_and_named(small: TheLab) -> None:
    small.on(
        "master",
        "cd /etc/ssh && mkdir kept && cp -a ssh_host_ed25519_key* kept && rm ssh_host_ed25519_key* && "
        "ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && systemctl restart ssh",
    )
    # The one that is open was made with the right key.
    small.beside("ssh", "-O", "exit", "master")
    assert small.lab("check", "reachable", check=False).returncode in (1, 3)
    with small.configured(delay_loop=5):
        said = small.refused_up(within=900)
        assert "master" in said
        assert "host key" in said
    mend = "cd /etc/ssh && cp -a kept/* . && rm -r kept && systemctl restart ssh"
    careless = (
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "ControlPath=none",
    )
    small.beside("ssh", *careless, "master", mend)
    eventually(
        lambda: small.on("master", "true; echo in", check=False).strip() == "in", 60, "the key is back"
    )
    small.up(within=300)
    small.assert_whole()


def test_a_libvirtd_that_is_killed_during_a_down(small: TheLab) -> None:
    with small.started("down") as process:
        log = small.tree / ".lab/stacks/small/destroy.events"
        eventually(lambda: log.exists() or process.poll() is not None, 60, "machines are being destroyed")
        small.kill_libvirtd()
        process.wait(300)
    small.lab("down", within=300)
    small.assert_gone()
