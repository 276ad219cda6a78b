"""What the user reads when a setting is wrong: golden texts, word for word.

Each ``tests/golden/errors/NAME.yaml`` is a stack's configuration file; a key ``host`` beside ``config``
says what the computer is like, where the rule is about that. ``NAME.txt`` is what is said.
"""

from ipaddress import IPv4Network
from typing import Any

import pytest
import yaml

from lab.errors import LabError
from lab.host import doctor
from lab.host.doctor import Facts
from lab.settings import SettingsError, load, stack_values
from lab.topology import plan
from tests import golden

GIB = 1024**3
ROOMY: dict[str, Any] = {
    "processors": 8,
    "kvm": True,
    "memory_available": 64 * GIB,
    "disk_free": 500 * GIB,
    "disk_path": "/var/lib/libvirt/images",
    "subnets": (),
    "bridges": frozenset({"br0"}),
    "running": frozenset(),
    "volumes": False,
}
CASES = sorted(file.stem for file in (golden.HERE / "errors").glob("*.yaml"))
# The list of the issue "The lab goes up", in its order. The checksum of an image is tests/host's.
DEMANDED = {
    "unknown-key",
    "vip-outside-cidr",
    "vip-used",
    "vip-network-address",
    "vip-broadcast-address",
    "vip-gateway-address",
    "machine-used-address",
    "machine-network-address",
    "machine-broadcast-address",
    "machine-gateway-address",
    "duplicate-name",
    "duplicate-address",
    "duplicate-priority",
    "vrid-0",
    "vrid-256",
    "priority-0",
    "priority-255",
    "subsecond-advert-vrrp2",
    "password-vrrp3",
    "empty-password",
    "host-name",
    "negative-weight",
    "scheduler",
    "http-without-path",
    "bridge-without-name",
    "small-memory",
    "no-kvm",
    "libvirt-silent",
    "subnet-in-use",
    "subnet-of-libvirt-network",
    "no-memory",
    "no-disk",
    "image-missing",
}


def facts_of(host: dict[str, Any]) -> Facts:
    given = dict(host)
    if "subnets" in given:
        given["subnets"] = tuple((owner, IPv4Network(cidr)) for owner, cidr in given["subnets"].items())
    for key in ("bridges", "running"):
        if key in given:
            given[key] = frozenset(given[key])
    return Facts(**{**ROOMY, **given})


def what_is_said(stack_file: str) -> str:
    """The error that the configuration in ``stack_file`` ends in, as the user reads it."""
    host = yaml.safe_load(stack_file).get("host")
    try:
        settings = load(stack_values(stack_file))
        topology = plan(settings, "dev")
        if host == "ask":
            doctor.virsh(settings.libvirt_uri, "version")
        elif host is not None and (problems := list(doctor.diagnose(settings, topology, facts_of(host)))):
            raise SettingsError(problems)
    except LabError as error:
        return str(error)
    pytest.fail("nothing is wrong with it")


def test_every_demanded_error_has_a_golden() -> None:
    assert set(CASES) >= DEMANDED
    assert golden.names("errors") == {f"errors/{case}.{end}" for case in CASES for end in ("yaml", "txt")}


@pytest.mark.parametrize("case", CASES)
def test_an_error_reads_as_agreed(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    stack_file = (golden.HERE / "errors" / f"{case}.yaml").read_text(encoding="utf-8")
    golden.check(f"errors/{case}.txt", what_is_said(stack_file) + "\n")


@pytest.mark.parametrize("case", CASES)
def test_an_error_names_key_rule_and_remedy_in_two_lines(case: str) -> None:
    lines = (golden.HERE / "errors" / f"{case}.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) % 2 == 0
    for said, remedy in zip(lines[::2], lines[1::2], strict=True):
        assert said.startswith("lvs-dr-lab:")
        assert " = " in said.split(": ")[0]
        assert remedy.startswith("    ")
        assert remedy.endswith((".", "?"))


def test_a_demanded_error_is_the_only_thing_said() -> None:
    for case in DEMANDED:
        text = (golden.HERE / "errors" / f"{case}.txt").read_text(encoding="utf-8")
        assert len(text.splitlines()) == 2, case


SECRET = "Hu(nt)er2"


@pytest.mark.parametrize(
    "values",
    [
        {"auth_pass": SECRET},
        {"auth_pass": [SECRET]},
        {"auth_pass": {"value": SECRET}},
        {"auth_pas": SECRET},
        {"authpass": SECRET},
        {"password": SECRET},
        {"vrrp_version": 3, "auth_pass": SECRET},
        {"auth_type": "AH", "auth_pass": SECRET},
        {"mail": {"auth_pass": SECRET}},
        {"auth_pass": SECRET, "vip": "10.0.0.1"},
    ],
)
def test_no_error_shows_the_password(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(values)
    assert "Hu(nt" not in str(caught.value)
    assert SECRET not in repr(caught.value)


def test_a_long_value_is_cut_short() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"vip": "1" * 5000})
    assert len(str(caught.value)) < 300


def test_every_broken_rule_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"virtual_router_id": 0, "port": 0, "quorum": 0})
    assert [problem.key for problem in caught.value.problems] == ["virtual_router_id", "port", "quorum"]


@pytest.mark.parametrize("text", ["config: [lvs-dr-lab:vip", "just words", "config: [1, 2]", "- a\n- b"])
def test_a_stack_file_of_another_shape_is_an_error_of_one_sentence_and_a_remedy(text: str) -> None:
    with pytest.raises(LabError, match="configuration file cannot be read") as caught:
        stack_values(text)
    assert len(str(caught.value).splitlines()) == 2


def test_an_empty_stack_file_asks_for_the_tutorial() -> None:
    assert load(stack_values("")) == load({}) == load(stack_values("config:\n"))


def test_a_sealed_password_is_left_to_the_engine() -> None:
    values = stack_values(
        "config: {lvs-dr-lab:auth_pass: {secure: v1:abc}, lvs-dr-lab:port: 81, other:key: 1}"
    )
    assert values == {"port": 81}
