"""What is believed of the API's answer about an upload (section 4 of rivya-api.md: no page prints it whole)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_KINDS = ("image", "video", "audio")
_TYPE = re.compile(r"(image|video|audio)/[a-z0-9.+-]{1,60}")
_LONGEST_URL = 65536


def usable_url(url: str | None) -> bool:
    """Whether a URL can be named in a create: of the web, with a host, without what no URL holds."""
    if not url or len(url) > _LONGEST_URL or "\\" in url or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def echoed(kind: str, mime: str, says_kind: str | None, says_mime: str | None) -> tuple[str, str] | None:
    """Kind and type under which an upload is named, from what was sent and what the API says of it.

    None when it took the file for something else: a create would buy what nobody asked for. The API may have made
    another type of the same kind of it; what is no kind or type at all is passed over. Sound and film share containers,
    so a type alone does not tell these two apart.
    """
    told, of = says_kind if says_kind in _KINDS else None, _TYPE.fullmatch(says_mime or "")
    if told and told != kind:
        return None
    if of is None:
        return kind, mime
    if of[1] == kind:
        return kind, of[0]
    if told or {of[1], kind} == {"audio", "video"}:
        return kind, mime
    return None
