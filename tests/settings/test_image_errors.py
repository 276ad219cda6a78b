"""What the user reads when an image is not the one that was meant: golden texts like the others."""

import re
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.host import image
from tests import golden


def boot_disk(path: Path, filling: bytes) -> Path:
    """A file that passes for a raw disk with a boot record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(filling * 510 + b"\x55\xaa")
    return path


def said(source: str, sha256: str, folder: Path) -> str:
    with pytest.raises(LabError) as caught:
        image.ensure_image(source, sha256 or None, folder / "cache", lambda _: None)
    text = str(caught.value).replace(str(folder), "DIR")
    text = re.sub(r"https?://\S+", "URL", re.sub(r"\d{8}T\d{6}Z", "DATE", text))
    assert len(text.splitlines()) == 2
    return text + "\n"


def test_a_file_given_by_path_with_another_checksum_is_not_used(tmp_path: Path) -> None:
    path = boot_disk(tmp_path / "guest.img", b"x")
    golden.check("image/given-checksum.txt", said(str(path), "0" * 64, tmp_path))
    assert path.exists()


def test_a_fetched_file_with_another_checksum_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = image._Pin(
        name="Ubuntu",
        release="20260101",
        file="server.img",
        url="https://images.invalid/server.img",
        sha256="0" * 64,
    )
    monkeypatch.setattr(image, "_pin", lambda: pin)
    cached = boot_disk(tmp_path / "cache/images/20260101-server.img", b"x")
    golden.check("image/fetched-checksum.txt", said("ubuntu", "", tmp_path))
    assert not cached.exists()
    (aside,) = cached.parent.glob("*.bad-*")
    assert aside.read_bytes().startswith(b"xxx")
