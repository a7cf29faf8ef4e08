"""What can be a key at all. Apart from the client, which is slow to import and needed by few commands."""

from __future__ import annotations

from batcher.errors import UsageError
from batcher.redact import SHORTEST_KEY


def check_key(key: str, named: str = "the API key") -> None:
    """Raises UsageError for what cannot be a key; its text is in no message. `named` says where it comes from."""
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(f"{named} has characters that a key cannot have", hint="Copy it again, without spaces.")
    if len(key) < SHORTEST_KEY:
        raise UsageError(f"{named} is shorter than {SHORTEST_KEY} characters", hint="Copy it again, all of it.")
