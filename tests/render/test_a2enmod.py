"""What stands in for a2enmod makes the same links and notes as a2enmod(8) does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

STAND_IN = Path(__file__).parents[2] / "cloud-init" / "a2enmod.sh"


@pytest.fixture
def apache(tmp_path: Path) -> Path:
    """A small /etc/apache2: one module with a configuration needs one that needs a third."""
    conf = tmp_path / "etc"
    for folder in ("mods", "conf", "sites"):
        (conf / f"{folder}-available").mkdir(parents=True)
        (conf / f"{folder}-enabled").mkdir()
    modules = conf / "mods-available"
    (modules / "status.load").write_text("# Depends: authz_host extra\nLoadModule status_module x.so\n")
    (modules / "status.conf").write_text("ExtendedStatus On\n")
    (modules / "authz_host.load").write_text("# Depends: authz_core\nLoadModule a x.so\n# Depends: never\n")
    (modules / "authz_core.load").write_text("LoadModule b x.so\n")
    (modules / "extra.load").write_text("\n# Conflicts: other\n\nLoadModule c x.so\n")
    (conf / "conf-available/charset.conf").write_text("")
    (conf / "sites-available/000-default.conf").write_text("")
    return tmp_path


def call(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    tool = folder / name
    shutil.copy(STAND_IN, tool)
    tool.chmod(0o755)
    environment = os.environ | {
        "APACHE_CONFDIR": str(folder / "etc"),
        "APACHE_STATE_DIRECTORY": str(folder / "state"),
    }
    return subprocess.run([tool, *arguments], env=environment, capture_output=True, text=True, check=False)


def links(folder: Path) -> dict[str, str]:
    found = (folder / "etc").glob("*-enabled/*")
    return {f"{link.parent.name}/{link.name}": str(link.readlink()) for link in found}


def notes(folder: Path) -> set[str]:
    return {
        str(file.relative_to(folder / "state")) for file in (folder / "state").rglob("*") if file.is_file()
    }


def test_a_module_comes_with_its_configuration_and_all_that_it_needs(apache: Path) -> None:
    done = call(apache, "a2enmod", "-m", "-q", "status")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert links(apache) == {
        "mods-enabled/status.load": "../mods-available/status.load",
        "mods-enabled/status.conf": "../mods-available/status.conf",
        "mods-enabled/authz_host.load": "../mods-available/authz_host.load",
        "mods-enabled/authz_core.load": "../mods-available/authz_core.load",
        "mods-enabled/extra.load": "../mods-available/extra.load",
    }
    assert notes(apache) == {
        f"module/enabled_by_maint/{name}" for name in ("status", "authz_host", "authz_core", "extra")
    }
    assert call(apache, "a2enmod", "-m", "-q", "status").returncode == 0


def test_configurations_and_sites(apache: Path) -> None:
    assert call(apache, "a2enconf", "-m", "-q", "charset").returncode == 0
    assert call(apache, "a2ensite", "-q", "000-default.conf").returncode == 0
    assert links(apache) == {
        "conf-enabled/charset.conf": "../conf-available/charset.conf",
        "sites-enabled/000-default.conf": "../sites-available/000-default.conf",
    }
    assert notes(apache) == {"conf/enabled_by_maint/charset", "site/enabled_by_admin/000-default"}


def test_what_is_not_there_is_refused(apache: Path) -> None:
    done = call(apache, "a2enmod", "-q", "nothing")
    assert done.returncode != 0
    assert "there is no module nothing" in done.stderr
    assert call(apache, "a2dismod", "status").returncode == 1
    assert links(apache) == {}
