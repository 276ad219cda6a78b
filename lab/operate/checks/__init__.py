"""The lab's acceptance: named checks.

A check says what it looks at, on which machines, and what to look at when it fails. It changes nothing:
the traffic it needs comes from addresses that no persistence template knows yet, which expire from the
client by themselves.
"""

from lab.operate.checks.base import Check, Examination, Outcome, Result, Verdict, examine
from lab.operate.checks.catalogue import CHECKS, named

__all__ = ["CHECKS", "Check", "Examination", "Outcome", "Result", "Verdict", "examine", "named"]
