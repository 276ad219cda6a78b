"""A lab that stands as its last ``up`` left it: recognised, and never taken for one that does not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.host import standing
from lab.host.engine import Engine
from lab.host.paths import StackPaths
from lab.settings import Settings
from lab.topology import Names
from tests.host.fake_virsh import FakeVirsh, Pool

PREFIX = "lvs-dr-lab-dev"
MASTER = Names("dev").domain("master")
ENGINE = Engine(Path("bin"), {"pulumi": "built"}, {"pulumi": "3.259.0"})
SETTINGS = Settings(virtualization="qemu")
RESOURCES = [
    {"type": "libvirt:index/network:Network", "outputs": {"name": PREFIX}},
    {"type": "libvirt:index/pool:Pool", "outputs": {"name": PREFIX}},
    {"type": "libvirt:index/volume:Volume", "outputs": {"name": "master.qcow2"}},
    {"type": "libvirt:index/domain:Domain", "outputs": {"name": MASTER}},
]


@pytest.fixture
def virsh() -> FakeVirsh:
    fake = FakeVirsh()
    fake.domains = {MASTER: True}
    fake.networks = {PREFIX: True}
    fake.pools = {PREFIX: Pool(volumes={"master.qcow2"})}
    return fake


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackPaths:
    """A checkout whose lab stands."""
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    found = StackPaths(tmp_path, "dev")
    for name in ("__main__.py", "Pulumi.yaml", "Pulumi.dev.yaml", "uv.lock", "lab/a.py", "cloud-init/b.j2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    found.state.parent.mkdir(parents=True)
    found.state.write_text(json.dumps({"checkpoint": {"latest": {"resources": RESOURCES}}}), encoding="utf-8")
    standing.note(found, SETTINGS, ENGINE, "debian-12")
    return found


def test_a_lab_that_stands_is_recognised(paths: StackPaths, virsh: FakeVirsh) -> None:
    stands = standing.unchanged(paths, SETTINGS, ENGINE, virsh)
    assert stands is not None
    assert stands.image == "debian-12"
    assert virsh.changes == []


@pytest.mark.parametrize(
    "name",
    [
        "__main__.py", "Pulumi.yaml", "Pulumi.dev.yaml", "uv.lock", "lab/a.py", "cloud-init/b.j2",
        "lab/templates/new.j2", ".lab/state/.pulumi/stacks/lvs-dr-lab/dev.json",
    ],
)  # fmt: skip
def test_a_file_that_decides_and_is_another_now(paths: StackPaths, virsh: FakeVirsh, name: str) -> None:
    file = paths.project / name
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as text:
        text.write(" ")
    assert standing.unchanged(paths, SETTINGS, ENGINE, virsh) is None


def test_what_decides_nothing_may_change(paths: StackPaths, virsh: FakeVirsh) -> None:
    for name in ("README.md", "Pulumi.other.yaml", "lab/__pycache__/a.cpython-311.pyc"):
        (paths.project / name).parent.mkdir(exist_ok=True)
        (paths.project / name).write_text("new", encoding="utf-8")
    assert standing.unchanged(paths, SETTINGS, ENGINE, virsh)


WRONG: dict[str, Callable[[FakeVirsh], object]] = {
    "a machine off": lambda virsh: virsh.domains.update({MASTER: False}),
    "a machine gone": lambda virsh: virsh.domains.clear(),
    "a machine paused": lambda virsh: virsh.paused.add(MASTER),
    "a machine of nobody's": lambda virsh: virsh.domains.update({Names("dev").domain("stray"): True}),
    "a disk gone": lambda virsh: virsh.pools[PREFIX].volumes.clear(),
    "the network stopped": lambda virsh: virsh.networks.update({PREFIX: False}),
    "the network stopped and started": lambda virsh: (
        virsh("net-destroy", PREFIX),
        virsh("net-start", PREFIX),
    ),
    "the pool's directory gone": lambda virsh: setattr(virsh.pools[PREFIX], "broken", True),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_hypervisor_that_has_something_else(paths: StackPaths, virsh: FakeVirsh, wrong: str) -> None:
    WRONG[wrong](virsh)
    assert standing.unchanged(paths, SETTINGS, ENGINE, virsh) is None


def test_another_engine_or_kind_of_guest(paths: StackPaths, virsh: FakeVirsh) -> None:
    newer = Engine(Path("bin"), ENGINE.origin, {"pulumi": "3.260.0"})
    assert standing.unchanged(paths, SETTINGS, newer, virsh) is None
    assert standing.unchanged(paths, Settings(virtualization="kvm"), ENGINE, virsh) is None


def test_a_state_that_is_kept_elsewhere_is_not_known_here(
    paths: StackPaths, virsh: FakeVirsh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://somewhere")
    assert standing.unchanged(paths, SETTINGS, ENGINE, virsh) is None


@pytest.mark.parametrize("damage", ["", "{}", '{"fingerprint": 1'])
def test_a_damaged_note_is_no_note(paths: StackPaths, virsh: FakeVirsh, damage: str) -> None:
    (paths.stack_dir / "standing.json").write_text(damage, encoding="utf-8")
    assert standing.unchanged(paths, SETTINGS, ENGINE, virsh) is None


def test_an_up_that_was_cut_off_leaves_no_note(paths: StackPaths, virsh: FakeVirsh) -> None:
    standing.forget(paths)
    standing.forget(paths)
    assert standing.unchanged(paths, SETTINGS, ENGINE, virsh) is None
