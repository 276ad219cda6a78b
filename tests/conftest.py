"""What several rooms of tests share.

Golden files below ``tests/golden`` hold texts that a person has read. After a change that is meant,
``UPDATE_GOLDEN=1 pytest`` writes them again; then read the diff before you commit it.
"""

from collections.abc import Callable

import pytest

from lab.inventory import Inventory, describe
from lab.keys import derive
from lab.settings import load
from lab.topology import Topology, plan

SECRET = "0f" * 32


@pytest.fixture
def planned() -> Callable[..., Topology]:
    """The topology of stack ``dev`` with some settings changed: ``planned(port=8080)``."""
    return lambda **values: plan(load(values), "dev")


@pytest.fixture
def tutorial(planned: Callable[..., Topology]) -> Topology:
    """The tutorial's lab: nothing set."""
    return planned()


def inventory_of(topology: Topology) -> Inventory:
    """An inventory as the tools know it."""
    keys = {machine.name: derive(SECRET, f"host {machine.name}").public for machine in topology.machines}
    return Inventory.model_validate(describe(topology, "qemu:///system", keys, image="Debian 12"))


@pytest.fixture
def inventory(tutorial: Topology) -> Inventory:
    """Of the tutorial's lab."""
    return inventory_of(tutorial)
