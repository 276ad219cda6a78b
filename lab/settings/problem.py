"""How a broken rule reads."""

from typing import NamedTuple

from lab import PROJECT
from lab.errors import LabError

NAMESPACE = PROJECT
_LONGEST = 80


class Problem(NamedTuple):
    """One broken rule, in the words the user sees."""

    key: str
    value: object
    rule: str
    remedy: str

    def __str__(self) -> str:
        shown = "(not shown)" if self.key == "auth_pass" else str(self.value)
        if len(shown) > _LONGEST:
            shown = shown[: _LONGEST - 3] + "..."
        return f"{NAMESPACE}:{self.key} = {shown}: {self.rule}\n    {self.remedy}"


class SettingsError(LabError):
    """The configuration breaks rules; ``problems`` holds each of them."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))
