"""The cloud-init disk: what another reader finds on it, and who may read the file."""

import io
import json
import stat
import subprocess
import sys
from pathlib import Path

import pycdlib

from lab.host import seed

DOCUMENTS = {
    "user-data": "#cloud-config\nhostname: master\n# ünïcode\n" + "x: y\n" * 3000,
    "meta-data": "instance-id: master-1\n",
    "network-config": "version: 2\n",
}


def contents(file: Path) -> dict[str, str]:
    iso = pycdlib.PyCdlib()
    iso.open(str(file))
    found = {}
    for name in DOCUMENTS:
        data = io.BytesIO()
        iso.get_file_from_iso_fp(data, rr_path=f"/{name}")
        found[name] = data.getvalue().decode()
    iso.close()
    return found


def test_the_documents_are_on_it_under_the_names_that_cloud_init_looks_for(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "seed.iso"
    seed.write(file, DOCUMENTS)
    assert contents(file) == DOCUMENTS
    label = subprocess.run(
        ["blkid", "-p", "-o", "value", "-s", "LABEL", file], check=True, capture_output=True, text=True
    )
    assert label.stdout.strip() == "cidata"


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "seeds" / "seed.iso"
    seed.write(file, DOCUMENTS)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in file.parent.iterdir()] == ["seed.iso"]


def test_as_a_step_of_the_program_it_takes_the_documents_from_its_input(tmp_path: Path) -> None:
    file = tmp_path / "seed.iso"
    argv = [sys.executable, "-m", "lab.host.seed", str(file)]
    subprocess.run(argv, input=json.dumps(DOCUMENTS), text=True, check=True, timeout=60)
    assert contents(file) == DOCUMENTS
