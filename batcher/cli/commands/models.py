"""`batcher models`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from batcher.catalog import Model, Param, get_model, model_ids, source
from batcher.cli import options
from batcher.cli.terminal import Terminal, table
from batcher.text import count, number, safe


@click.command()
@click.argument("model_id", metavar="[MODEL]", required=False)
@click.option(
    "--sync",
    is_flag=True,
    help="Ask the API for its list, show what differs, and write files of that for review; buys nothing.",
)
@options.as_json
def command(terminal: Terminal, *, model_id: str | None, sync: bool) -> int:
    """List the models of the catalogue, or all about one. Offline, unless --sync."""
    if sync:
        if model_id:
            raise click.UsageError("--sync asks for all models: name none beside it")
        from batcher.cli.model_sync import show_sync  # brings the HTTP client along

        return show_sync(terminal)
    models = [get_model(each) for each in ([model_id] if model_id else model_ids())]
    shown = _one(models[0]) if model_id else [_list(models), *_own(models)]
    terminal.answer({"models": [_json(model) for model in models]}, *shown)
    return 0


def _list(models: list[Model]) -> RenderableType:
    headers = ("model", "makes", "credits from", "params", "references")
    rows = ((m.id, m.result, m.base_credits, ", ".join(m.params), _references(m)) for m in models)
    return table(headers, rows)


def _own(models: list[Model]) -> Iterator[RenderableType]:
    for model in models:
        if path := source(model.id):
            yield f"{safe(model.id)} is your own: {safe(path)}"


def _one(model: Model) -> Iterator[RenderableType]:
    yield Text(model.id, "bold")
    yield from _own([model])
    yield f"  makes       {model.result}"
    told = (
        "at least; the API names the price when it is bought"
        if model.is_unpriced
        else "the price of the default settings"
    )
    yield f"  credits     from {number(model.base_credits)}: {told}"
    least, most = model.prompt.min, model.prompt.max
    length = f"at least {count(least, 'character')}" if most is None else f"{least} to {number(most)} characters"
    yield f"  prompt      {'none' if model.prompt.is_none else length}"
    yield f"  references  {_references(model)}"
    for kind, rule in model.references.kinds.items():
        yield f"              {kind}s of at most {number(rule.max_bytes)} bytes: {', '.join(rule.mime_types)}"
    yield ""
    rows = (
        (
            name,
            _allowed(param),
            _default(model, name),
            "yes" if name in model.price_params else "",
        )
        for name, param in model.params.items()
    )
    yield table(("param", "allowed", "default", "moves the price"), rows)
    if model.price_reference:
        yield "A reference may move the price too."


def _references(model: Model) -> str:
    rule = model.references
    if not rule.max_files:
        return "none"
    words = f"at most {count(rule.max_files, ' or '.join(rule.kinds))}"
    return f"{words} ({', '.join(rule.order)})" if rule.order else words


def _allowed(param: Param) -> str:
    return param.allowed if param.when == "always" else f"{param.allowed} (used without a reference)"


def _default(model: Model, name: str) -> str:
    value = model.default(name)
    if value is None:
        return "required" if model.params[name].required else "none"
    return str(value)


def _json(model: Model) -> dict[str, Any]:
    """A model as docs/json.md has it."""
    params = {}
    for name, param in model.params.items():
        rule = param.model_dump(exclude={"default"})
        params[name] = rule | {"default": model.default(name), "moves_price": name in model.price_params}
    return {
        "id": model.id,
        "file": None if (path := source(model.id)) is None else str(path),
        "result": model.result,
        "base_credits": model.base_credits,
        "billing": model.billing,
        "prompt": model.prompt.model_dump(),
        "params": params,
        "references": model.references.model_dump(),
        "reference_moves_price": model.price_reference,
    }
