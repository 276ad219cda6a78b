"""An inventory as the tools know it."""

import pytest

from lab.inventory import Inventory, describe
from lab.keys import derive
from lab.topology import Topology

SECRET = "0f" * 32


def inventory_of(topology: Topology) -> Inventory:
    keys = {machine.name: derive(SECRET, f"host {machine.name}").public for machine in topology.machines}
    return Inventory.model_validate(describe(topology, "qemu:///system", keys, image="Debian 12"))


@pytest.fixture
def inventory(tutorial: Topology) -> Inventory:
    """Of the tutorial's lab."""
    return inventory_of(tutorial)
