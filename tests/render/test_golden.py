"""Every rendered file, byte for byte; a change shows in the diff of a golden file."""

import pytest

from tests import golden
from tests.render.cases import VARIANTS, cases

CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_a_rendered_file_is_as_agreed(name: str) -> None:
    golden.check(name, CASES[name])


def test_no_golden_is_left_of_what_is_no_longer_rendered() -> None:
    assert golden.names("render") == set(CASES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_differs_from_the_tutorial(variant: str) -> None:
    assert any(name.startswith(f"render/{variant}/") for name in CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_rendered_file_is_tidy(name: str) -> None:
    text = CASES[name]
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\t" not in text
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert "{{" not in text
    assert "{%" not in text
    assert "PRIVATE KEY" not in text
