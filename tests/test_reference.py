"""What is generated from the model is what is in the repository: ``make reference`` writes it."""

import xml.etree.ElementTree as ET
from pathlib import Path

import yaml

from lab import reference
from lab.settings import Settings, load

PROJECT = Path(__file__).parents[1]


def test_the_readmes_table_is_the_models() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert reference.table() in readme
    assert readme.count(reference.table().splitlines()[0]) == 1
    assert reference.with_table(readme) == readme


def test_every_key_has_a_row_with_its_meaning() -> None:
    rows = reference.table().splitlines()[2:]
    assert len(rows) == len(Settings.model_fields)
    for row, (key, field) in zip(rows, Settings.model_fields.items(), strict=True):
        assert row.startswith(f"| `{key}` |")
        assert field.description
        assert row.count("|") == 5


def test_the_manifest_is_the_models() -> None:
    assert (PROJECT / "Pulumi.yaml").read_text(encoding="utf-8") == reference.manifest()


def test_the_defaults_of_the_manifest_are_the_tutorial() -> None:
    """Pulumi hands a default over as if it had been set: it must not say anything else than nothing does."""
    config = yaml.safe_load(reference.manifest())["config"]
    values = {key.removeprefix("lvs-dr-lab:"): entry["default"] for key, entry in config.items()}
    assert load(values) == load({})
    assert all(entry["description"] and entry["type"] for entry in config.values())


def test_the_picture_is_the_topologys() -> None:
    drawn = reference.picture(reference.tutorial(PROJECT))
    assert (PROJECT / "docs" / "topology.svg").read_text(encoding="utf-8") == drawn


def test_the_picture_shows_every_machine() -> None:
    topology = reference.tutorial(PROJECT)
    picture = ET.fromstring(reference.picture(topology))
    words = {text.strip() for text in picture.itertext()}
    for machine in topology.machines:
        assert {machine.name, str(machine.address)} <= words
    assert any("192.168.1.20" in word for word in words)


def test_the_picture_of_another_lab_is_well_formed() -> None:
    from lab.topology import plan

    servers = [{"name": f"web{n}", "address": f"192.168.1.{60 + n}"} for n in range(9)]
    settings = load({"servers": servers, "client": {"extra_addresses": 0}})
    ET.fromstring(reference.picture(plan(settings, "x")))
