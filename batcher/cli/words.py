"""Numbers, sums and times in words."""

from __future__ import annotations

from datetime import UTC, datetime


def number(value: int) -> str:
    """`1,234`."""
    return f"{value:,}"


def count(value: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{value:,} {noun}{'s' * (value != 1)}"


def amount(value: int) -> str:
    """`10 credits`."""
    return count(value, "credit")


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"


def moment(iso: str | None) -> str:
    """A time of the ledger in this machine's local time, to the second; empty for none."""
    if not iso:
        return ""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def now() -> str:
    """This moment, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
