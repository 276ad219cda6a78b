"""What ordinary people and bad luck do to a lab, and that one command mends it.

What takes longer is in test_soak.py.
"""

import subprocess

import pytest

from tests.e2e.harness import TheLab, eventually

pytestmark = [pytest.mark.lab, pytest.mark.risks_the_lab, pytest.mark.timeout(3600)]


def test_a_libvirtd_that_was_killed_is_started_again(lab: TheLab) -> None:
    lab.kill_libvirtd()
    assert "Nothing changed" in lab.up(within=120).stdout
    lab.assert_whole()


def test_machines_that_are_paused_undefined_or_have_lost_their_disk_are_back_after_one_up(
    lab: TheLab,
) -> None:
    host_key = lab.on("client", "cat /etc/ssh/ssh_host_ed25519_key.pub")
    master = lab.virsh("domuuid", lab.domain("master"))
    lab.virsh("suspend", lab.domain("master"))
    disk = lab.virsh("domblklist", lab.domain("server1")).split()[1]
    lab.virsh("destroy", lab.domain("server1"))
    lab.beside("rm", disk)
    lab.virsh("destroy", lab.domain("client"))
    lab.virsh("undefine", lab.domain("client"))
    lab.up(within=900)
    lab.assert_whole()
    assert lab.virsh("domuuid", lab.domain("master")) == master
    assert lab.on("client", "cat /etc/ssh/ssh_host_ed25519_key.pub") == host_key


def test_a_damaged_state_is_named_and_nothing_is_destroyed(lab: TheLab) -> None:
    state = lab.tree / f".lab/state/.pulumi/stacks/lvs-dr-lab/{lab.stack}.json"
    good = state.read_bytes()
    before = lab.running()
    for damage in (good[: len(good) // 2], b"", b"{}"):
        state.write_bytes(damage)
        try:
            said = lab.refused_up(within=120)
        finally:
            state.write_bytes(good)
        assert f"the engine's state of stack {lab.stack} is damaged" in said
        assert lab.running() == before
    assert "Nothing changed" in lab.up(within=300).stdout
    lab.assert_whole()


def test_a_wrong_passphrase_is_named_and_nothing_is_destroyed(lab: TheLab) -> None:
    passphrase = lab.tree / ".lab/passphrase"
    good = passphrase.read_text(encoding="utf-8")
    before = lab.running()
    passphrase.write_text("another\n", encoding="utf-8")
    try:
        with lab.configured(delay_loop=5):
            said = lab.refused_up(within=120)
    finally:
        passphrase.write_text(good, encoding="utf-8")
    assert "passphrase" in said
    assert lab.running() == before
    lab.up(within=300)
    lab.assert_whole()


def test_a_stack_that_is_locked_by_a_living_engine_is_left_alone(lab: TheLab) -> None:
    """And one that a dead one left locked is freed: what the interruptions of test_soak.py show."""
    with lab.configured(delay_loop=6), lab.started("up") as first:
        lock = lab.tree / f".lab/{lab.stack}.lock"
        held = ["flock", "-n", str(lock), "true"]
        eventually(lambda: lock.exists() and subprocess.run(held, check=False).returncode, 30, "locked")
        assert f"another `lab up` or `lab down` of stack {lab.stack} is at work" in lab.refused_up(within=60)
        assert first.wait(300) == 0
    lab.up(within=300)
    lab.assert_whole()
