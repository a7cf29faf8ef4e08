"""From plain data to a Document, with every fault told in our words at its place in the YAML.

pydantic stops at nothing but gives no value when something is wrong. So what was faulty is replaced by a
stand-in and the rest is checked again: the faults of templates, matrix and rows come in the same go.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from batcher.catalog import get_model, model_ids
from batcher.text import did_you_mean

from .problems import Path, Problems, SourceMap, joined, listed
from .schema import PROMPT_TAGS, Document, FileEntry, MatrixSection, TextEntry
from .values import FAULTY, kind_of

# Each round heals what the one before found; faults inside a healed place are at most a few levels deep.
_ROUNDS = 8
# With more faults than this the rest is not looked at: nobody reads them, and each costs time.
_ENOUGH = 1_000
# No name of a variable stands in these.
_NAMELESS = {
    *((key,) for key in ("campaign", "params", "repeat", "tags", "limits", "polling", "retries", "stop", "budget")),
    *(("window",), ("ready_by",)),
}
_ENTRY_KEYS = sorted({*TextEntry.__annotations__, *FileEntry.__annotations__})


#: A template of the empty text.
_NO_PROMPT = "{{ '' }}"


def check_document(data: Any, source_map: SourceMap, problems: Problems) -> tuple[Document, bool] | None:
    """The document, healed where it was faulty; None when there is nothing to go on with.

    Also whether a fault may hide which names the manifest uses: an axis must not be called unused then.
    """
    blind = problems.count > 0
    if not isinstance(data, dict):
        message = f"a manifest is a mapping with the keys {listed(sorted(Document.model_fields))}, not {kind_of(data)}"
        problems.add(source_map.problem((), message))
        return None
    _fill_in_prompts(data)
    for _ in range(_ROUNDS):
        try:
            return Document.model_validate(data), blind
        except ValidationError as error:
            faults = [(path_of(e["loc"]), e) for e in error.errors(include_url=False)]
        blind = blind or any(path[:1] not in _NAMELESS for path, _ in faults)
        for path, fault in faults[:_ENOUGH]:
            _tell(path, fault, source_map, problems)
        if len(faults) > _ENOUGH:
            problems.more += len(faults) - _ENOUGH
            return None
        for path, fault in faults:
            _heal(data, path, fault["type"])
    return None


def _fill_in_prompts(data: dict[str, Any]) -> None:
    """Give the entries of a model that takes no prompt an empty one."""
    entries, known = data.get("prompts"), model_ids()
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and "file" not in entry and "prompt" not in entry:
            model_id = entry.get("model", data.get("model"))
            if model_id in known and get_model(str(model_id)).prompt.is_none:
                entry["prompt"] = _NO_PROMPT


def path_of(loc: tuple[int | str, ...]) -> Path:
    """pydantic's `loc` as a path of the YAML: without the tag of the kind of prompt."""
    if len(loc) > 2 and loc[0] == "prompts" and loc[2] in PROMPT_TAGS:
        loc = (*loc[:2], *loc[3:])
    return tuple(part for part in loc if part != "[key]")


def _keys_at(path: Path) -> list[str]:
    """The keys that are allowed in the mapping at `path`."""
    if path[:1] == ("prompts",):
        return _ENTRY_KEYS
    model: type[BaseModel] = Document
    for part in path:
        inner = model.model_fields[str(part)].annotation
        for each in (inner, *get_args(inner)):  # `Section`, or `Section | None`
            if isinstance(each, type) and issubclass(each, BaseModel):
                model = each
    return list(model.model_fields)


def _tell(path: Path, fault: Any, source_map: SourceMap, problems: Problems) -> None:
    dotted = _dotted(path)
    match fault["type"]:
        case "manifest":
            context = fault["ctx"]
            message = f"{dotted}: {context['message']}" if dotted else context["message"]
            if path == ("polling",) and "every" in fault["input"]:
                path = ("polling", "every")
            problems.add(source_map.problem(path, message, hint=context["hint"]))
        case "extra_forbidden":
            name = str(path[-1])
            allowed = _keys_at(path[:-1])
            where = f" in {_dotted(path[:-1])}" if path[:-1] else ""
            hint = joined(_belongs(name, path) or did_you_mean(name, allowed), f"allowed: {listed(sorted(allowed))}")
            problems.add(source_map.problem(path, f"unknown key {name!r}{where}", hint=hint, key=True))
        case "missing":
            where = _dotted(path[:-1])
            hint = ""
            if where and path[-1] == "prompt":
                message = f"{where} has no `prompt` and no `file`"
                if isinstance(fault["input"], dict) and not fault["input"].keys() & set(_ENTRY_KEYS):
                    hint = "a text with ': ' in it needs quotes, straight ones"
            else:
                message = f"the key {path[-1]!r} is missing{' in ' + where if where else ''}"
                hint = f"every manifest has {listed(['campaign', 'model', 'prompts'])}"
                hint = f"it has {listed(_keys_at(path[:-1]))}" if where else hint
            problems.add(source_map.problem(path[:-1], message, hint=hint))
        case "too_short":
            problems.add(source_map.problem(path, f"{dotted}: must have at least one entry"))
        case "too_long":
            most = fault["ctx"]["max_length"]
            problems.add(source_map.problem(path, f"{dotted}: has {len(fault['input']):,} entries; at most {most:,}"))
        case kind:
            wanted = {"list_type": "a list", "dict_type": "a mapping", "model_type": "a mapping"}.get(kind)
            message = f"must be {wanted}, not {kind_of(fault['input'])}" if wanted else str(fault["msg"])
            hint = "remove the line or give it a value" if fault["input"] is None else ""
            problems.add(source_map.problem(path, f"{dotted}: {message}", hint=hint))


def _belongs(name: str, path: Path) -> str:
    """Where a key belongs that stands in the wrong place."""
    if path[:1] == ("prompts",) and name in FileEntry.__annotations__:
        return "it goes with `file`"
    if len(path) > 1 and name in Document.model_fields:
        return f"`{name}` belongs at the top"
    for section, field in Document.model_fields.items():
        inner = field.annotation
        if not isinstance(inner, type) or not issubclass(inner, BaseModel) or inner is MatrixSection:
            continue
        if name in inner.model_fields and section != path[0]:
            return f"it belongs under `{section}`"
    if any(name in get_model(model_id).params for model_id in model_ids()):
        return "it belongs under `params`"
    return ""


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _heal(data: Any, path: Path, kind: str) -> None:
    """Replaces what is faulty by something that passes and is known as a stand-in."""
    if path[:2] == ("budget", "allowance"):
        path = path[:2]  # neither of its keys has a stand-in
    *way, last = path if path else (None,)
    parent = data
    for part in way:
        try:
            parent = parent[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(parent, list) and isinstance(last, int):
        parent[last] = {"?": FAULTY} if way[-1] in ("include", "exclude") else FAULTY
    elif isinstance(parent, dict) and isinstance(last, str):
        if kind == "extra_forbidden":
            parent.pop(last, None)
        elif last == "prompts" and not way:
            parent[last] = [FAULTY]
        elif path in (("campaign",), ("model",)) or last in ("prompt", "file", "model") or _holds_values(way):
            parent[last] = FAULTY
        elif way and way[-1] == "matrix" and last not in ("include", "exclude"):
            parent[last] = [FAULTY]
        else:
            parent.pop(last, None)


def _holds_values(way: list[Any]) -> bool:
    in_list = len(way) > 1 and way[-2] in ("include", "exclude")
    return bool(way) and (way[-1] in ("params", "vars") or in_list)
