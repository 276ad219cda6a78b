"""Challenges: hidden faults to find and to mend."""

from lab.operate.challenges.base import Challenge, Fix
from lab.operate.challenges.catalogue import CHALLENGES

__all__ = ["CHALLENGES", "Challenge", "Fix"]
