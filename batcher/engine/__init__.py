"""Which jobs, how many at once, and when to stop."""

from .ending import Ending
from .engine import GRACE_SECONDS, Engine

__all__ = ["GRACE_SECONDS", "Ending", "Engine"]
