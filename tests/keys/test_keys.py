"""SSH keys: OpenSSH must agree with what is derived here."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from lab.keys import derive

SECRET = "0f" * 32


def test_openssh_reads_the_private_key_and_finds_the_same_public_key(tmp_path: Path) -> None:
    key = derive(SECRET, "host server1")
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text(key.private, encoding="ascii")
    done = subprocess.run(["ssh-keygen", "-y", "-f", file], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == key.public


def test_another_reader_agrees() -> None:
    load_ssh_private_key(derive(SECRET, "login").private.encode(), password=None)


def test_the_same_secret_and_purpose_give_the_same_key() -> None:
    """Else every run would render other user-data and rebuild every machine."""
    assert derive(SECRET, "login") == derive(SECRET, "login")


def test_a_key_stays_what_it_is_over_releases() -> None:
    """A change here would rebuild every machine of every lab that stands."""
    assert derive(SECRET, "login").public == (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMv0SpIBKs8hjNsHLU3hwe74ExbVoG3KPkr5uNJgcloX lvs-dr-lab-login"
    )


def test_purposes_secrets_and_so_machines_have_unrelated_keys() -> None:
    keys = [
        derive(secret, purpose) for secret in (SECRET, "1f" * 32) for purpose in ("login", "host a", "host b")
    ]
    assert len({key.public.split()[1] for key in keys}) == len(keys)
    assert len({key.private for key in keys}) == len(keys)


def test_the_purpose_is_the_comment() -> None:
    assert derive(SECRET, "host server1").public.split()[2:] == ["lvs-dr-lab-host-server1"]


@pytest.mark.parametrize("secret", ["not hex", "0", "zz" * 32])
def test_a_secret_that_is_not_hex_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        derive(secret, "login")
