"""How long work tells the operator what it is doing."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Hears one sentence, without a full stop where something follows."""
