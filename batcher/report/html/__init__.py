"""`batcher report --html`: the figures, charts and the gallery as one HTML file. Needs the extra `report`.

The libraries that it needs are loaded only when a page is made.
"""

from __future__ import annotations

from importlib.util import find_spec

from batcher.errors import UsageError
from batcher.install import install_hint

#: By these words a file is known for a page of ours, which a newer one may replace.
MARK = '<meta name="generator" content="batcher report">'
_NEEDED = ("altair", "vl_convert")


def need_extra() -> None:
    """Raises UsageError when the extra is not installed."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UsageError(f"--html needs what is not installed ({', '.join(missing)})", hint=install_hint("report"))
