"""Which jobs, how many at once, and when to stop."""

from .arrivals import Arrivals, ToBuy
from .ending import Ending
from .engine import GRACE_SECONDS, Engine

__all__ = ["GRACE_SECONDS", "Arrivals", "Ending", "Engine", "ToBuy"]
