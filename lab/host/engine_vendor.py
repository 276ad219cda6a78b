"""The vendor of the Pulumi engine: its archives, their checksums, and whether it can be reached."""

import hashlib
import os
import platform
import shutil
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Self

import httpx

# The program's Python SDKs are of the same releases; tests hold the two together.
RELEASE = "3.259.0"
PLUGINS = {"libvirt": "0.5.4", "command": "1.2.1"}

DOWNLOADS_VARIABLE = "LVS_DR_LAB_ENGINE_DOWNLOADS"
RELEASES_VARIABLE = "LVS_DR_LAB_ENGINE_RELEASES"

# A transfer that broke is worth a second try; anything else would end the same way again.
_TRIES = 2


class UnavailableError(Exception):
    """The vendor cannot give an archive that can be trusted; the text says why."""


class _BrokenTransferError(UnavailableError):
    """The archive did not arrive whole."""


@dataclass(frozen=True)
class Sources:
    """Where the vendor's files lie.

    The layout below ``downloads`` is that of the CLI's own installer, the one below ``releases`` that of
    GitHub releases. Either may be a mirror; an empty ``downloads`` stands for "do not ask the vendor".
    """

    downloads: str = "https://get.pulumi.com/releases"
    releases: str = "https://github.com/pulumi"
    connect_timeout: float = 3.0
    """Seconds; short, because a machine without a way out should go on to build at once."""
    read_timeout: float = 30.0
    """Seconds without a byte after which a transfer counts as broken."""

    @classmethod
    def from_environment(cls) -> Self:
        """The public sources, unless ``LVS_DR_LAB_ENGINE_DOWNLOADS`` or ``..._RELEASES`` name others."""
        return cls(
            downloads=os.environ.get(DOWNLOADS_VARIABLE, cls.downloads).rstrip("/"),
            releases=os.environ.get(RELEASES_VARIABLE, cls.releases).rstrip("/"),
        )

    def cli(self, members: tuple[str, ...]) -> "Archive":
        """The archive of the command line tool and its language hosts."""
        machine = "arm64" if _is_arm() else "x64"
        return Archive(
            url=f"{self.downloads}/sdk/pulumi-v{RELEASE}-linux-{machine}.tar.gz",
            checksums_url=f"{self.downloads}/sdk/pulumi-{RELEASE}-checksums.txt",
            members=members,
        )

    def plugin(self, name: str) -> "Archive":
        """The archive of a resource plugin."""
        version = PLUGINS[name]
        binary = f"pulumi-resource-{name}"
        machine = "arm64" if _is_arm() else "amd64"
        release = f"{self.releases}/pulumi-{name}/releases/download/v{version}"
        return Archive(
            url=f"{self.downloads}/plugins/{binary}-v{version}-linux-{machine}.tar.gz",
            checksums_url=f"{release}/pulumi-{name}_{version}_checksums.txt",
            members=(binary,),
        )


def _is_arm() -> bool:
    return platform.machine() in {"aarch64", "arm64"}


@dataclass(frozen=True)
class Archive:
    """A tar archive of the vendor and the files wanted out of it."""

    url: str
    checksums_url: str
    members: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """Name under which checksums list the archive."""
        return PurePosixPath(self.url).name


@dataclass
class Vendor:
    """Fetches archives, and asks no host again that could not be reached once."""

    sources: Sources
    pinned: Mapping[str, str]
    """SHA-256 by file name of the archives that the project itself vouches for."""
    _unreachable: dict[str, str] = field(default_factory=dict)

    def may_have(self, archive: Archive) -> bool:
        """Whether asking for an archive is worth the time."""
        return bool(self.sources.downloads) and _host(archive.url) not in self._unreachable

    def fetch(self, archive: Archive, staging: Path) -> None:
        """Put the archive's members into ``staging``, executable.

        The archive must match the project's checksum, or else the one its vendor publishes. Where
        neither exists the length the server announced is what is left to check here.

        Raises:
            UnavailableError: the vendor is out of reach, has no such archive, or sent a damaged one.
        """
        if not self.sources.downloads:
            raise UnavailableError("downloads are switched off")
        file = staging / archive.file_name
        expected = self.pinned.get(archive.file_name) or self._published_checksum(archive)
        found = self._download(archive.url, file)
        if expected and found != expected.lower():
            raise UnavailableError(
                f"{archive.file_name} is not what its checksum says (SHA-256 {found}, should be {expected})"
            )
        _extract(file, archive.members, staging)
        file.unlink()

    def _published_checksum(self, archive: Archive) -> str | None:
        try:
            with self._client() as client:
                answer = self._get(client, archive.checksums_url)
                text = answer.read().decode("utf-8", "replace")
        except UnavailableError:
            return None
        for line in text.splitlines():
            match line.split():
                case [checksum, name] if name.lstrip("*") == archive.file_name:
                    return checksum
        return None

    def _download(self, url: str, file: Path) -> str:
        """Store what ``url`` gives and return its SHA-256."""
        for _ in range(_TRIES - 1):
            with suppress(_BrokenTransferError):
                return self._transfer(url, file)
        return self._transfer(url, file)

    def _transfer(self, url: str, file: Path) -> str:
        digest = hashlib.sha256()
        with self._client() as client, file.open("wb") as target:
            answer = self._get(client, url)
            try:
                for chunk in answer.iter_raw():
                    digest.update(chunk)
                    target.write(chunk)
            except httpx.HTTPError as error:
                raise _BrokenTransferError(f"{url} broke off: {_words(error)}") from error
            finally:
                answer.close()
        return digest.hexdigest()

    def _client(self) -> httpx.Client:
        timeout = httpx.Timeout(self.sources.read_timeout, connect=self.sources.connect_timeout)
        # Compression on the way would leave the archive's length and checksum meaning something else.
        return httpx.Client(timeout=timeout, follow_redirects=True, headers={"Accept-Encoding": "identity"})

    def _get(self, client: httpx.Client, url: str) -> httpx.Response:
        """Open ``url``; the answer is good and its body still to be read."""
        host = _host(url)
        if reason := self._unreachable.get(host):
            raise UnavailableError(reason)
        try:
            answer = client.send(client.build_request("GET", url), stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._unreachable[host] = f"{host} cannot be reached ({_words(error)})"
            raise UnavailableError(self._unreachable[host]) from error
        except httpx.HTTPError as error:
            raise _BrokenTransferError(f"{url} did not answer: {_words(error)}") from error
        if answer.status_code != httpx.codes.OK:
            answer.close()
            raise UnavailableError(f"{url} answered {answer.status_code} {answer.reason_phrase}")
        return answer


def _host(url: str) -> str:
    return httpx.URL(url).netloc.decode()


def _extract(file: Path, members: tuple[str, ...], staging: Path) -> None:
    """Take the members by their base name, wherever in the archive they lie."""
    wanted = set(members)
    try:
        with tarfile.open(file, "r:gz") as tar:
            for entry in tar:
                name = PurePosixPath(entry.name).name
                content = tar.extractfile(entry) if entry.isreg() and name in wanted else None
                if content is None:
                    continue
                with (staging / name).open("wb") as target:
                    shutil.copyfileobj(content, target)
                (staging / name).chmod(0o755)
                wanted.discard(name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UnavailableError(f"{file.name} is damaged: {_words(error)}") from error
    if wanted:
        raise UnavailableError(f"{file.name} does not hold {', '.join(sorted(wanted))}")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
