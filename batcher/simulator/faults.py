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
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from .switches import Amount, HttpStatus, Kinds, Positive, RetryAfter, Share, one_of, read, split

DEEDS = (
    *("delay", "status", "429", "html", "say", "lost_before", "lost", "cut", "garble", "patch", "expire"),
    *("twin", "drip", "unsized", "encode"),
)

_Numbers = Annotated[frozenset[Positive], BeforeValidator(lambda value: [value] if isinstance(value, int) else value)]


class FaultRule(BaseModel):
    """One kind of fault, as the module's table has it. `seconds` in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: Kinds
    do: Annotated[str, one_of(*DEEDS)]
    nth: Annotated[_Numbers, split("+")] = frozenset()
    every: Positive | None = None
    rate: Share | None = None
    times: Positive | None = None
    seconds: Amount = 1.0
    status: HttpStatus | None = None
    code: str = "internal_error"
    retry_after: RetryAfter = "seconds"
    after: bool = False
    reset: bool = False
    body: Annotated[dict[str, Any], BeforeValidator(lambda v: json.loads(v) if isinstance(v, str) else v)] = {}
    omit: Annotated[frozenset[str], split("+")] = frozenset()
    prompt: str = ""
    each: Positive | None = None
    text: str = ""
    location: str = ""
    encoding: str = "gzip"
    lie: bool = False
    unsized: bool = False

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> FaultRule:
        if len({"nth", "every", "rate"} & self.model_fields_set) > 1:
            raise ValueError("only one of nth, every and rate")
        return self

    @property
    def http_status(self) -> int:
        """The status of the answer that the rule gives."""
        return self.status or {"429": 429, "html": 200, "say": 202}.get(self.do, 500)


#: What acts where no rule does.
NO_FAULT = FaultRule.model_construct(on=(), do="")


def parse(rule: object) -> FaultRule:
    """A rule from a JSON object or a text. Raises ValueError that says what is wrong and what is allowed."""
    if not isinstance(rule, str | Mapping):
        raise ValueError(f"fault {rule!r}: must be an object or a text as in create:lost:rate=0.05")
    try:
        return read(FaultRule, _from_text(rule) if isinstance(rule, str) else rule)
    except ValueError as error:
        raise ValueError(f"fault {rule!r}: {error}") from None


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

    def fire(self, kind: str, subject: str = "", prompt: str = "") -> tuple[list[FaultRule], FaultRule]:
        """The rules that apply to the next request of this kind: all its delays, and the other one that acts, or none.

        `subject` is the key, task or file that it is about, `prompt` that of its job, where it has one.
        """
        fired = [
            rule
            for place, rule in enumerate(self.rules)
            if kind in rule.on and rule.prompt in prompt and self._applies(place, subject)
        ]
        delays = [rule for rule in fired if rule.do == "delay"]
        return delays, next((rule for rule in fired if rule.do != "delay"), NO_FAULT)

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


def _from_text(text: str) -> dict[str, Any]:
    on, do, options = (*text.split(":", 2), "", "")[:3]
    fields: dict[str, Any] = {"on": on, "do": do}
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        fields[name] = value if equals else True
    return fields
