"""Model files made of the API's own list of models, for a person to look through. Pure, and total over anything.

Where the list says less than the catalogue the catalogue's rules stay, and what a job is never moves: frozen defaults
(`identity_defaults`) are those of the file that there is.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from . import MODEL_ID, Model, get_model, model_ids, source_text
from .drift import differences
from .served import BILLINGS, bounds_of, first, number_of, options_of, specs_of, text_of

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_RESULTS = ("video", "image", "audio")
#: Bytes and MIME types of a reference where no model says otherwise (docs/api-files).
_LIMITS: Mapping[str, tuple[int, list[str]]] = {
    "image": (10_000_000, ["image/jpeg", "image/png", "image/webp"]),
    "video": (50_000_000, ["video/mp4", "video/quicktime", "video/webm"]),
    "audio": (10_000_000, ["audio/mpeg", "audio/mp4", "audio/wav", "audio/x-wav", "audio/aac", "audio/ogg"]),
}
#: What moves no price, whatever it is called.
_FREE = re.compile(r"seeds?|.*watermark.*|.*nsfw.*|.*safety.*", re.IGNORECASE)


class Synced(NamedTuple):
    """What became of an entry: `new`, `changed`, `same` or `skipped`, in words why, and the text of a file, if any."""

    id: str
    state: str
    notes: tuple[str, ...] = ()
    text: str = ""


def sync(entry: Mapping[str, object]) -> Synced:
    """Hold an entry of the API's list against the catalogue, and make the file that would follow it."""
    name, kind = entry.get("id"), entry.get("category")
    if not isinstance(name, str) or not MODEL_ID.fullmatch(name):
        return Synced(text_of(name) or "?", "skipped", ("its id cannot be the name of a file",))
    known = name in model_ids()
    if not known and kind not in _RESULTS:
        return Synced(name, "skipped", (f"it makes no video, image or audio ({text_of(kind) or 'nothing is said'})",))
    if not known and (status := text_of(entry.get("api_status"))) not in ("", "available"):
        return Synced(name, "skipped", (f"the API does not take it ({status})",))
    notes = differences(get_model(name), entry) if known else []
    data = _followed(name, entry) if known else _new(name, entry)
    if known:
        notes += (f"{each}: no such param in the catalogue" for each in data["params"] if each not in _params(name))
        if not notes:
            return Synced(name, "same")
    text = toml(data)
    try:
        Model.model_validate(tomllib.loads(text))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        return Synced(name, "skipped", (*notes, f"no file can be made of it: {where}: {fault['msg']}"))
    except tomllib.TOMLDecodeError as error:  # two names that differ in what no file can hold
        return Synced(name, "skipped", (*notes, f"no file can be made of it: {error}"))
    return Synced(name, "changed" if known else "new", tuple(notes), text)


def _params(name: str) -> Mapping[str, object]:
    return get_model(name).params


def _followed(name: str, entry: Mapping[str, object]) -> dict[str, Any]:
    """The file that there is, with what the API says of it."""
    data: dict[str, Any] = {"params": {}, "identity_defaults": {}, **tomllib.loads(source_text(name))}
    data |= _head(entry)
    if (longest := _longest(entry)) and data.get("prompt", {}).get("max") != 0:
        data["prompt"] = {"min": 1, **data.get("prompt", {}), "max": longest}
    for param, spec in specs_of(entry.get("params")).items():
        made = _param(spec)
        if param not in data["params"]:
            _add(data, param, made)
            continue
        rule = data["params"][param]
        for key in ("options", "min", "max", "step", "default"):
            if key in made and (key in rule or made["type"] == rule["type"]) and _fits(rule, key, made[key]):
                rule[key] = made[key]
    return data


def _fits(rule: Mapping[str, Any], key: str, value: object) -> bool:
    """Whether what the API says can stand in a param of this type: a rule never changes its type on the wire."""
    if key == "options":
        return bool(rule["type"] == "select")
    if key == "default":
        return isinstance(value, str) == (rule["type"] in ("select", "text"))
    return bool(rule["type"] == "number")


def _new(name: str, entry: Mapping[str, object]) -> dict[str, Any]:
    data: dict[str, Any] = {"id": name, "result": entry["category"], "base_credits": 1, **_head(entry)}
    data |= {"prompt": {"min": 1}, "identity_defaults": {}, "params": {}}
    if longest := _longest(entry):
        data["prompt"]["max"] = longest
    for param, spec in specs_of(entry.get("params")).items():
        _add(data, param, _param(spec))
    priced = [p for p, rule in data["params"].items() if rule["type"] != "text" and not _FREE.fullmatch(p)]
    if references := _references(entry):
        data |= {"references": references, "price_reference": True}
    return data | {"price_params": priced}


def _add(data: dict[str, Any], param: str, made: dict[str, Any]) -> None:
    data["params"][param] = made
    if "default" in made:
        data["identity_defaults"][param] = made["default"]  # frozen from here on


def _head(entry: Mapping[str, object]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    credits_, billing = number_of(first(entry, ("base_credits", "baseCredits"))), entry.get("billing_type")
    if credits_ is not None and credits_ >= 1:
        found["base_credits"] = int(-(-credits_ // 1))
    if billing in BILLINGS:
        found["billing"] = billing
    return found


def _longest(entry: Mapping[str, object]) -> int | None:
    longest = number_of(first(entry, ("max_prompt_length", "maxPromptLength")))
    return int(longest) if longest and longest > 0 else None


def _param(spec: Mapping[str, object]) -> dict[str, Any]:
    """A param as its spec has it: a select where options are said, a number where bounds are, else a text."""
    options, bounds = options_of(spec), bounds_of(spec)
    default = first(spec, ("default", "default_value", "defaultValue"))
    made: dict[str, Any] = {}
    if options:
        made = {"type": "select", "options": list(dict.fromkeys(options))}
        default = text_of(default) if text_of(default) in options else None
    elif bounds or text_of(spec.get("type")) in ("number", "integer", "float"):
        made = {"type": "number"} | bounds
        default = number_of(default)
    else:
        made = {"type": "text"}
        default = text_of(default) or None
    if default is not None:
        made["default"] = default
    return made | ({"required": True} if spec.get("required") is True else {})


def _references(entry: Mapping[str, object]) -> dict[str, Any]:
    media = entry.get("reference_media")
    if not isinstance(media, dict):
        return {}
    listed = entry.get("file_kinds")
    kinds = [kind for kind in _LIMITS if isinstance(listed, list) and kind in listed]
    most = number_of(first(media, ("max_files", "maxFiles", "max"))) or 1
    limits = {kind: {"max_bytes": _LIMITS[kind][0], "mime_types": _LIMITS[kind][1]} for kind in kinds}
    return {"max_files": max(1, int(most)), **limits} if kinds else {}


def toml(data: Mapping[str, Any]) -> str:
    """Plain data as TOML."""
    return "\n".join(_lines(data, ())).strip() + "\n"


def _lines(data: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {name: value for name, value in data.items() if isinstance(value, dict)}
    if path and (len(tables) < len(data) or not data):
        yield f"\n[{'.'.join(map(_key, path))}]"
    for name, value in data.items():
        if name not in tables:
            yield f"{_key(name)} = {_value(value)}"
    for name, value in tables.items():
        yield from _lines(value, (*path, name))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _json(name)


def _value(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _json(value)


def _json(value: object) -> str:
    """As JSON of what a TOML file may hold: no half of a character."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode().replace("\x7f", "\\u007f")
