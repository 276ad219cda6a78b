"""The one exception that a user is meant to read."""


class LabError(Exception):
    """Something the user can fix.

    The text names the setting or machine, its value, the rule it breaks and the remedy, in one or
    two lines. Front ends print it without a traceback and exit with ``status``.
    """

    def __init__(self, text: str, *, status: int = 1) -> None:
        super().__init__(text)
        self.status = status
