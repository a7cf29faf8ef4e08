"""How the API shows what it has: tasks and uploads as JSON. Pure functions.

What a task has cost is in the world's books; how much of it an answer admits to is a switch.
"""

from __future__ import annotations

import math
import random

from .records import Json, StoredUpload, Task, iso
from .switches import Said, Switches


def show_task(task: Task, now: float, switches: Switches, url: str | None) -> Json:
    """A task (rivya-api.md sections 2 and 3); `url` is its result's, if it has one."""
    status, skew = task.status(now), switches.clock_skew
    final = _figure("final_credits", task.final if now >= task.finished_at else 0, "truth")
    lag = random.Random(task.id).uniform(*switches.settle_seconds)  # noqa: S311 (repeatable on purpose)
    if status == "succeeded" and now < task.finished_at + lag:
        final = _figure("final_credits", task.final, switches.final_says)
    return {
        "id": task.id,
        "status": status,
        "model": task.request["model"],
        **_figure("reserved_credits", task.reserved, switches.reserved_says),
        **final,
        "created_at": iso(task.at + skew),
        "updated_at": iso(task.updated_at(now) + skew),
        "result": {"primary_url": url, "urls": [url]} if url else None,
        "error": {"code": switches.fail_code, "message": "The generation failed."} if status == "failed" else None,
    }


def _figure(name: str, truth: int, says: Said) -> Json:
    match says:
        case "truth":
            return {name: truth}
        case "null":
            return {name: None}
        case "absent":
            return {}
        case _:
            return {name: math.floor(truth * float(says))}


def show_upload(upload: StoredUpload, now: float, switches: Switches, base: str) -> Json:
    """A file's metadata. Only `url` and `duration_token` are established names; the rest is a guess."""
    lifetime, signed = switches.upload_lifetime, switches.upload_url_lifetime
    until = "" if signed is None else f"?until={now + signed:.3f}"
    return {
        "id": upload.id,
        "url": f"{base}/uploads/{upload.token}/{upload.id}.{upload.mime.partition('/')[2]}{until}",
        "kind": upload.kind,
        "mime_type": upload.mime,
        "size": upload.size,
        "name": upload.name,
        "duration_token": upload.duration_token,
        "created_at": iso(upload.at),
        "expires_at": None if lifetime is None else iso(upload.at + lifetime),
    }
