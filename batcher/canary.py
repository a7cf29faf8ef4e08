"""A canary: some jobs first, then five times as many, then all, as long as what came of the last ones is good. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .errors import UsageError

#: Each step has so many times the jobs of the one before.
WIDER = 5
_TERM = re.compile(r"(failed|doubtful|price|checks)\s*(<=|<|=)\s*(\d{1,9}|ok|quote)\s*(%?)")
_ALLOWED = "such as failed<10%, doubtful=0, price<=quote, price<=12 or checks=ok, with `and` between"
_IS: dict[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class CanaryStep:
    """What came of the jobs of one step, the `number`th of `of`; `price` is the dearest, in credits.

    `above_quote` jobs cost more than was expected when they were bought, and of `differs` the file is not as asked for.
    `unfinished` ones have not come to their end.
    """

    number: int
    of: int
    jobs: int
    succeeded: int
    failed: int
    doubtful: int
    unfinished: int
    credits: int
    price: int
    above_quote: int
    differs: int

    def json(self) -> dict[str, Any]:
        """As a hook gets it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Term:
    text: str
    what: str
    holds: Callable[[float, float], bool]
    value: str
    share: bool

    def met(self, step: CanaryStep) -> bool:
        match self.what:
            case "checks":
                return step.differs == 0
            case "price" if self.value == "quote":
                return step.above_quote == 0
            case "price":
                return self.holds(step.price, int(self.value))
        count = getattr(step, self.what)
        return self.holds(100 * count / step.jobs if self.share else count, int(self.value))


@dataclass(frozen=True, slots=True)
class GoOnCondition:
    """What has to hold of a step for the next one to begin."""

    terms: tuple[_Term, ...] = ()

    @property
    def text(self) -> str:
        """As `parse` takes it; empty where nothing has to hold."""
        return " and ".join(term.text for term in self.terms)

    def unmet(self, step: CanaryStep) -> str:
        """The terms that do not hold, and what there was instead; empty where all do."""
        wrong = [term.text for term in self.terms if not term.met(step)]
        if not wrong:
            return ""
        found = f"{step.failed} failed and {step.doubtful} doubtful of {step.jobs}, price {step.price}"
        odd = f", {step.differs} files not as asked for" if step.differs else ""
        return f"not {' and not '.join(wrong)} ({found}{odd})"


NO_CONDITION = GoOnCondition()


def parse(text: str) -> GoOnCondition:
    """The condition that a text states. Raises UsageError with all that is wrong with it."""
    terms, wrong = list[_Term](), list[str]()
    for part in re.split(r"\s+and\s+", text.strip()):
        found = _TERM.fullmatch(part.strip())
        if found is None or not _fits(*found.groups()):
            wrong.append(repr(part))
            continue
        what, sign, value, share = found.groups()
        terms.append(_Term(part.strip(), what, _IS[sign], value, bool(share)))
    if wrong:
        raise UsageError(f"--then cannot be read at {', '.join(wrong)}", hint=f"Write conditions {_ALLOWED}.")
    return GoOnCondition(tuple(terms))


def _fits(what: str, sign: str, value: str, share: str) -> bool:
    match what, value:
        case "checks", _:
            return (sign, value, share) == ("=", "ok", "")
        case "price", "quote":
            return (sign, share) == ("<=", "")
        case _:
            return value.isdigit() and (not share or what in ("failed", "doubtful"))


def wider(sample: str) -> str:
    """The sample that is a step wider than one of `N` or `N%`."""
    number = int(sample.strip().removesuffix("%"))
    return f"{min(100, WIDER * number)}%" if sample.strip().endswith("%") else str(WIDER * number)
