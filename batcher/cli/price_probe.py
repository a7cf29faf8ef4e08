"""`run --probe`: one job of each price class whose price the API has not named, after asking; and what that told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import RenderableType

from batcher.errors import UsageError
from batcher.planning import Quote
from batcher.planning.walk import ClassPrices
from batcher.text import amount, count, safe
from batcher.workload import Workload

from .plan_view import prices_view, reading
from .terminal import Terminal, table

if TYPE_CHECKING:
    from batcher.run import RunOutcome, RunRequest


class _Learned(NamedTuple):
    """What a job of a price class was expected to cost, and what the API has said since, if anything."""

    before: Quote
    now: Quote

    @property
    def told(self) -> str:
        return amount(self.now.credits_each) if self.now.seen else "not named"


def ask_for_probe(workload: Workload, state: Path, account: str, terminal: Terminal, *, yes: bool) -> Workload | None:
    """What a probe buys, once a person agrees (None: no). Raises UsageError where nobody is there to be asked."""
    with reading(state) as ledger:
        probing = workload.probing(ledger, account)
        plan = probing.plan(ledger, account, {})
    if not plan.new:
        terminal.say("The price of every class is known: a probe has nothing to buy.")
    if yes or not plan.new:
        return probing
    what = f"{count(plan.new, 'job')} for {amount(plan.credits)}"
    if not terminal.can_ask:
        raise UsageError(f"a probe buys {what} and would ask first, but there is no terminal", hint="Add --yes.")
    terminal.say(*prices_view(plan))
    return probing if terminal.ask(f"Buy {what}, one of each class, to learn what they cost?") else None


def learned_view(result: RunOutcome, request: RunRequest) -> Iterator[RenderableType]:
    """What a probe has learned, for people."""
    if learned := _learned(result, request):
        rows = [(safe(each.before.price_class), each.before.credits_each, each.told) for each in learned]
        yield table(("price class", "expected", "the API says"), rows)


def learned_json(result: RunOutcome, request: RunRequest) -> list[dict[str, Any]]:
    """The same as docs/json.md has it."""
    return [
        {
            "price_class": each.before.price_class,
            "expected": each.before.credits_each,
            "credits_each": each.now.credits_each if each.now.seen else None,
        }
        for each in _learned(result, request)
    ]


def _learned(result: RunOutcome, request: RunRequest) -> list[_Learned]:
    if not request.workload.selection.probe:
        return []
    with reading(request.state) as ledger:
        prices = ClassPrices(ledger, request.account)
        return [_Learned(quote, prices.quote(quote.price_class, quote.credits_each)) for quote in result.plan.quotes]
