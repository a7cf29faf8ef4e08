"""A key taken out of texts, however somebody has written it."""

from __future__ import annotations

import base64
import json
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "[key]"
#: A shorter key could stand in any text by chance, so that nobody could tell it from one.
SHORTEST_KEY = 8


def without(text: str, key: str) -> str:
    """The text without the key: as it is, in a URL, in JSON, as Python shows it, in Base64, in any case."""
    return _forms(key).sub(MASK, text)


@lru_cache(maxsize=4)  # every text of every answer passes here
def _forms(key: str) -> re.Pattern[str]:
    if len(key) < SHORTEST_KEY:  # refused as a key; the message that says so has to stay readable
        return re.compile(rf"(?<!\w){re.escape(key)}(?!\w)", re.IGNORECASE)
    encoded = base64.b64encode(key.encode()).decode().rstrip("=")[:-1]
    forms = {key, quote(key), quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1], repr(key)[1:-1], encoded}
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
