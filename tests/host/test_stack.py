"""A stack's files on the operator's computer: private, and the user's own left alone."""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.host.paths import StackPaths
from lab.host.stack import Stack, private_dir, write_private


class FakeEngine:
    """Gives an environment and nothing else."""

    def plug_into(self, environment: Mapping[str, str]) -> None:
        """Nothing to plug in."""

    def environment(self, python: Path) -> Mapping[str, str]:
        kept = ("PATH", "PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")
        return {key: os.environ[key] for key in kept if key in os.environ}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    engine: Any = FakeEngine()
    return Stack(StackPaths(tmp_path, "dev"), engine, None)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_private_file_is_its_owners_alone(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_private(tmp_path / "new" / "key", "secret\n")
        private_dir(tmp_path / "room")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new" / "key") == 0o600
    assert mode(tmp_path / "new") == 0o700
    assert mode(tmp_path / "room") == 0o700
    assert (tmp_path / "new" / "key").read_text(encoding="utf-8") == "secret\n"


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("a longer text than the next\n", encoding="utf-8")
    file.chmod(0o644)
    write_private(file, "short\n")
    assert file.read_text(encoding="utf-8") == "short\n"
    assert mode(file) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


SALT = b"encryptionsalt: v1:abc=:v1:def:ghi\n"


@pytest.mark.parametrize("before", [None, b"config: {}\n", b"config:\r\n  # mine\r\n  a:b: 1\n"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_engines_salt_does_not_stay_in_the_configuration(
    stack: Stack, before: bytes | None, fails: bool
) -> None:
    config = stack.paths.config
    if before is not None:
        config.write_bytes(before)
    with suppress(RuntimeError), stack.untouched_config():
        config.write_bytes(SALT + (before or b""))
        if fails:
            raise RuntimeError
    assert (config.read_bytes() if config.exists() else None) == before


def test_what_the_user_changes_meanwhile_stays(stack: Stack) -> None:
    config = stack.paths.config
    config.write_bytes(b"config: {}\n")
    with stack.untouched_config():
        config.write_bytes(SALT + b"config: {a: 1}\n")
    assert config.read_bytes() == b"config: {a: 1}\n"


@pytest.mark.parametrize(
    ("theirs", "values", "stays"),
    [(True, b"", True), (False, b"config: {a: {secure: v1:xyz}}\n", True), (False, b"config: {}\n", False)],
)
def test_a_salt_that_was_there_stays_while_something_needs_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, theirs: bool, values: bytes, stays: bool
) -> None:
    if theirs:
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of the team")
    stack.paths.config.write_bytes(SALT + values)
    with stack.untouched_config():
        pass
    assert stack.paths.config.read_bytes() == (SALT + values if stays else values)


def test_a_configuration_that_is_removed_meanwhile_stays_removed(stack: Stack) -> None:
    stack.paths.config.write_bytes(b"config: {}\n")
    with stack.untouched_config():
        stack.paths.config.unlink()
    assert not stack.paths.config.exists()


def test_state_and_passphrase_rest_in_the_checkout(stack: Stack, tmp_path: Path) -> None:
    environment = stack.environment()
    assert environment["PULUMI_BACKEND_URL"] == (tmp_path / ".lab/state").as_uri()
    passphrase = Path(environment["PULUMI_CONFIG_PASSPHRASE_FILE"])
    assert mode(passphrase) == 0o600
    assert mode(tmp_path / ".lab/state") == mode(tmp_path / ".lab/pulumi-home") == 0o700
    assert len(passphrase.read_text(encoding="utf-8").strip()) >= 24
    assert "PULUMI_CONFIG_PASSPHRASE" not in environment
    assert stack.environment() == environment


def test_the_users_own_backend_and_passphrase_are_used(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://theirs")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    environment = stack.environment()
    assert environment["PULUMI_BACKEND_URL"] == "s3://theirs"
    assert environment["PULUMI_CONFIG_PASSPHRASE"] == ""
    assert not (tmp_path / ".lab").exists()


def test_without_a_hypervisor_of_its_own_a_command_runs_as_it_is(stack: Stack) -> None:
    assert stack.command(["virsh", "list"]) == ["virsh", "list"]


@pytest.mark.parametrize("damage", ["", "{}", '{"version": 3, "check', "null", "[]"])
def test_a_damaged_state_is_named_before_the_engine_takes_it_for_an_empty_one(
    stack: Stack, damage: str
) -> None:
    stack.paths.state.parent.mkdir(parents=True)
    stack.paths.state.write_text(damage, encoding="utf-8")
    with pytest.raises(LabError, match=r"the engine's state of stack \w+ is damaged"):
        stack.deployment()
