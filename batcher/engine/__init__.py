"""Which jobs, how many at once, how fast, and when to stop."""

from .ending import Ending
from .engine import GRACE_SECONDS, Engine
from .rate_limiter import RateLimiter

__all__ = ["GRACE_SECONDS", "Ending", "Engine", "RateLimiter"]
