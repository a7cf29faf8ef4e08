"""`batcher report --html`: the figures, charts and the gallery as one HTML file."""

from __future__ import annotations

#: By these words a file is known for a page of batcher, which a newer one may replace.
MARK = '<meta name="generator" content="batcher report">'
