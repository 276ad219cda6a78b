"""From what a stack sets to checked settings."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from lab.errors import LabError
from lab.settings.model import Settings
from lab.settings.problem import NAMESPACE, Problem, SettingsError
from lab.settings.rules import broken


def load(values: Mapping[str, Any]) -> Settings:
    """Check the configuration of a stack and return it.

    Args:
        values: what the stack sets, without the namespace. A composite value may be JSON text, as the
            Pulumi engine passes it. ``""`` stands for "not set" where a key is optional.

    Raises:
        SettingsError: for every broken rule at once.
    """
    parsed = {key: _decoded(key, value) for key, value in values.items()}
    try:
        settings = Settings.model_validate(parsed)
    except ValidationError as error:
        raise SettingsError([_shape_problem(dict(detail)) for detail in error.errors()]) from None
    problems = list(broken(settings))
    if problems:
        raise SettingsError(problems)
    return settings


def stack_values(text: str) -> dict[str, Any]:
    """Configuration of a ``Pulumi.<stack>.yaml``, without the namespace.

    Encrypted values are left out: only the engine can open them, and the program checks them then.

    Raises:
        LabError: the file is not YAML of the expected shape.
    """
    try:
        document = yaml.safe_load(text) or {}
        config = document.get("config") or {}
        items = config.items()
    except (yaml.YAMLError, AttributeError) as error:
        first = str(error).splitlines()[0]
        raise LabError(
            f"the stack's configuration file cannot be read: {first}\n"
            "    Give it a mapping `config:` with keys such as `lvs-dr-lab:vip`."
        ) from None
    return {
        key.removeprefix(f"{NAMESPACE}:"): value
        for key, value in items
        if key.startswith(f"{NAMESPACE}:") and not (isinstance(value, dict) and "secure" in value)
    }


def _is_composite(key: str) -> bool:
    field = Settings.model_fields.get(key)
    if field is None:
        return False
    kinds = (field.annotation, *get_args(field.annotation))
    return any(kind is tuple or getattr(kind, "__origin__", None) is tuple for kind in kinds) or any(
        isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds
    )


def _decoded(key: str, value: Any) -> Any:
    if _is_composite(key) and isinstance(value, str):
        try:
            value = json.loads(value) if value else None
        except json.JSONDecodeError:
            return value
    if key == "sorry_server" and not value:
        return None
    field = Settings.model_fields.get(key)
    if field and field.annotation is str and isinstance(value, int | float) and not isinstance(value, bool):
        # The engine hands over text where YAML makes a number: an interval, a password of digits.
        return f"{value:g}" if isinstance(value, float) else str(value)
    return value


def _shape_problem(detail: dict[str, Any]) -> Problem:
    """Problem for what pydantic found wrong with the shape of a value."""
    location = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        model = _model_at(detail["loc"][:-1])
        names = list(model.model_fields) if model else []
        close = get_close_matches(str(detail["loc"][-1]), names, n=1, cutoff=0.5)
        remedy = f"Did you mean `{close[0]}`?" if close else "Known keys: " + ", ".join(names) + "."
        # Its value may be a password under a misspelt key.
        return Problem(location, "(not shown)", "no such key.", remedy)
    if detail["type"] == "missing":
        return Problem(location, "(nothing)", "this key is required.", "Set it.")
    what = detail["msg"][0].lower() + detail["msg"][1:]
    return Problem(
        location, detail["input"], f"{what}.", "README.md, Configuration, has the form of each key."
    )


def _model_at(location: tuple[Any, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        kinds = [annotation, *get_args(annotation)]
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return None
        model = models[0]
    return model
