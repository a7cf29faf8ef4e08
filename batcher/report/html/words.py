"""Numbers, sums and times as the page writes them. The same way as the terminal does; local times of this machine."""

from __future__ import annotations

from datetime import datetime


def number(value: int | float | None) -> str:
    """`1,234`; with two digits behind the point where it is no whole number; empty for none."""
    if value is None:
        return ""
    return f"{value:,}" if value == int(value) and isinstance(value, int) else f"{value:,.2f}"


def count(value: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{value:,} {noun}{'s' * (value != 1)}"


def percent(rate: float | None) -> str:
    """A part of one as `12.5 %`; empty for none."""
    return "" if rate is None else f"{rate * 100:.1f} %"


def duration(seconds: float | None) -> str:
    """`3.1 s`, `42 s`, `3 min 05 s`, `2 h 07 min`; empty for none."""
    if seconds is None:
        return ""
    whole = round(max(0.0, seconds))
    if 0 <= seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"


def moment(iso: str | None) -> str:
    """A time of the ledger, local, to the minute; empty for none."""
    return local(iso).strftime("%Y-%m-%d %H:%M") if iso else ""


def local(iso: str) -> datetime:
    """A time of the ledger with this machine's offset."""
    return datetime.fromisoformat(iso).astimezone()
