"""What is asked of the lab: the stack's configuration and every rule about its values."""

from lab.settings.model import (
    CheckSettings,
    LbAlgo,
    MailSettings,
    Settings,
    SizeSettings,
)
from lab.settings.problem import NAMESPACE, Problem, SettingsError
from lab.settings.reading import load, stack_values

__all__ = [
    "NAMESPACE",
    "CheckSettings",
    "LbAlgo",
    "MailSettings",
    "Problem",
    "Settings",
    "SettingsError",
    "SizeSettings",
    "load",
    "stack_values",
]
