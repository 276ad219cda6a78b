"""Setting right what a hypervisor has of a stack, and clearing it away."""

import copy
from typing import Any

import pytest

from lab.host import leftovers
from lab.topology import Names
from tests.host.fake_virsh import FakeVirsh, Pool

PREFIX = "lvs-dr-lab-dev"
MASTER, BACKUP = Names("dev").domain("master"), Names("dev").domain("backup")
VOLUMES = {"base-1.qcow2", "master-1.qcow2", "master-1.iso", "backup-1.qcow2", "backup-1.iso"}
DIRECTORY = f"/var/lib/libvirt/images/{PREFIX}"


def resource(kind: str, name: str) -> dict[str, Any]:
    return {"type": f"libvirt:index/{kind}", "outputs": {"name": name}}


RECORD: dict[str, Any] = {
    "resources": [
        {"type": "pulumi:pulumi:Stack"},
        {"type": "command:remote:Command", "outputs": {"name": "not a name of the hypervisor's"}},
        resource("network:Network", PREFIX),
        resource("pool:Pool", PREFIX),
        resource("domain:Domain", MASTER),
        resource("domain:Domain", BACKUP),
        *(resource("volume:Volume", name) for name in sorted(VOLUMES)),
    ]
}
# Other people's machines, and another stack whose name begins alike.
STRANGERS = {
    "domains": {"office": True, Names("dev-x").domain("master"): True, Names("prod").domain("master"): False},
    "networks": {"default": True, "lvs-dr-lab-dev-x": True, "lvs-dr-lab": False},
    "pools": {"default": {"a.qcow2"}, "lvs-dr-lab-dev-x": {"master-1.qcow2"}},
}


@pytest.fixture
def virsh() -> FakeVirsh:
    """A hypervisor with the stack ``dev`` as recorded, and strangers."""
    fake = FakeVirsh()
    fake.domains = {MASTER: True, BACKUP: True, **STRANGERS["domains"]}
    fake.disks = {
        MASTER: (f"{DIRECTORY}/master-1.qcow2", f"{DIRECTORY}/master-1.iso"),
        BACKUP: (f"{DIRECTORY}/backup-1.qcow2", f"{DIRECTORY}/backup-1.iso"),
    }
    fake.networks = {PREFIX: True, **STRANGERS["networks"]}
    fake.pools = {PREFIX: Pool(volumes=set(VOLUMES))}
    fake.pools |= {name: Pool(volumes=set(volumes)) for name, volumes in STRANGERS["pools"].items()}
    return fake


@pytest.fixture(autouse=True)
def strangers_are_untouched(virsh: FakeVirsh) -> Any:
    """Holds for whatever a test does."""
    yield
    assert STRANGERS["domains"].items() <= virsh.domains.items()
    assert STRANGERS["networks"].items() <= virsh.networks.items()
    for name, volumes in STRANGERS["pools"].items():
        assert virsh.pools[name].volumes == volumes


def mend(virsh: FakeVirsh, record: dict[str, Any] = RECORD) -> tuple[bool, list[str]]:
    said: list[str] = []
    return leftovers.mend(virsh, "dev", record, said.append), said


def test_what_is_recorded_is_read_from_the_engines_state() -> None:
    known = leftovers.recorded(RECORD)
    assert known.domains == {MASTER, BACKUP}
    assert (known.networks, known.pools) == ({PREFIX}, {PREFIX})
    assert known.volumes == VOLUMES
    assert not leftovers.recorded({})


def test_the_hypervisor_of_a_stack_is_read_from_the_engines_state() -> None:
    provider = {"type": "pulumi:providers:libvirt", "inputs": {"uri": "qemu:///system"}}
    assert (
        leftovers.recorded_uri({"resources": [{"type": "pulumi:pulumi:Stack"}, provider]}) == "qemu:///system"
    )
    assert leftovers.recorded_uri(RECORD) is leftovers.recorded_uri({}) is None


def test_what_is_present_is_what_carries_the_stacks_name(virsh: FakeVirsh) -> None:
    found = leftovers.present(virsh, "dev")
    assert found == leftovers.recorded(RECORD)
    assert found.stopped == set()
    assert not leftovers.present(virsh, "never-built")


def test_nothing_is_touched_when_all_is_as_recorded(virsh: FakeVirsh) -> None:
    assert mend(virsh) == (False, [])
    assert virsh.changes == []


def test_nothing_is_touched_where_nothing_was_built(virsh: FakeVirsh) -> None:
    said: list[str] = []
    assert leftovers.mend(virsh, "never-built", {}, said.append) is False
    assert (said, virsh.changes) == ([], [])


def test_what_an_interrupted_run_left_is_removed(virsh: FakeVirsh) -> None:
    before = copy.deepcopy(virsh.state())
    orphan = Names("dev").domain("server1")
    virsh.domains[orphan] = True
    virsh.pools[PREFIX].volumes.add("server1-1.qcow2")
    refresh, said = mend(virsh)
    assert virsh.state() == before
    assert refresh is False
    assert said == [f"removing what an interrupted run left behind: {orphan}, server1-1.qcow2"]


def test_all_of_a_stack_that_was_never_recorded_is_removed(virsh: FakeVirsh) -> None:
    refresh, _ = mend(virsh, {})
    assert not leftovers.present(virsh, "dev")
    assert refresh is False


def test_a_stopped_network_is_started_and_its_machines_are_switched_on_again(virsh: FakeVirsh) -> None:
    virsh.networks[PREFIX] = False
    virsh.paused = {MASTER}
    refresh, said = mend(virsh)
    assert virsh.networks[PREFIX] is True
    assert said == [f"network {PREFIX} was stopped: starting it, and its machines with it"]
    assert sorted(virsh.changes[:2]) == [("destroy", BACKUP), ("destroy", MASTER)]
    assert virsh.changes[2:] == [("net-start", PREFIX)]
    assert not virsh.domains[MASTER]
    assert not virsh.domains[BACKUP]
    assert refresh is True


def test_machines_of_a_network_that_was_stopped_and_started_are_switched_on_again(virsh: FakeVirsh) -> None:
    virsh("net-destroy", PREFIX)
    virsh("net-start", PREFIX)
    virsh.calls.clear()
    refresh, said = mend(virsh)
    assert said == [f"network {PREFIX} was stopped and started: its machines are switched off and on"]
    assert sorted(virsh.changes) == [("destroy", BACKUP), ("destroy", MASTER)]
    assert refresh is True


def test_a_stopped_pool_is_started(virsh: FakeVirsh) -> None:
    virsh.pools[PREFIX].running = False
    refresh, said = mend(virsh)
    assert virsh.pools[PREFIX].running
    assert said == [f"pool {PREFIX} was stopped: starting it"]
    assert refresh is False


def test_a_paused_machine_goes_on(virsh: FakeVirsh) -> None:
    virsh.paused = {BACKUP, "office"}
    refresh, said = mend(virsh)
    assert virsh.paused == {"office"}
    assert said == [f"machine {BACKUP} was paused: resuming it"]
    assert refresh is False


def test_a_machine_that_was_switched_off_is_looked_at_again(virsh: FakeVirsh) -> None:
    virsh.domains[BACKUP] = False
    refresh, said = mend(virsh)
    assert refresh is True
    assert (said, virsh.changes) == ([], [])


def test_a_machine_that_was_undefined_is_looked_at_again(virsh: FakeVirsh) -> None:
    del virsh.domains[BACKUP]
    refresh, _ = mend(virsh)
    assert refresh is True
    assert virsh.changes == []


def test_a_machine_is_discarded_with_the_disk_it_runs_on_and_nothing_else(virsh: FakeVirsh) -> None:
    before = set(virsh.domains)
    leftovers.discard(virsh, "dev", [BACKUP])
    assert before - set(virsh.domains) == {BACKUP}
    assert VOLUMES - virsh.pools[PREFIX].volumes == {"backup-1.qcow2"}


def test_a_machine_whose_disk_is_gone_is_removed_and_looked_at_again(virsh: FakeVirsh) -> None:
    virsh.pools[PREFIX].volumes.remove("backup-1.qcow2")
    refresh, said = mend(virsh)
    assert refresh is True
    assert said == [f"machine {BACKUP} has lost its disk: it will be built anew"]
    assert BACKUP not in virsh.domains
    assert virsh.domains[MASTER] is True
    assert VOLUMES - virsh.pools[PREFIX].volumes == {"backup-1.qcow2"}


def test_a_pool_whose_directory_is_gone_is_made_again(virsh: FakeVirsh) -> None:
    virsh.pools[PREFIX] = Pool(broken=True)
    refresh, _ = mend(virsh)
    assert refresh is True
    assert virsh.pools[PREFIX].running
    assert not virsh.pools[PREFIX].broken
    assert {MASTER, BACKUP}.isdisjoint(virsh.domains)


def test_machines_without_their_network_are_removed_and_their_disks_stay(virsh: FakeVirsh) -> None:
    del virsh.networks[PREFIX]
    disks = set(virsh.pools[PREFIX].volumes)
    refresh, _ = mend(virsh)
    assert refresh is True
    assert {MASTER, BACKUP}.isdisjoint(virsh.domains)
    assert virsh.pools[PREFIX].volumes == disks


def test_operations_that_were_cut_off_are_looked_at_again(virsh: FakeVirsh) -> None:
    refresh, _ = mend(virsh, {**RECORD, "pending_operations": [{"type": "creating"}]})
    assert refresh is True


def test_machines_are_switched_off_and_stay(virsh: FakeVirsh) -> None:
    virsh.domains[MASTER] = False
    before = set(virsh.domains)
    leftovers.switch_off(virsh, "dev")
    own = {name for name in virsh.domains if name.startswith(f"{PREFIX}.")}
    assert set(virsh.domains) == before
    assert own
    assert not any(virsh.domains[name] for name in own)


def test_everything_of_a_stack_can_be_removed(virsh: FakeVirsh) -> None:
    leftovers.remove(virsh, "dev", leftovers.present(virsh, "dev"))
    assert not leftovers.present(virsh, "dev")
    leftovers.remove(virsh, "dev", leftovers.present(virsh, "dev"))


def test_what_is_off_stopped_or_broken_can_be_removed_too(virsh: FakeVirsh) -> None:
    virsh.domains[MASTER] = False
    virsh.networks[PREFIX] = False
    virsh.pools[PREFIX] = Pool(running=False, broken=True)
    leftovers.remove(virsh, "dev", leftovers.present(virsh, "dev"))
    assert not leftovers.present(virsh, "dev")


def test_a_stopped_pool_loses_its_volumes_before_it_goes(virsh: FakeVirsh) -> None:
    pool = virsh.pools[PREFIX]
    pool.running = False
    leftovers.remove(virsh, "dev", leftovers.present(virsh, "dev"))
    assert pool.volumes == set()
    assert PREFIX not in virsh.pools
