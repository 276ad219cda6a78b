"""A newcomer who is not root: `make up` and `make down` from a fresh checkout, in an account of its own."""

import os
import shutil
import time
from pathlib import Path

import psutil
import pytest
import yaml

from lab.host import guest_image
from lab.host.paths import cache_dir
from tests.e2e.harness import MEASURED, SMALL, checkout
from tests.users import User, ordinary_user

pytestmark = [pytest.mark.lab, pytest.mark.own_lab, pytest.mark.timeout(3600)]


def newcomer(user: User, **settings: object) -> Path:
    """A checkout in the user's home, and of root's caches what takes long to make again."""
    tree = checkout(user.home / "lvs-dr-lab")
    small = SMALL | {f"lvs-dr-lab:{key}": value for key, value in settings.items()}
    (tree / "Pulumi.small.yaml").write_text(yaml.safe_dump({"config": small}), encoding="utf-8")
    cache = user.home / ".cache" / "lvs-dr-lab"
    shutil.copytree(cache_dir() / "engine", cache / "engine", symlinks=True)
    image = guest_image.build(cache_dir() / "images", print)
    (cache / "images").mkdir(parents=True)
    shutil.copy2(image, cache / "images" / image.name)
    user.owns(user.home)
    return tree


def make(user: User, tree: Path, goal: str, within: float) -> tuple[int, str]:
    done = user.run(["make", goal, "STACK=small"], directory=tree, within=within)
    return done.returncode, done.stdout + done.stderr


def interfaces() -> set[str]:
    return set(psutil.net_if_addrs())


# A network and a guest without root are in tests/host/test_sandbox.py, and in every run.
@pytest.mark.soak
def test_a_lab_without_root(capfd: pytest.CaptureFixture[str]) -> None:
    before = interfaces()
    with ordinary_user() as user:
        tree = newcomer(user)
        begun = time.monotonic()
        status, said = make(user, tree, "up", 2400)
        assert status == 0, said
        MEASURED.append(
            f"up of three machines without root, from a fresh checkout: {time.monotonic() - begun:.0f} s"
        )
        assert "sudo" not in said
        assert any("qemu-system" in process for process in user.processes())
        lab = str(tree / ".venv" / "bin" / "lab")
        asked = user.run(
            [lab, "ssh", "--stack", "small", "client", "curl -s -m 5 http://192.168.1.20/"], directory=tree
        )
        assert asked.stdout.strip() == "server1", asked.stderr
        checked = user.run([lab, "check", "--stack", "small"], directory=tree)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        status, said = make(user, tree, "down", 300)
        assert status == 0, said
        assert not (tree / ".lab").exists()
        assert user.processes() == []
        assert interfaces() == before


def test_a_lab_by_sudo_that_does_not_come_up_in_time(capfd: pytest.CaptureFixture[str]) -> None:
    """Where ordinary users may have no namespaces; and what is said of a machine that is too slow."""
    before = interfaces()
    with ordinary_user(tun=False, sudo=True) as user:
        tree = newcomer(user, boot_timeout=10)
        status, said = make(user, tree, "up", 1200)
        assert status != 0
        assert "Traceback" not in said
        assert "server1" in said
        assert "boot_timeout" in said
        assert "make down" in said
        # Root's guests, the user's checkout.
        assert any(
            "qemu-system" in words and "lvs-dr-lab-small." in words
            for one in psutil.process_iter(["cmdline"])
            if (words := " ".join(one.info["cmdline"] or []))
        )
        assert not any("qemu-system" in process for process in user.processes())
        status, said = make(user, tree, "down", 300)
        assert status == 0, said
        assert not (tree / ".lab").exists()
        mark = str(tree)
        left = [
            words
            for one in psutil.process_iter(["cmdline", "pid"])
            if mark in (words := " ".join(one.info["cmdline"] or [])) and one.info["pid"] != os.getpid()
        ]
        assert left == []
        assert interfaces() == before
