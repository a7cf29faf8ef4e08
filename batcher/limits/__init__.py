"""How fast: requests to the API's host within the stated limits and those that it turns out to have."""

from .rate_limiter import AHEAD_SECONDS, LONGEST_WAIT, Permit, RateLimiter, SendKind

__all__ = ["AHEAD_SECONDS", "LONGEST_WAIT", "Permit", "RateLimiter", "SendKind"]
