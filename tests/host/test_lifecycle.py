"""Refusals of `lab up` that need no hypervisor."""

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.host import lifecycle
from lab.host.paths import StackPaths
from lab.settings import Settings

BUILT = {"resources": [{"type": "pulumi:providers:libvirt", "inputs": {"uri": "qemu:///system"}}]}


def test_a_lab_that_stands_is_not_left_behind_on_another_hypervisor(tmp_path: Path) -> None:
    elsewhere = Settings(libvirt_uri="qemu+ssh://root@other/system")
    with pytest.raises(LabError) as refused:
        lifecycle._refuse_moving(BUILT, elsewhere, StackPaths(tmp_path, "dev"))
    assert str(refused.value) == (
        "lvs-dr-lab:libvirt_uri = qemu+ssh://root@other/system: stack dev was built on qemu:///system.\n"
        "    `make down` removes it there; then `make up` builds it anew."
    )


@pytest.mark.parametrize("deployment", [BUILT, {}, {"resources": []}])
def test_what_stays_where_it_is_is_not_refused(tmp_path: Path, deployment: dict[str, object]) -> None:
    lifecycle._refuse_moving(deployment, Settings(), StackPaths(tmp_path, "dev"))
