"""The Pulumi program against an engine that only writes down: what it asks for, as plain data."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from lab.keys import derive
from lab.provision.delivery import Courier
from lab.settings import load
from lab.topology import plan
from tests.program import engine
from tests.program.engine import IMAGE, STACK_SECRET, Recording, Resource, Secret, exposed, opened

Run = Callable[..., Recording]

NETWORK = "libvirt:index/network:Network"
POOL = "libvirt:index/pool:Pool"
VOLUME = "libvirt:index/volume:Volume"
DOMAIN = "libvirt:index/domain:Domain"
REMOTE = "command:remote:Command"
LOCAL = "command:local:Command"
PROVIDER = "pulumi:providers:libvirt"
MACHINES = ("server1", "server2", "server3", "master", "backup", "client")
SORRY = json.dumps({"name": "sorry", "address": "192.168.1.53"})


def test_the_lab_is_made_of_these_resources_and_no_others(tutorial_run: Recording) -> None:
    paths = sorted(f"{tutorial_run.path(found)} {found.type}" for found in tutorial_run.resources)
    lab = "lvs-dr-lab-dev"
    expected = [
        f"{lab} lvs-dr-lab:index:Lab",
        f"{lab}/secret {LOCAL}",
        f"{lab}/guest-image {LOCAL}",
        f"{lab}/hypervisor {PROVIDER}",
        f"{lab}/segment {NETWORK}",
        f"{lab}/disks {POOL}",
        f"{lab}/base-image {VOLUME}",
    ]
    kinds = {"client": "Client", "master": "Director", "backup": "Director"}
    for name in MACHINES:
        expected += [
            f"{lab}/{name} lvs-dr-lab:index:{kinds.get(name, 'RealServer')}",
            f"{lab}/{name}/{name}-disk {VOLUME}",
            f"{lab}/{name}/{name}-seed-file {LOCAL}",
            f"{lab}/{name}/{name}-seed {VOLUME}",
            f"{lab}/{name}/{name}-domain {DOMAIN}",
            f"{lab}/{name}/{name}-ready {REMOTE}",
            f"{lab}/{name}/{name}-settings {REMOTE}",
        ]
    assert paths == sorted(expected)


def test_every_name_on_the_hypervisor_belongs_to_the_stack(run: Run) -> None:
    """Volumes and ISOs lie in the stack's own pool; everything else carries the stack's name."""

    def names(recording: Recording) -> set[str]:
        found = set()
        for resource in recording.resources:
            if resource.type in (NETWORK, POOL, DOMAIN):
                assert str(resource.plain["name"]).startswith("lvs-dr-lab-")
                found.add(f"{resource.type} {resource.plain['name']}")
            if resource.type == NETWORK:
                found.add(str(resource.plain["bridge"]))
            if resource.type == POOL:
                found.add(str(resource.plain["path"]))
            if resource.type == VOLUME:
                assert resource.plain["pool"] == recording.named("disks").plain["name"]
        return found

    one, other = names(run(stack="dev")), names(run(stack="other"))
    assert len(one) == len(other) == 10
    assert one & other == set()


def test_what_runs_in_a_guest_is_tied_to_its_domain(tutorial_run: Recording) -> None:
    commands = tutorial_run.of(REMOTE)
    assert len(commands) == 12
    for name, command in commands.items():
        machine = name.rsplit("-", 1)[0]
        domain = tutorial_run.named(f"{machine}-domain")
        assert command.deleted_with == domain.urn
        (trigger,) = command.plain["triggers"]
        assert trigger.startswith(f"{machine}-domain-id-")
        assert (
            command.plain["connection"]["host"]
            == {
                "master": "192.168.1.21",
                "backup": "192.168.1.22",
                "server1": "192.168.1.50",
                "server2": "192.168.1.51",
                "server3": "192.168.1.52",
                "client": "192.168.1.100",
            }[machine]
        )


def test_nothing_runs_in_a_guest_when_something_is_taken_away(tutorial_run: Recording) -> None:
    for command in tutorial_run.of(REMOTE).values():
        assert "delete" not in command.plain
        assert "update" not in command.plain


def test_the_operators_copy_of_a_seed_goes_with_its_step(tutorial_run: Recording) -> None:
    deleting = {
        name: step.plain["delete"] for name, step in tutorial_run.of(LOCAL).items() if "delete" in step.plain
    }
    assert set(deleting) == {f"{name}-seed-file" for name in MACHINES}
    for name in MACHINES:
        assert deleting[f"{name}-seed-file"] == f"rm -f {tutorial_run.named(f'{name}-seed').plain['source']}"


def test_scripts_go_through_standard_input(tutorial_run: Recording) -> None:
    for command in tutorial_run.of(REMOTE).values():
        assert command.plain["create"].startswith(("bash -s", "umask 077 &&"))
        assert command.plain["stdin"].endswith("\nmain\n")
        assert command.plain["logging"] == "none"
        assert command.plain["addPreviousOutputInEnv"] is False
        assert "environment" not in command.plain


def test_settings_are_pushed_to_a_machine_that_is_ready(tutorial_run: Recording) -> None:
    for name in MACHINES:
        settings, ready = (tutorial_run.named(f"{name}-{step}") for step in ("settings", "ready"))
        assert ready.urn in settings.dependencies
        assert settings.ignore_changes == ()
        assert ready.ignore_changes == ("stdin", "connection")


def test_the_gate_waits_as_long_as_the_setting_says(run: Run, tutorial_run: Recording) -> None:
    assert tutorial_run.named("master-ready").create_timeout == "1860s"
    changed = run({"boot_timeout": "300"})
    assert changed.named("master-ready").create_timeout == "360s"
    assert '"$SECONDS" -ge 300 ' in changed.named("master-ready").plain["stdin"]


def test_a_guest_is_recognised_by_its_host_key(tutorial_run: Recording) -> None:
    for name in MACHINES:
        connection = tutorial_run.named(f"{name}-ready").plain["connection"]
        assert connection["hostKey"] == derive(STACK_SECRET, f"host {name}").public
        assert connection["privateKey"] == derive(STACK_SECRET, "login").private
        assert connection["user"] == "root"


def test_no_private_key_is_in_plain_sight(tutorial_run: Recording) -> None:
    for resource in tutorial_run.resources:
        for text in exposed(resource.inputs):
            assert "PRIVATE KEY" not in text, resource.name
            assert STACK_SECRET not in text, resource.name
        if resource.name.endswith("-seed-file"):
            assert isinstance(resource.inputs["stdin"], Secret)
        for command in ("create", "environment", "triggers", "dir"):
            assert "PRIVATE KEY" not in json.dumps(opened(resource.inputs.get(command)))


def test_the_stacks_secret_is_drawn_once_and_sealed(tutorial_run: Recording) -> None:
    drawn = tutorial_run.named("secret")
    assert drawn.additional_secret_outputs == ("stdout",)
    assert "create" in drawn.ignore_changes
    assert "triggers" not in drawn.plain
    assert drawn.plain["logging"] == "none"


def test_a_secret_password_stays_sealed(run: Run) -> None:
    recording = run({"auth_pass": "hunter2x"}, secret_keys=("auth_pass",))
    holders = set()
    for resource in recording.resources:
        assert not any("hunter2x" in text for text in exposed(resource.inputs)), resource.name
        if "hunter2x" in json.dumps(resource.plain):
            holders.add(resource.name)
    assert holders == {"master-settings", "backup-settings"}
    assert not any("hunter2x" in text for text in exposed(recording.outputs))
    assert not any("hunter2x" in message for message in recording.messages)


def test_a_plain_password_leaves_the_preview_readable(tutorial_run: Recording) -> None:
    assert not isinstance(tutorial_run.named("master-settings").inputs["stdin"], Secret)


def test_disks_carry_a_fingerprint_that_follows_the_first_boot(run: Run, tutorial_run: Recording) -> None:
    def names(recording: Recording) -> dict[str, str]:
        return {
            name: recording.named(f"{name}-disk").plain["name"].removesuffix(".qcow2") for name in MACHINES
        }

    plain = names(tutorial_run)
    for name in MACHINES:
        assert plain[name].startswith(f"{name}-")
        assert len(plain[name]) == len(name) + 9
        assert tutorial_run.named(f"{name}-seed").plain["name"] == f"{plain[name]}.iso"
        documents = json.loads(tutorial_run.named(f"{name}-seed-file").plain["stdin"])
        assert f'instance-id: "{plain[name]}"' in documents["meta-data"]
    assert names(run()) == plain
    behind_proxy = names(run({"package_proxy": "http://192.168.1.1:3142"}))
    assert all(behind_proxy[name] != plain[name] for name in MACHINES)


def test_another_image_rebuilds_every_machine(
    run: Run, tutorial_run: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(IMAGE, "sha256", "d" * 64)
    changed = run()
    for name in MACHINES:
        assert changed.named(f"{name}-disk").plain["name"] != tutorial_run.named(f"{name}-disk").plain["name"]
    assert changed.named("base-image").plain["name"] == "base-dddddddddddd.qcow2"


def differing(one: Recording, other: Recording) -> dict[str, set[str]]:
    """Inputs that differ, by the resource's name."""
    found = {}
    for before in one.resources:
        after = other.named(before.name, before.type)
        keys = {key for key in before.plain | after.plain if before.plain.get(key) != after.plain.get(key)}
        if keys:
            found[before.name] = keys
    assert len(one.resources) == len(other.resources)
    return found


def test_a_second_run_asks_for_the_same(run: Run, tutorial_run: Recording) -> None:
    assert differing(tutorial_run, run()) == {}


def test_a_changed_weight_reaches_the_directors_and_nobody_else(run: Run, tutorial_run: Recording) -> None:
    servers = [
        {"name": f"server{n}", "address": f"192.168.1.{49 + n}", "weight": 3 if n == 1 else 1}
        for n in (1, 2, 3)
    ]
    changed = differing(tutorial_run, run({"servers": json.dumps(servers)}))
    assert changed == {"master-settings": {"stdin"}, "backup-settings": {"stdin"}}


def test_a_changed_size_replaces_no_disk(run: Run, tutorial_run: Recording) -> None:
    changed = differing(tutorial_run, run({"sizes": json.dumps({"client": {"memory": 1024}})}))
    assert changed["client-domain"] == {"memory"}
    assert set(changed) <= {"client-domain", "client-ready", "client-settings"}


def test_a_domain_names_the_network_it_was_made_with(tutorial_run: Recording) -> None:
    """The provider never updates an interface: another network must be another domain."""
    for domain in tutorial_run.of(DOMAIN).values():
        (interface,) = domain.plain["networkInterfaces"]
        assert interface["networkId"].startswith("segment-id-")
        assert interface["networkId"] in domain.plain["description"]


def test_a_machine_has_its_overlay_its_seed_and_its_console(tutorial_run: Recording) -> None:
    for name in MACHINES:
        disk, domain = tutorial_run.named(f"{name}-disk"), tutorial_run.named(f"{name}-domain")
        assert disk.plain["baseVolumeId"].startswith("base-image-id-")
        assert disk.plain["size"] == 6 * 1024**3
        system, seed = domain.plain["disks"]
        assert system["volumeId"].startswith(f"{name}-disk-id-")
        assert seed["volumeId"].startswith(f"{name}-seed-id-")
        assert (domain.plain["memory"], domain.plain["vcpu"]) == (512, 1)
        assert domain.plain["running"] is True
        (console,) = domain.plain["consoles"]
        assert console["targetType"] == "serial"
        log = f"/var/log/libvirt/qemu/{domain.plain['name']}.console.log"
        assert log in domain.plain["xml"]["xslt"]


def test_the_machines_have_the_macs_of_their_addresses(tutorial_run: Recording) -> None:
    macs = {name: d.plain["networkInterfaces"][0]["mac"] for name, d in tutorial_run.of(DOMAIN).items()}
    assert macs["master-domain"] == "52:54:00:A8:01:15"
    assert len(set(macs.values())) == 6


def test_everything_on_libvirt_goes_through_the_stacks_own_provider(run: Run) -> None:
    recording = run({"libvirt_uri": "qemu+ssh://root@server/system"})
    provider = recording.named("hypervisor")
    assert provider.plain["uri"] == "qemu+ssh://root@server/system"
    for resource in recording.resources:
        if resource.type.startswith("libvirt:"):
            assert resource.provider.startswith(f"{provider.urn}::"), resource.name


def test_nothing_is_built_before_the_image_is_there(tutorial_run: Recording) -> None:
    image = tutorial_run.named("guest-image")
    by_urn = {resource.urn: resource for resource in tutorial_run.resources}

    def behind(resource: Resource) -> set[str]:
        found = set(resource.dependencies)
        for urn in resource.dependencies:
            found |= behind(by_urn[urn])
        return found

    for resource in tutorial_run.resources:
        if resource.type.startswith("libvirt:"):
            assert image.urn in behind(resource), resource.name
    base = tutorial_run.named("base-image")
    assert base.plain["source"] == IMAGE["path"]
    assert base.plain["name"] == f"base-{'c' * 12}.qcow2"
    assert base.ignore_changes == ("source",)


def waits(recording: Recording) -> dict[str, set[str]]:
    """Which machines a machine's boot waits for."""
    gates = {recording.named(f"{name}-ready").urn: name for name in MACHINES}
    return {
        name: {gates[urn] for urn in recording.named(f"{name}-domain").dependencies if urn in gates}
        for name in MACHINES
    }


def test_under_emulation_as_many_boot_at_a_time_as_there_are_processors(run: Run) -> None:
    recording = run(host={"kvm": False, "processors": 2})
    assert waits(recording) == {
        "server1": set(),
        "server2": set(),
        "server3": {"server1"},
        "master": {"server2"},
        "backup": {"master"},
        "client": {"server3"},
    }
    assert {domain.plain["type"] for domain in recording.of(DOMAIN).values()} == {"qemu"}
    assert all("cpu" not in domain.plain for domain in recording.of(DOMAIN).values())


def test_on_one_processor_they_boot_one_after_the_other(run: Run) -> None:
    found = waits(run(host={"kvm": False, "processors": 1}))
    assert list(found.values()) == [set(), {"server1"}, {"server2"}, {"server3"}, {"master"}, {"backup"}]


def test_with_kvm_all_boot_at_once(tutorial_run: Recording) -> None:
    assert set(map(len, waits(tutorial_run).values())) == {0}
    assert {domain.plain["type"] for domain in tutorial_run.of(DOMAIN).values()} == {"kvm"}
    assert tutorial_run.named("master-domain").plain["cpu"] == {"mode": "host-passthrough"}


@pytest.mark.parametrize(("mode", "expected"), [("nat", "nat"), ("isolated", "none")])
def test_a_network_of_the_labs_own(run: Run, mode: str, expected: str) -> None:
    network = run({"network": mode}).named("segment").plain
    assert network["mode"] == expected
    assert network["bridge"] == "br-dev"
    assert network["addresses"] == ["192.168.1.0/24"]
    assert network["dhcp"] == {"enabled": False}


def test_a_bridge_of_the_host(run: Run) -> None:
    network = run({"network": "bridge", "bridge": "br0"}).named("segment").plain
    assert (network["mode"], network["bridge"]) == ("bridge", "br0")
    assert "addresses" not in network
    assert "dhcp" not in network


def test_one_director_and_nine_servers(run: Run) -> None:
    servers = [{"name": f"web{n}", "address": f"192.168.1.{60 + n}"} for n in range(1, 10)]
    directors = [{"name": "solo", "address": "192.168.1.21", "priority": 150}]
    recording = run(
        {"servers": json.dumps(servers), "directors": json.dumps(directors), "sorry_server": SORRY}
    )
    kinds = Counter(found.type for found in recording.resources)
    assert (kinds["lvs-dr-lab:index:Director"], kinds["lvs-dr-lab:index:RealServer"]) == (1, 10)
    assert kinds[DOMAIN] == 12


def test_the_outputs(tutorial_run: Recording) -> None:
    outputs = tutorial_run.outputs
    assert set(outputs) == {"vip", "url", "image", "inventory", "versions", "ssh_private_key"}
    assert outputs["vip"] == "192.168.1.20"
    assert outputs["url"] == "http://192.168.1.20/"
    assert outputs["image"] == IMAGE["name"]
    assert outputs["ssh_private_key"] == Secret(derive(STACK_SECRET, "login").private)
    assert outputs["versions"]["image"] == IMAGE["name"]
    assert outputs["versions"]["pulumi-libvirt"] == "0.5.4"
    assert outputs["versions"]["machines"]["backup"] == {"linux": "6.1.0", "backup-package": "1.2-3"}
    assert set(outputs["versions"]["machines"]) == set(MACHINES)
    assert not isinstance(outputs["inventory"], Secret)
    assert {machine["name"] for machine in outputs["inventory"]["machines"]} == set(MACHINES)
    for machine in outputs["inventory"]["machines"]:
        public = derive(STACK_SECRET, f"host {machine['name']}").public
        assert machine["host_key"] == " ".join(public.split()[:2])


def test_the_cut_of_the_password_is_said(tutorial_run: Recording) -> None:
    assert any("uses the first 8" in message for message in tutorial_run.messages)


BROKEN: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({"vip": "10.0.0.1"}, {}, "lvs-dr-lab:vip"),
    ({"vipp": "10.0.0.1"}, {}, "Did you mean `vip`?"),
    ({"servers": "[{"}, {}, "lvs-dr-lab:servers"),
    ({"virtualization": "kvm"}, {"kvm": False}, "no usable KVM"),
    ({}, {"memory_available": 1024**3}, "MiB of memory are free"),
    ({"image": "/nonexistent.qcow2"}, {}, "there is no such file"),
]


@pytest.mark.parametrize(("config", "host", "said"), BROKEN)
def test_what_is_wrong_is_said_before_anything_is_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, config: dict[str, str], host: dict[str, Any], said: str
) -> None:
    seen: list[Recording] = []

    class Kept(Recording):
        def __init__(self) -> None:
            super().__init__()
            seen.append(self)

    monkeypatch.setattr(engine, "Recording", Kept)
    with pytest.raises(pulumi.RunError, match="lvs-dr-lab:") as caught:
        run(config, host=host)
    assert said in str(caught.value)
    (recording,) = seen
    assert recording.resources == []


def test_a_command_without_a_guest_is_refused(run: Run) -> None:
    client = plan(load({}), "dev").client

    def program() -> None:
        key = pulumi.Output.from_input(derive(STACK_SECRET, "login"))
        Courier(key).push(client, key, "main\n", pulumi.ResourceOptions())

    with pytest.raises(TypeError, match="deleted_with"):
        run(program=program)


def test_the_recorder_sees_an_exposed_key() -> None:
    """The check above would be worth nothing if a seal hid too much or too little."""
    resource = Resource(
        "t",
        "n",
        "u",
        "",
        {"a": Secret("x"), "b": [{"c": "y"}]},
        frozenset(),
        "",
        "",
        (),
        (),
        "",
        False,
        False,
        False,
    )
    assert set(exposed(resource.inputs)) == {"a", "b", "c", "y"}
    assert resource.plain == {"a": "x", "b": [{"c": "y"}]}
