"""What all pages are made with: templates that escape, and a policy under which nothing runs but their own script."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from batcher.text import count, moment, number

from . import MARK


def render(template: str, *, scripts: tuple[str, ...] = (), style: str, **values: Any) -> str:
    """A page of `templates`, with scripts and a style of `static`; texts among the values are escaped."""
    script, look = "".join(map(_static, scripts)), _static(style)
    return str(
        _environment()
        .get_template(template)
        .render(
            mark=Markup(MARK),  # noqa: S704
            policy=_policy(script, look),
            script=Markup(script),  # noqa: S704  (batcher's own, as is the style)
            style=Markup(look),  # noqa: S704
            **values,
        )
    )


def _policy(script: str, style: str) -> str:
    """Nothing but the script and the style in the page, and pictures and films from where it lies itself."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'" if script else "script-src 'none'",
            f"style-src '{_hash(style)}'",
            "img-src 'self' file:",
            "media-src 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _static(name: str) -> str:
    return (resources.files(__package__) / "static" / name).read_text("utf-8")


def _template(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(number=number, moment=moment, count=count, money=lambda amount: f"{amount:,}")
    return made
