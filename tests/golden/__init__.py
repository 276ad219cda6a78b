"""Comparison with golden files; ``tests/conftest.py`` says how they are written again."""

import os
from pathlib import Path

HERE = Path(__file__).parent


def check(name: str, text: str) -> None:
    """Fail unless ``text`` is what the golden file ``name`` holds, to the byte."""
    file = HERE / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert file.exists(), f"{name} is missing: UPDATE_GOLDEN=1 writes it"
    assert text == file.read_text(encoding="utf-8"), f"differs from tests/golden/{name}"


def names(folder: str) -> set[str]:
    """Every file below ``folder``, as ``check`` calls it."""
    return {str(file.relative_to(HERE)) for file in (HERE / folder).rglob("*") if file.is_file()}
