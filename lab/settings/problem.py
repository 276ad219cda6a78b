"""How a broken rule reads."""

from typing import NamedTuple

from lab import PROJECT
from lab.errors import LabError

NAMESPACE = PROJECT
# Characters of a value and of a rule.
_LONGEST = 80
_LONGEST_RULE = 240


class Problem(NamedTuple):
    """One broken rule, in the words the user sees."""

    key: str
    value: object
    rule: str
    remedy: str

    def __str__(self) -> str:
        value = "(not shown)" if self.key == "auth_pass" else _shown(str(self.value), _LONGEST)
        # A library's own words for what is wrong may have the value in them once more.
        return f"{NAMESPACE}:{self.key} = {value}: {_shown(self.rule, _LONGEST_RULE)}\n    {self.remedy}"


def _shown(text: str, longest: int) -> str:
    """``text`` cut short, and what would move a terminal's cursor or turn its letters round written out."""
    plain = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."


class SettingsError(LabError):
    """The configuration breaks rules; ``problems`` holds each of them."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))
