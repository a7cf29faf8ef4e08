"""The reports' and the post-mortem's fixtures, beside a command line."""

from __future__ import annotations

from integration.report.conftest import local_time, shelf, told

__all__ = ["local_time", "shelf", "told"]
