"""The one Jinja2 environment of the project."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_PROJECT = Path(__file__).resolve().parents[2]
# Ends the files inside a pushed script; a line like this in a file would end it early.
HERE_END = "LVS_DR_LAB_END_OF_FILE"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader([_PROJECT / "lab" / "templates", _PROJECT / "cloud-init"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  nothing rendered here is HTML; settings refuses what could be markup
    )
    environment.filters["heredoc"] = _heredoc
    # JSON is YAML: the one quoting that is right for every value in a YAML template.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": True}
    return environment


def render(template: str, **values: Any) -> str:
    """Render ``template`` (a file of ``lab/templates`` or ``cloud-init``).

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    return _environment().get_template(template).render(**values)


def _heredoc(text: str) -> str:
    """``text`` as the quoted here-document of a shell script, which the shell does not expand."""
    if re.search(rf"^{HERE_END}$", text, re.MULTILINE):
        raise ValueError(f"a file for a guest holds the line {HERE_END}")
    body = text if text.endswith("\n") else text + "\n"
    return f"<<'{HERE_END}'\n{body}{HERE_END}"
