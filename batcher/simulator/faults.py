"""Faults to order: what goes wrong, with which requests, how often. Repeatable by seed.

A rule is a JSON object or a short text. These are the same::

    {"on": "create", "do": "lost", "rate": 0.05, "times": 3}
    create:lost:rate=0.05,times=3

| do          | what happens |
|---|---|
| delay       | `seconds` pass before the request is processed (with `after`: before its answer) |
| status      | an error answer with `status` and `code`; nothing is processed (with `after`: it is, all the same) |
| 429         | `rate_limited`, with Retry-After of `seconds` in the form `retry_after`, a switch's name for it |
| html        | a proxy's HTML page with `status` (200 unless said otherwise); nothing is processed (`after` as above) |
| say         | an answer of `status` (202) and `text` (none), and `location` as its Location; `after` as above |
| lost_before | the connection is closed before anything is processed |
| lost        | processed, then the connection is closed without an answer |
| cut         | processed, then the connection is closed half-way through the answer's body |
| garble      | processed, then the answer is complete but its bytes are wrong: half a JSON text, no video |
| patch       | processed, then the fields of `body` replace those of the answer, and those of `omit` are left out |
| twin        | create: processed, but the answer names the account's first task |
| drip        | processed, then half of the answer comes at once and the rest a byte every `seconds` |
| unsized     | processed, then the answer announces no length (a `cut` with `unsized` ends as if it were whole) |
| encode      | processed, then the answer comes in `encoding` (gzip, deflate); with `lie` it only says so |
| expire      | create, upload, file: all uploads are gone; result: this URL is dead; status: so is the one it gives |

`on` names a kind of request, several (`create+status`) or all (`*`). Which of them: `nth` (numbers, counted from 1
among those that `on` names), `every` k-th, or a share, `rate`; none of them means all. With `prompt`, only those about
a job whose prompt contains that text. At most `times` in all, and `each` times for one key, task or file. `reset` makes
a closing an abrupt one (RST). A text holds no value with a comma in it; write such a rule as an object. A garbled part
of a result comes as a 200 without an ETag: wrong bytes that a right ETag vouches for could be told by nobody.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .records import KINDS
from .switches import RETRY_AFTER, number, whole

DEEDS = (
    *("delay", "status", "429", "html", "say", "lost_before", "lost", "cut", "garble", "patch", "expire"),
    *("twin", "drip", "unsized", "encode"),
)


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One kind of fault, as the module's table has it. `seconds` in seconds."""

    on: str
    do: str
    nth: frozenset[int] = frozenset()
    every: int = 0
    rate: float | None = None
    times: int | None = None
    seconds: float = 1.0
    status: int | None = None
    code: str = "internal_error"
    retry_after: str = "seconds"
    after: bool = False
    reset: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)
    omit: frozenset[str] = frozenset()
    prompt: str = ""
    each: int | None = None
    text: str = ""
    location: str = ""
    encoding: str = "gzip"
    lie: bool = False
    unsized: bool = False

    @property
    def http_status(self) -> int:
        """The status of the answer that the rule gives."""
        return self.status or {"429": 429, "html": 200, "say": 202}.get(self.do, 500)


def parse(rule: object) -> FaultRule:
    """A rule from a JSON object or a text. Raises ValueError that says what is wrong and what is allowed."""
    fields: dict[str, object]
    if isinstance(rule, str):
        fields = _from_text(rule)
    elif isinstance(rule, Mapping):
        fields = {str(name): value for name, value in rule.items()}
    else:
        raise ValueError(f"fault {rule!r}: must be an object or a text as in create:lost:rate=0.05")
    on, do = fields.pop("on", None), fields.pop("do", None)
    checked: dict[str, Any] = {}
    try:
        if on != "*" and not set(str(on).split("+")) <= set(KINDS):
            raise ValueError(f"on: must be one of {', '.join(KINDS)} or *, or several with +, not {on!r}")
        if do not in DEEDS:
            raise ValueError(f"do: must be one of {', '.join(DEEDS)}, not {do!r}")
        for name, value in fields.items():
            if name not in _READERS:
                raise ValueError(f"unknown field {name!r}; known: on, do, {', '.join(_READERS)}")
            try:
                checked[name] = _READERS[name](value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if len({"nth", "every", "rate"} & set(checked)) > 1:
            raise ValueError("only one of nth, every and rate")
    except ValueError as error:
        raise ValueError(f"fault {rule!r}: {error}") from None
    return FaultRule(on=str(on), do=str(do), **checked)


def parse_all(rules: Iterable[object]) -> list[FaultRule]:
    """All rules, in order. Raises ValueError at the first wrong one."""
    return [parse(rule) for rule in rules]


class Faults:
    """The rules at work. Each counts the requests that it names; of several that apply, the first one acts,
    but every delay is waited out.
    """

    def __init__(self, rules: Iterable[FaultRule] = (), *, seed: int = 1) -> None:
        self.seed = seed
        self.replace(rules)

    def replace(self, rules: Iterable[FaultRule]) -> None:
        """Other rules from now on; they count from the beginning."""
        self.rules = list(rules)
        self._seen = [0] * len(self.rules)
        self._done = [Counter[str]() for _ in self.rules]

    def fire(self, kind: str, subject: str = "", prompt: str = "") -> list[FaultRule]:
        """The rules that apply to the next request of this kind: all its delays, then at most one other.

        `subject` is the key, task or file that it is about, `prompt` that of its job, where it has one.
        """
        fired = [
            rule
            for place, rule in enumerate(self.rules)
            if (rule.on == "*" or kind in rule.on.split("+"))
            and rule.prompt in prompt
            and self._applies(place, subject)
        ]
        delays = [rule for rule in fired if rule.do == "delay"]
        return delays + [rule for rule in fired if rule.do != "delay"][:1]

    def _applies(self, place: int, subject: str) -> bool:
        rule = self.rules[place]
        self._seen[place] += 1
        count, done = self._seen[place], self._done[place]
        if rule.times is not None and done.total() >= rule.times:
            return False
        if rule.each is not None and done[subject] >= rule.each:
            return False
        if rule.nth:
            chosen = count in rule.nth
        elif rule.every:
            chosen = count % rule.every == 0
        elif rule.rate is not None:
            # Drawn from the number alone, so that the same sequence of requests meets the same faults.
            chosen = random.Random(f"{self.seed}/{place}/{count}").random() < rule.rate  # noqa: S311
        else:
            chosen = True
        done[subject] += chosen
        return chosen


def _from_text(text: str) -> dict[str, object]:
    on, _, rest = text.partition(":")
    do, _, options = rest.partition(":")
    fields: dict[str, object] = {"on": on, "do": do}
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        fields[name] = value if equals else True
    return fields


def _numbers(value: object) -> frozenset[int]:
    parts = value.split("+") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    return frozenset(whole(part, 1) for part in parts)


def _flag(value: object) -> bool:
    if value not in (True, False, "true", "false"):
        raise ValueError(f"must be true or false, not {value!r}")
    return value in (True, "true")


def _object(value: object) -> dict[str, Any]:
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise ValueError(f"must be a JSON object, not {value!r}")
    return found


def _style(value: object) -> str:
    if value not in RETRY_AFTER:
        raise ValueError(f"must be one of {', '.join(RETRY_AFTER)}, not {value!r}")
    return str(value)


def _names(value: object) -> frozenset[str]:
    return frozenset(map(str, value.split("+") if isinstance(value, str) else value if isinstance(value, list) else []))


def _positive(value: object) -> int:
    return whole(value, 1)


def _share(value: object) -> float:
    return number(value, 0, 1)


def _status(value: object) -> int:
    return whole(value, 200, 599)


_READERS: Mapping[str, Any] = {
    "nth": _numbers,
    "every": _positive,
    "rate": _share,
    "times": _positive,
    "seconds": number,
    "status": _status,
    "code": str,
    "retry_after": _style,
    "after": _flag,
    "reset": _flag,
    "body": _object,
    "omit": _names,
    "prompt": str,
    "each": _positive,
    "text": str,
    "location": str,
    "encoding": str,
    "lie": _flag,
    "unsized": _flag,
}
