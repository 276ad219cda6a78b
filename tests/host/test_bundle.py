"""The offline bundle: what is in it, what is refused, and a set-up without a network from nothing else.

Small files and a script that plays uv for most of it; for the proof the real engine, the real wheels and a
network namespace without a route.
"""

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.host import bundle, guest_image, image, packages
from lab.host.engine import PIECES, TOOLCHAIN, ensure_engine, place_engine
from lab.host.engine_vendor import RELEASE
from lab.host.packages import Package
from lab.host.paths import cache_dir
from tests.e2e.harness import checkout, eventually
from tests.host.test_image import GOOD
from tests.users import SYSTEM_PATH

UNPACK = TOOLCHAIN / "unpack.py"
PYTHON = "{}.{}".format(*sys.version_info)
# What must never travel.
SECRET = "7c0f-secret-of-a-stack"
SMALL = Package("xsltproc", "xsltproc", "a package with few dependencies")

# Makes environments whose Python is the tests' own, and notes what it is asked.
UV = """#!/bin/sh
echo "$*" >> "$HOME/asked"
case "$1 $2" in
"python find") [ "$UV_OFFLINE" = 1 ] && [ ! -e "$HOME/no-python" ] ;;
"python dir") echo "$HOME/pythons" ;;
venv*)
    for environment in "$@"; do :; done
    mkdir -p "$environment/bin"
    printf '#!/bin/sh\\nexec %s "$@"\\n' "$TESTS_PYTHON" > "$environment/bin/python"
    chmod +x "$environment/bin/python" ;;
"pip install") [ ! -e "$HOME/broken" ] ;;
esac
"""


def fake_engine(cache: Path, origin: str = "vendor") -> None:
    """An engine of scripts that say what the real ones say first."""
    folder = cache / "engine" / "made"
    for piece in PIECES:
        says = f"v{RELEASE}" if piece.name == "pulumi" else "40001"
        for name in piece.parts(origin):
            (folder / piece.name).mkdir(parents=True, exist_ok=True)
            (folder / piece.name / name).write_text(f"#!/bin/sh\necho {says}\n")
            (folder / piece.name / name).chmod(0o755)
    place_engine(cache, folder, dict.fromkeys((piece.name for piece in PIECES), origin), print)
    shutil.rmtree(folder)


def fake_wheels(folder: Path, say: Callable[[str], None]) -> list[Path]:
    folder.mkdir()
    (folder / "jinja2-3.1.6-py3-none-any.whl").write_bytes(b"templates")
    uv = folder / "uv-0.13.9-py3-none-any.whl"
    with zipfile.ZipFile(uv, "w") as archive:
        archive.writestr("uv-0.13.9.data/scripts/uv", UV)
    return sorted(folder.iterdir())


def fake_debs(wanted: object, folder: Path, say: object) -> list[Path]:
    control = folder / "tree" / "DEBIAN"
    control.mkdir(parents=True)
    (control / "control").write_text(
        "Package: thing\nVersion: 1:2.0-1\nArchitecture: all\nMaintainer: nobody\nDescription: a thing\n"
    )
    deb = folder / "thing_1%3a2.0-1_all.deb"
    subprocess.run(["dpkg-deb", "--build", folder / "tree", deb], check=True, capture_output=True)
    return [deb]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the computer where bundles are made; with what has no business in them."""
    cache = tmp_path / "there" / "cache"
    monkeypatch.setenv("LVS_DR_LAB_CACHE", str(cache))
    monkeypatch.setattr(bundle, "wheels", fake_wheels)
    monkeypatch.setattr(bundle, "_interpreter", lambda staging: {})
    monkeypatch.setattr(packages, "download", fake_debs)
    fake_engine(cache)
    images = cache / "images"
    images.mkdir()
    guest_image.image_path(images).write_bytes(GOOD)
    for name in (
        "engine/logs/pulumi.log",
        "engine/bin/left",
        "images/other.qcow2",
        "passphrase",
        "state/dev",
    ):
        (cache / name).parent.mkdir(exist_ok=True)
        (cache / name).write_text(SECRET)
    return cache


@pytest.fixture
def made(there: Path, tmp_path: Path) -> Path:
    return bundle.pack("auto", tmp_path / "dist", print).file


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def unpack(file: Path | str, home: Path, tree: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Take a bundle in, as make does it, on a computer where nothing is."""
    script = (tree / "toolchain" / "unpack.py") if tree else UNPACK
    path = ":".join(folder for folder in os.environ["PATH"].split(":") if not Path(folder, "uv").exists())
    return subprocess.run(
        [sys.executable, script, str(file)],
        env={"HOME": str(home), "PATH": path, "TESTS_PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def manifest(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(members(file)["manifest.json"])
    return read


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The bundle with some members changed."""
    found = members(file)
    change(found)
    with tarfile.open(file, "w:gz") as tar:
        for name, content in found.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file


def claiming(file: Path, **claims: object) -> Path:
    """The bundle with another manifest."""
    text = json.dumps({**manifest(file), **claims}).encode()
    return rewritten(file, lambda found: found.update({"manifest.json": text}))


def refused(file: Path | str, home: Path) -> str:
    """What is said of a bundle that is refused; nothing is left of it."""
    done = unpack(file, home)
    assert (done.returncode, done.stdout) == (1, "")
    assert [path for path in home.rglob("*") if path.name != ".cache"] == []
    return "\n".join(line for line in done.stderr.splitlines() if not line.startswith("lab "))


# What is in it.


def test_it_holds_these_files_and_no_other(made: Path) -> None:
    assert made.name == f"lvs-dr-lab-bundle-0.1.0-{platform.machine()}.tar.gz"
    assert sorted(members(made)) == [
        "engine/pulumi-language-python/pulumi-language-python",
        "engine/pulumi-language-python/pulumi-language-python-exec",
        "engine/pulumi-resource-command/pulumi-resource-command",
        "engine/pulumi-resource-libvirt/pulumi-resource-libvirt",
        "engine/pulumi/pulumi",
        f"images/{guest_image.image_path(Path()).name}",
        "manifest.json",
        "packages/Packages",
        "packages/thing_2.0-1_all.deb",
        "wheels/jinja2-3.1.6-py3-none-any.whl",
        "wheels/uv-0.13.9-py3-none-any.whl",
    ]
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_the_manifest_comes_first_and_tells_all(made: Path) -> None:
    found = members(made)
    assert next(iter(found)) == "manifest.json"
    told = json.loads(found.pop("manifest.json"))
    assert {key: told[key] for key in ("project", "format", "version", "architecture", "python")} == {
        "project": "lvs-dr-lab",
        "format": 1,
        "version": "0.1.0",
        "architecture": platform.machine(),
        "python": PYTHON,
    }
    assert told["distribution"] == bundle.distribution()
    assert told["versions"]["pulumi"] == RELEASE
    assert told["versions"]["guest image"] == guest_image.NAME
    assert {name: member["sha256"] for name, member in told["members"].items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in found.items()
    }
    assert {"uv.lock", "toolchain/uv.sh", "lab/host/guest_image/build.sh"} <= told["inputs"].keys()


def test_it_holds_no_secret_and_tells_nothing_of_who_made_it(made: Path, there: Path) -> None:
    with gzip.open(made) as stream:
        everything = stream.read()
    for private in (SECRET, str(there), str(Path.home()), os.uname().nodename, str(TOOLCHAIN.parent)):
        # A container may be called by a letter or two.
        assert len(private) < 4 or private.encode() not in everything, private
    with tarfile.open(made) as tar:
        assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in tar} == {
            (0, 0, "", "", 0)
        }


def test_a_built_piece_takes_its_own_files_along_and_fits_the_same_sources_only(
    there: Path, tmp_path: Path
) -> None:
    fake_engine(there, "built")
    shutil.rmtree(there / "engine")
    fake_engine(there, "built")
    made = bundle.pack("debian", tmp_path / "dist", print).file
    assert "engine/pulumi-language-python/pulumi-python" in members(made)
    told = manifest(made)
    assert set(told["engine"].values()) == {"built"}
    assert "toolchain/command/go.sum" in told["inputs"]


def test_a_link_to_the_users_own_engine_becomes_a_copy(there: Path, tmp_path: Path) -> None:
    binary = there / "engine" / "bin" / "pulumi"
    own = tmp_path / "own"
    binary.rename(own)
    binary.symlink_to(own)
    note = there / "engine" / "pieces" / "pulumi.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "origin": "present"}))
    made = bundle.pack("auto", tmp_path / "dist", print).file
    assert members(made)["engine/pulumi/pulumi"] == own.read_bytes()
    assert manifest(made)["engine"]["pulumi"] == "vendor"


def test_ubuntu_comes_along_with_a_notice_and_a_users_file_does_not(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    own = image.GuestImage(guest_image.image_path(there / "images"), "Ubuntu", "", "qcow2", 1)
    monkeypatch.setattr(image, "ensure_image", lambda source, *rest: asked.append(source) or own)
    said: list[str] = []
    bundle.pack("ubuntu", tmp_path / "dist", said.append)
    assert (
        "NOTICE: machines that run Ubuntu fetch their packages; where the bundle goes, set package_proxy"
        in said
    )
    made = bundle.pack("/srv/mine.qcow2", tmp_path / "dist", said.append).file
    assert "NOTICE: the bundle has no image: bring /srv/mine.qcow2 along to the same place" in said
    assert not any(name.startswith("images/") for name in members(made))
    # Where the Debian guest cannot be built there is only one.
    monkeypatch.setattr(guest_image, "MACHINE", "other")
    bundle.pack("auto", tmp_path / "dist", said.append)
    assert asked == ["ubuntu", "ubuntu"]


def test_an_image_that_would_carry_a_password_is_not_packed(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_image, "_apt_proxies", lambda: ["Acquire::http::Proxy=http://me:pw@proxy:3128"])
    with pytest.raises(LabError, match=r"(?s)is given with a password.*Make the bundle where apt needs no"):
        bundle.pack("auto", tmp_path / "dist", print)
    assert list((tmp_path / "dist").glob("*")) == []


def test_a_python_that_uv_brought_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "pythons" / "cpython-3.13.0-linux-x86_64-gnu"
    (python / "bin").mkdir(parents=True)
    (python / "bin" / "python3.13").write_text("program")
    (python / "bin" / "python").symlink_to("python3.13")
    monkeypatch.setattr(bundle, "_run", lambda argv: f"{python.parent}\n")
    monkeypatch.setattr(sys, "base_prefix", str(python))
    ((name, archive),) = bundle._interpreter(tmp_path).items()
    assert name == "python/cpython-3.13.0-linux-x86_64-gnu.tar"
    with tarfile.open(archive) as tar:
        assert {entry.uname for entry in tar} == {""}
        assert tar.getmember(f"{python.name}/bin/python").linkname == "python3.13"
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert bundle._interpreter(tmp_path) == {}


# What is refused.


def test_a_file_that_is_not_there(home: Path) -> None:
    assert refused("/nowhere/bundle.tar.gz", home) == (
        "error BUNDLE = /nowhere/bundle.tar.gz: there is no such file.\n"
        "    Correct the path; `make bundle` writes one."
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", gzip.compress(b"x" * 2000), b"\x1f\x8b\x08\x00"],
    # Named, for the bytes of the third hold the time of day, and two processes that collect tests must agree.
    ids=["empty", "zip", "gzip of no archive", "gzip that is cut off"],
)
def test_a_file_that_is_no_bundle(home: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert refused(file, home) == (
        f"error BUNDLE = {file}: it is no bundle of lvs-dr-lab, for it does not begin with a manifest.\n"
        "    Name the file that `make bundle` wrote; if this is it, copy it again."
    )


@pytest.mark.parametrize("claim", [{"project": "another"}, {"members": None}])
def test_a_bundle_of_something_else(made: Path, home: Path, claim: dict[str, str | None]) -> None:
    told = {key: value for key, value in {**manifest(made), **claim}.items() if value is not None}
    rewritten(made, lambda found: found.update({"manifest.json": json.dumps(told).encode()}))
    assert "it is no bundle of lvs-dr-lab" in refused(made, home)


@pytest.mark.parametrize("lost", [1, 8, 1000, 0.5])
def test_a_file_that_is_cut(made: Path, home: Path, lost: float) -> None:
    whole = made.read_bytes()
    made.write_bytes(whole[: -int(lost if lost >= 1 else lost * len(whole))])
    said = refused(made, home)
    assert said.startswith(f"error BUNDLE = {made}: it cannot be read beyond ")
    assert said.endswith("so it is cut short or damaged.\n    Copy it again.")


def test_a_flipped_bit(made: Path, home: Path) -> None:
    whole = bytearray(made.read_bytes())
    whole[len(whole) * 2 // 3] ^= 1
    made.write_bytes(whole)
    assert "Copy it again." in refused(made, home) or "copy it again." in refused(made, home)


def test_a_changed_member(made: Path, home: Path) -> None:
    name = "engine/pulumi/pulumi"
    there = hashlib.sha256(members(made)[name]).hexdigest()
    rewritten(made, lambda found: found.update({name: b"another"}))
    assert refused(made, home) == (
        f"error BUNDLE = {made}: the sha256 of {name} in it is {hashlib.sha256(b'another').hexdigest()},\n"
        f"    its manifest says {there}.\n"
        "    It was damaged or changed on its way: copy it again."
    )


def test_a_missing_member(made: Path, home: Path) -> None:
    rewritten(made, lambda found: found.pop("packages/Packages") and None)
    assert refused(made, home) == (
        f"error BUNDLE = {made}: packages/Packages is missing in it, which its manifest names.\n"
        "    Copy it again."
    )


@pytest.mark.parametrize("name", ["more", "../outside", "/outside", "engine/../../outside"])
def test_a_member_too_many(made: Path, home: Path, name: str) -> None:
    rewritten(made, lambda found: found.update({name: b"x"}))
    assert refused(made, home) == (
        f"error BUNDLE = {made}: it holds {name!r}, which its manifest does not name.\n"
        "    It was changed after it was made: get it again from where it was made."
    )


def test_a_member_outside_that_the_manifest_names(made: Path, home: Path) -> None:
    told = manifest(made)
    told["members"]["../outside"] = {
        "sha256": hashlib.sha256(b"x").hexdigest(),
        "size": 1,
        "executable": False,
    }
    claiming(made, members=told["members"])
    rewritten(made, lambda found: found.update({"../outside": b"x"}))
    assert "it holds '../outside'" in refused(made, home)


def test_another_processor(made: Path, home: Path) -> None:
    assert refused(claiming(made, architecture="s390x"), home) == (
        f"error BUNDLE = {made}: it is for s390x, this computer is {platform.machine()}.\n"
        "    Make one on a computer of this kind."
    )


def test_another_version(made: Path, home: Path) -> None:
    assert refused(claiming(made, version="0.2.0"), home) == (
        f"error BUNDLE = {made}: it is for lvs-dr-lab 0.2.0, this checkout is 0.1.0.\n"
        "    Make it anew with `make bundle` in this checkout, or check out the version it is for."
    )


def test_another_lock(made: Path, home: Path) -> None:
    inputs = {**manifest(made)["inputs"], "uv.lock": "0" * 64}
    assert refused(claiming(made, inputs=inputs), home) == (
        f"error BUNDLE = {made}: uv.lock is not here as it was when the bundle was made.\n"
        "    Make it anew with `make bundle` in this checkout, or check out the version it is for."
    )


def test_another_format(made: Path, home: Path) -> None:
    assert "its format is 2, this checkout reads 1." in refused(claiming(made, format=2), home)


def test_too_small_a_disk(made: Path, home: Path) -> None:
    told = manifest(made)["members"]
    told["packages/Packages"]["size"] = 1 << 60
    said = refused(claiming(made, members=told), home)
    assert "MiB in " in said
    assert said.endswith("are free.\n    Free some, or let LVS_DR_LAB_CACHE name a larger disk.")


# What becomes of it.


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout elsewhere."""
    return checkout(tmp_path / "checkout")


def test_everything_lies_where_the_ordinary_set_up_looks(
    made: Path, home: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = unpack(made, home, tree)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0].startswith("lab bundle: checking and unpacking ")
    cache = home / ".cache" / "lvs-dr-lab"
    assert sorted(path.name for path in cache.iterdir()) == ["engine", "images", "uv-0.13.9"]
    assert (cache / "uv-0.13.9" / "bin" / "uv").read_text() == UV
    engine = ensure_engine(cache, pytest.fail)
    assert set(engine.origin.values()) == {"vendor"}
    monkeypatch.setenv(image.OFFLINE_VARIABLE, "1")
    found = image.ensure_image("auto", None, cache, pytest.fail)
    assert (found.name, found.path.read_bytes()) == (guest_image.NAME, GOOD)
    asked = (home / "asked").read_text().splitlines()
    assert asked[-2].endswith(f"--require-hashes --requirement {cache}/bundle/requirements.txt")
    assert asked[-1].endswith(f"--no-index --no-deps --find-links {cache}/bundle/wheels --editable {tree}")


def test_what_was_unpacked_when_it_was_stopped_is_removed(made: Path, home: Path, tree: Path) -> None:
    # uv is the first that can be waited for: it tells and hangs.
    own = home / ".cache" / "lvs-dr-lab" / "uv-0.13.9" / "bin" / "uv"
    own.parent.mkdir(parents=True)
    own.write_text('#!/bin/sh\n: > "$HOME/asked"\nexec sleep 60\n')
    own.chmod(0o755)
    running = subprocess.Popen(
        # Where tests run in the background, Ctrl-C may be switched off for all that is started there.
        ["env", "--default-signal=INT", sys.executable, tree / "toolchain" / "unpack.py", made],
        env={"HOME": str(home), "PATH": SYSTEM_PATH},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    eventually((home / "asked").exists, 30, "uv is asked")
    assert (home / ".cache" / "lvs-dr-lab" / "bundle" / "manifest.json").exists()
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said.endswith("\nstopped: what was unpacked is removed again\n")
    assert not (home / ".cache" / "lvs-dr-lab" / "bundle").exists()


def test_what_is_there_stays(made: Path, home: Path, tree: Path) -> None:
    cache = home / ".cache" / "lvs-dr-lab"
    (cache / "uv-0.13.9" / "bin").mkdir(parents=True)
    own = cache / "uv-0.13.9" / "bin" / "uv"
    own.write_text(UV + "# theirs\n")
    own.chmod(0o755)
    (cache / "bundle").mkdir()
    (cache / "bundle" / "left").write_text("by a run that was killed")
    assert unpack(made, home, tree).returncode == 0
    seen = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    (home / "asked").unlink()
    assert unpack(made, home, tree).returncode == 0
    assert own.read_text().endswith("# theirs\n")
    assert {path: path.stat().st_mtime_ns for path in seen if path.name != "lock"} == {
        path: time for path, time in seen.items() if path.name != "lock"
    }
    assert not any(line.startswith("venv ") for line in (home / "asked").read_text().splitlines())


def test_without_the_python_it_was_made_for(made: Path, home: Path, tree: Path) -> None:
    (home / "no-python").touch()
    done = unpack(claiming(made, python="3.99"), home, tree)
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"error BUNDLE = {made}: it is for Python 3.99, which is not on this computer; "
        f"`python3` is {platform.python_version()}.\n"
        "    Install Python 3.99, or make the bundle on a computer that has the same as this.\n"
    )
    assert not (tree / ".venv").exists()
    assert not (home / ".cache" / "lvs-dr-lab" / "engine").exists()


def test_an_environment_that_could_not_be_made_is_removed(made: Path, home: Path, tree: Path) -> None:
    (home / "broken").touch()
    assert unpack(made, home, tree).returncode == 1
    assert not (tree / ".venv").exists()
    assert not (home / ".cache" / "lvs-dr-lab" / "bundle").exists()


@pytest.fixture
def staged(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A bundle that was checked and unpacked, in the cache of a computer that has nothing."""
    here = tmp_path / "here"
    monkeypatch.setenv("LVS_DR_LAB_CACHE", str(here))
    with tarfile.open(made) as tar:
        tar.extractall(here / "bundle", filter="data")
    yield here / "bundle"
    assert not (here / "engine").exists()


def test_packages_for_another_distribution(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing", lambda: [SMALL, packages.HYPERVISOR[1]])
    monkeypatch.setattr(bundle, "distribution", lambda: "ubuntu 24.04")
    there = json.loads((staged / "manifest.json").read_text())["distribution"]
    with pytest.raises(LabError) as caught:
        bundle.place(staged, pytest.fail)
    assert str(caught.value) == (
        "missing here: xsltproc, qemu-utils\n"
        f"    the packages in the bundle are for {there}, this is ubuntu 24.04.\n"
        "    Install them, or make the bundle on ubuntu 24.04."
    )


def test_no_apt_here_or_there(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing", lambda: [SMALL])
    shutil.rmtree(staged / "packages")
    with pytest.raises(LabError, match="the bundle has no system packages: it was made without apt"):
        bundle.place(staged, pytest.fail)
    monkeypatch.setattr(packages, "has_apt", lambda: False)
    with pytest.raises(LabError, match=r"missing: xsltproc \(Debian: xsltproc\)\n    install them with this"):
        bundle.place(staged, pytest.fail)


def test_an_engine_that_does_not_run_here(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "pulumi").mkdir(parents=True)
    (folder / "pulumi" / "pulumi").write_text("#!/bin/sh\necho v0.0.1\n")
    (folder / "pulumi" / "pulumi").chmod(0o755)
    with pytest.raises(LabError, match=rf"was brought along but does not work.*'v0.0.1', not v{RELEASE}"):
        place_engine(tmp_path, folder, {"pulumi": "vendor"}, print)


def test_offline_means_what_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(image.OFFLINE_VARIABLE, "1")
    images = tmp_path / "images"
    with pytest.raises(LabError) as caught:
        image.ensure_image("auto", None, tmp_path, pytest.fail)
    assert str(caught.value) == (
        f"lvs-dr-lab:image = auto: this image is not in {images}, and nothing may be fetched here\n"
        "    set `image` to one that is there, or make the bundle with this setting"
    )
    ubuntu = image._place_of(image._pin(), images)
    ubuntu.write_bytes(GOOD)
    monkeypatch.setattr(image, "_check", lambda *found: None)
    assert image.ensure_image("auto", None, tmp_path, pytest.fail).path == ubuntu
    debian = guest_image.image_path(images)
    debian.write_bytes(GOOD)
    # It needs no network for its packages.
    assert image.ensure_image("auto", None, tmp_path, pytest.fail).path == debian
    assert image.ensure_image("ubuntu", None, tmp_path, pytest.fail).path == ubuntu
    ubuntu.unlink()
    with pytest.raises(LabError, match="image = ubuntu: this image is not in"):
        image.ensure_image("ubuntu", None, tmp_path, pytest.fail)


# The real thing.


def without_network() -> list[str]:
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *root, "--net"]


@pytest.mark.timeout(300)
def test_the_packages_can_be_installed_where_nothing_is(tmp_path: Path) -> None:
    folder = tmp_path / "debs"
    folder.mkdir()
    debs = packages.download([SMALL], folder, print)
    (folder / "archives" / "Packages").write_text(packages.index(debs))
    assert {"libc6", "libxslt1.1"} <= {deb.name.split("_")[0] for deb in debs}
    nothing = tmp_path / "status"
    nothing.touch()
    # As install_from does it, but on paper, and for a computer without any package.
    script = packages.FROM_REPOSITORY.replace(
        "apt-get ", f"apt-get -o Dir::State::status={nothing} -o Debug::NoLocking=1 "
    ).replace("apt install", "apt --simulate install")
    done = subprocess.run(
        [*without_network(), "sh", "-euc", script, "sh", str(folder / "archives"), SMALL.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Inst xsltproc" in done.stdout
    assert done.stdout.count("Inst ") == len(debs)


@pytest.mark.timeout(600)
def test_a_set_up_without_a_network_from_an_empty_home(
    tmp_path: Path, home: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    (cache / "images").mkdir(parents=True)
    ensure_engine(cache_dir(), print)
    for there in (cache_dir() / "engine", *cache_dir().glob("uv-*")):
        (cache / there.name).symlink_to(there)
    # 600 MB that set-up only puts in their place.
    guest_image.image_path(cache / "images").write_bytes(GOOD)
    monkeypatch.setenv("LVS_DR_LAB_CACHE", str(cache))
    monkeypatch.setattr(packages, "HYPERVISOR", (SMALL,))
    made = bundle.pack("debian", tmp_path / "dist", print).file

    def offline(*argv: str) -> str:
        done = subprocess.run(
            [*without_network(), *argv],
            cwd=tree,
            env={"HOME": str(home), "PATH": f"{SYSTEM_PATH}:{sys.base_prefix}/bin", "TERM": "dumb"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert offline("ip", "route") == ""
    said = offline("make", "setup", f"BUNDLE={made}")
    assert [line.split()[0] for line in said.splitlines()] == sorted(piece.name for piece in PIECES)
    engine = home / ".cache" / "lvs-dr-lab" / "engine"
    assert offline(str(engine / "bin" / "pulumi"), "version").strip() == f"v{RELEASE}"
    assert "Usage: lab" in offline(".venv/bin/lab", "--help")
    # Once all is there the bundle is not asked for any more.
    assert offline("make", "setup") == said
