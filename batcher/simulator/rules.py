"""What the API accepts: create bodies against the catalogue, uploads against their bytes. Pure functions.

The pages leave open what happens to unknown fields and values out of range (rivya-api.md section 12); here they
are refused, because that is the reading that shows a client's mistakes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from batcher.catalog import Model, find_model, unchecked_model

from .records import Json, StoredUpload, invalid

#: Bytes and MIME types by kind where no model says otherwise (rivya-api.md section 4).
DEFAULT_LIMITS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "image": (10_000_000, ("image/jpeg", "image/png", "image/webp")),
    "video": (50_000_000, ("video/mp4", "video/quicktime", "video/webm")),
    "audio": (10_000_000, ("audio/mpeg", "audio/mp4", "audio/wav", "audio/x-wav", "audio/aac", "audio/ogg")),
}

#: Characters of a `client_request_id` (rivya-api.md section 4).
MAX_REQUEST_ID = 128

_ITEM_FIELDS = {"url", "kind", "name", "mimeType", "durationSeconds", "durationToken"}
_WIRE_TYPES: Mapping[str, tuple[type, ...]] = {"number": (int, float), "array": (list,)}  # else a text


def model_of(request: Json, unknown: str) -> Model | None:
    """The model that a create names; one without a file takes anything and makes `unknown` (None where that is "")."""
    name, params = request.get("model"), request.get("params", {})
    model = find_model(name) if isinstance(name, str) else None
    if model is None and unknown and isinstance(name, str) and isinstance(params, dict):
        written = {key: [value] for key, value in params.items() if key != "referenceMediaItems"}
        return unchecked_model(name, written).model_copy(update={"result": unknown})
    return model


def read_create(
    body: bytes, find_upload: Callable[[str], StoredUpload | None], unknown: str = ""
) -> tuple[Model, Json]:
    """The model and the read body of a create call; `unknown` as in `model_of`. Raises Rejection (`validation_failed`).

    `find_upload` gives the upload that a URL names, and raises Rejection if that has expired.
    """
    try:
        request = json.loads(body.decode())
    except ValueError:
        raise invalid("The body is not JSON in UTF-8.") from None
    if not isinstance(request, dict):
        raise invalid("The body is not a JSON object.")
    strange = set(request) - {"model", "prompt", "params", "client_request_id"}
    if strange:
        raise invalid(f"Not accepted at the top level: {', '.join(sorted(strange))}.")
    prompt, params = request.get("prompt"), request.get("params", {})
    model = model_of(request, unknown)
    if model is None:
        raise invalid(f"Unknown model: {request.get('model')!r}.")
    check_request_id(request.get("client_request_id", ""))
    if model.prompt.is_none and prompt:
        raise invalid(f"{model.id} takes no prompt.")
    if not model.prompt.is_none and (not isinstance(prompt, str) or len(prompt) < model.prompt.min):
        raise invalid("A prompt is required.")
    if prompt and model.prompt.max is not None and len(prompt) > model.prompt.max:
        raise invalid(f"The prompt is longer than {model.prompt.max} characters.")
    if not isinstance(params, dict):
        raise invalid("params is not an object.")
    for key, value in params.items() if find_model(model.id) else ():
        if key == "referenceMediaItems":
            _check_references(model, value, find_upload)
        else:
            _check_param(model, key, value)
    if lacking := [name for name, rule in model.params.items() if rule.required and name not in params]:
        raise invalid(f"params.{lacking[0]} is required.")
    return model, request


def check_request_id(value: object) -> None:
    """Raises Rejection when a `client_request_id` is no text or too long."""
    if not isinstance(value, str) or len(value) > MAX_REQUEST_ID:
        raise invalid(f"client_request_id must be a text of at most {MAX_REQUEST_ID} characters.")


def _check_param(model: Model, key: str, value: Any) -> None:
    rule = model.params.get(key)
    if rule is None:
        raise invalid(f"params.{key} is not known to {model.id}.")
    # The model pages fix the JSON type as well: "6" for a number param is a client's mistake.
    if not isinstance(value, str | int | float | list) or type(value) not in _WIRE_TYPES.get(rule.type, (str,)):
        raise invalid(f"params.{key} has the wrong JSON type; it takes {rule.allowed}.")
    try:
        wire: Callable[[Any], object] = rule.wire
        wire(value)
    except ValueError as error:
        raise invalid(f"params.{key} {error}.") from None


def _check_references(model: Model, items: object, find_upload: Callable[[str], StoredUpload | None]) -> None:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise invalid("params.referenceMediaItems is not a list of objects.")
    if wrong := model.references.fault([str(item.get("kind")) for item in items]):
        raise invalid(f"{model.id} takes {wrong}.")
    for item in items:
        unknown = set(item) - _ITEM_FIELDS
        if unknown:
            raise invalid(f"params.referenceMediaItems has unknown fields: {', '.join(sorted(unknown))}.")
        url, kind = item.get("url"), item.get("kind")
        if not isinstance(url, str):
            raise invalid("params.referenceMediaItems[].url is required.")
        if kind not in model.references.kinds:
            raise invalid(f"{model.id} takes no reference of kind {kind!r}.")
        upload = find_upload(url)
        if upload is None and urlsplit(url).scheme != "https":
            raise invalid("params.referenceMediaItems[].url is neither an upload nor an https URL.")
        if upload is not None and upload.kind != kind:
            raise invalid(f"The upload is of kind {upload.kind}, not {kind}.")
        if upload is not None and item.get("durationToken") != upload.duration_token:
            raise invalid("params.referenceMediaItems[].durationToken is not the one that the upload was given.")


def media_type(data: bytes) -> str | None:
    """The MIME type that the first bytes give away, whatever the file is called."""
    for signature, mime in (
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"OggS", "audio/ogg"),
        (b"ID3", "audio/mpeg"),
        (b"\xff\xfb", "audio/mpeg"),
        (b"\xff\xf1", "audio/aac"),
    ):
        if data.startswith(signature):
            return mime
    if data[4:8] == b"ftyp":
        return {b"qt  ": "video/quicktime", b"M4A ": "audio/mp4"}.get(data[8:12], "video/mp4")
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/x-matroska" if b"matroska" in data[:64] else "video/webm"
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12])
    return None


def check_upload(kind: str, model_id: str | None, data: bytes) -> str:
    """The MIME type of an upload. Raises Rejection when kind, size or bytes are not what may be sent.

    Which code a wrong file gets is not documented; `validation_failed` is the only one that fits.
    """
    if kind not in DEFAULT_LIMITS:
        raise invalid(f"kind must be one of {', '.join(DEFAULT_LIMITS)}.")
    max_bytes, mime_types = DEFAULT_LIMITS[kind]
    if model_id is not None:
        if (model := find_model(model_id)) is None:
            raise invalid(f"Unknown model: {model_id!r}.")
        rule = model.references.kinds.get(kind)
        if rule is None:
            raise invalid(f"{model_id} takes no file of kind {kind}.")
        max_bytes, mime_types = rule.max_bytes, rule.mime_types
    if not data:
        raise invalid("The file is empty.")
    if len(data) > max_bytes:
        raise invalid(f"The file is larger than {max_bytes} bytes.")
    mime = media_type(data)
    if mime not in mime_types:
        raise invalid(f"The file's bytes are {mime or 'of an unknown type'}; allowed: {', '.join(mime_types)}.")
    return mime


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart/form-data body."""

    filename: str | None
    data: bytes


def read_multipart(content_type: str, body: bytes) -> dict[str, Part]:
    """The parts of a multipart/form-data body by name (RFC 7578). Raises Rejection with `validation_failed`."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise invalid("The body is not multipart/form-data.")
    mark = b"\r\n--" + boundary.encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise invalid("The multipart body is not complete.")
    parts = {}
    for piece in pieces[1:-1]:
        head, found, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        text = head.decode("utf-8", "replace")
        name = re.search(r'[; ]name="([^"]*)"', text)
        if not found or name is None:
            raise invalid("A part of the multipart body has no name.")
        filename = re.search(r'[; ]filename="([^"]*)"', text)
        parts[name[1]] = Part(filename[1] if filename else None, data)
    return parts


def metered(model: Model, request: Json) -> int:
    """How many times the base price a request costs whose model is not FIXED: once each 200 characters begun.

    No page says how such a price comes about; it is only to differ from job to job.
    """
    spoken = request.get("prompt") or json.dumps(request.get("params", {}).get("dialogue", ""))
    return 1 if model.billing == "FIXED" else math.ceil(len(spoken) / 200) or 1


def describe(model: Model) -> Json:
    """A model's entry in GET /api/v1/models (rivya-api.md section 6).

    The shapes of `params` and `reference_media` are not documented; these follow the model pages' tables.
    """
    kinds = model.references.kinds
    takes_files = model.references.max_files > 0
    return {
        "id": model.id,
        "display_name": model.id.replace("-", " ").title(),
        "category": model.result,
        "runtime": "async_task",
        "base_credits": model.base_credits,
        "billing_type": model.billing,
        "supported_modes": [f"{kind}-to-{model.result}" for kind in ("text", *kinds)],
        "max_prompt_length": model.prompt.max,
        "reference_media": {
            "max_files": model.references.max_files,
            "kinds": {kind: rule.model_dump(mode="json") for kind, rule in kinds.items()},
        }
        if takes_files
        else None,
        "params": [
            {"key": name, **rule.model_dump(mode="json", exclude_none=True, exclude={"when"})}
            for name, rule in model.params.items()
        ],
        "api_status": "available",
        "api_input_status": "partial_requires_files" if takes_files else "available_text",
        "supported_api_inputs": ["text", "file"] if takes_files else ["text"],
        "requires_files_api": False,
        "requires_upload_for_modes": [f"{kind}-to-{model.result}" for kind in kinds],
        "url_input_supported": takes_files,
        "file_kinds": list(kinds),
        "chat_capabilities": None,
        "notices": [],
    }
