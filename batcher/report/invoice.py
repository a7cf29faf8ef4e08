"""What somebody is to pay for what was bought: settled credits times a price, as money. Nothing is computed in floats.

Credits of two accounts, or of two units, are never added: each account has lines and a sum of its own. A line's amount
is rounded to the currency's smallest coin, half up, and a sum is that of its lines as they stand there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import reduce
from typing import Any

from batcher.errors import UsageError
from batcher.jobs import ParamValue
from batcher.ledger import LedgerReader
from batcher.ledger.queries import spend
from batcher.ledger.queries.spend import Charged

from .figures import value_order
from .question import Question

#: Decimal places of amounts where they are not two (ISO 4217).
_PLACES = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
_PRICE = re.compile(r"\d{1,12}(\.\d{1,12})?")
#: Exact for any price and any number of credits that SQLite can add up.
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
_WORDS = {"file": "with a file", "no_file": "charged without a file"}


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """Purchases of one group and account. `amount` is `credits` times `price`, as money."""

    by: tuple[tuple[str, ParamValue | None], ...]
    account: str
    unit: str
    what: str
    purchases: int
    files: int
    credits: int
    price: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class InvoiceTotal:
    """The lines of one account, added up."""

    account: str
    unit: str
    credits: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Invoice:
    """Lines by group. `held` (credits by account) is not in them; of `to_fetch` purchases the file is still to come."""

    question: Question
    currency: str
    lines: tuple[InvoiceLine, ...]
    held: Mapping[str, int]
    to_fetch: int

    def parts(self) -> Iterator[tuple[ParamValue | None, Sequence[InvoiceLine], Sequence[InvoiceTotal]]]:
        """The lines by the first of what they are grouped by, each part with its sums: who gets it gets no other."""
        for value in dict.fromkeys(line.by[0][1] for line in self.lines):
            lines = [line for line in self.lines if line.by[0][1] == value]
            yield value, lines, totals(lines)


def totals(lines: Sequence[InvoiceLine]) -> list[InvoiceTotal]:
    """The sums of lines, one an account."""
    found = []
    for account, unit in dict.fromkeys((line.account, line.unit) for line in lines):
        mine = [line for line in lines if (line.account, line.unit) == (account, unit)]
        amount = reduce(_EXACT.add, (line.amount for line in mine))
        found.append(InvoiceTotal(account, unit, sum(line.credits for line in mine), amount))
    return found


def read_prices(texts: Sequence[str]) -> dict[str, Decimal]:
    """Prices of one unit of credit by provider, of any other under "", from `rivya=0.02` and `0.02`.

    Raises UsageError.
    """
    found: dict[str, Decimal] = {}
    for text in texts:
        provider, _, price = text.rpartition("=")
        if not _PRICE.fullmatch(price):
            raise UsageError(f"--price {text}: no price", hint="Type it as 0.02, or as rivya=0.02 for one provider.")
        if provider in found:
            raise UsageError(f"--price {text}: a price for the same was given already")
        found[provider] = Decimal(price)
    if not found:
        raise UsageError("an invoice needs a price", hint="Type what one credit costs: --price 0.02")
    return found


def check_currency(text: str | None) -> str:
    """A currency's code. Raises UsageError."""
    if text is None or not re.fullmatch(r"[A-Z]{3}", text):
        said = "an invoice needs a currency" if text is None else f"--currency {text}: no currency"
        raise UsageError(said, hint="Type its code of three letters: --currency EUR")
    return text


def make_invoice(read: LedgerReader, question: Question, prices: Mapping[str, Decimal], currency: str) -> Invoice:
    """Read an invoice. Raises UsageError where the prices do not fit what was bought."""
    with spend.snapshot(read):
        found = list(spend.charged(read, question.scope, question.axes))
        labels = _labels(read)
    names = [axis.name for axis in question.axes]
    found.sort(key=lambda each: ([value_order(value) for value in each[0]], labels[each[1].account]))
    each_price = _price_of([charged for _, charged in found], prices)
    held: dict[str, int] = {}
    lines = []
    for key, charged in found:
        label = labels[charged.account]
        if charged.what == "held":
            held[label] = held.get(label, 0) + charged.credits
            continue
        price = each_price[charged.provider]
        lines.append(
            InvoiceLine(
                by=tuple(zip(names, key, strict=True)),
                account=label,
                unit=charged.unit,
                what=_WORDS[charged.what],
                purchases=charged.purchases,
                files=charged.files,
                credits=charged.credits,
                price=price,
                amount=_money(charged.credits, price, currency),
            )
        )
    return Invoice(question, currency, tuple(lines), held, sum(charged.to_fetch for _, charged in found))


def _money(credits_: int, price: Decimal, currency: str) -> Decimal:
    coin = Decimal(1).scaleb(-_PLACES.get(currency, 2))
    return _EXACT.quantize(_EXACT.multiply(Decimal(credits_), price), coin)


def _price_of(found: Sequence[Charged], prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """A price for each provider of which something was settled; the one without a name is that of one provider."""
    others = sorted({each.provider for each in found if each.what != "held"} - prices.keys())
    if len(others) > 1 and "" in prices:
        raise UsageError(
            f"one price for the credits of {' and '.join(others)}, which are not the same",
            hint=f"Type one for each: {' '.join(f'--price {name}=0.02' for name in others)}",
        )
    if others and "" not in prices:
        raise UsageError(f"there is no price for a credit of {others[0]}", hint=f"Type it: --price {others[0]}=0.02")
    return {**prices, **dict.fromkeys(others, prices[""])}


def _labels(read: LedgerReader) -> dict[str, str]:
    """A name for each account that tells nothing of its key: its provider, with a number from the second one on."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for account, provider in spend.accounts(read):
        counts[provider] = counts.get(provider, 0) + 1
        found[account] = provider if counts[provider] == 1 else f"{provider} {counts[provider]}"
    return found


# As JSON and CSV


def invoice_json(invoice: Invoice) -> dict[str, Any]:
    """An invoice as docs/json.md has it. Money is text: a number of JSON may lose its last place."""
    scope = invoice.question.scope
    return {
        "since": scope.since,
        "until": scope.until,
        "campaigns": list(scope.campaigns),
        "where": [condition.text for condition in scope.conditions],
        "by": [axis.name for axis in invoice.question.axes],
        "currency": invoice.currency,
        "lines": [
            {
                "by": dict(line.by),
                **{name: getattr(line, name) for name in ("account", "unit", "what", "purchases", "files", "credits")},
                "price": str(line.price),
                "amount": str(line.amount),
            }
            for line in invoice.lines
        ],
        "totals": [
            {"account": each.account, "unit": each.unit, "credits": each.credits, "amount": str(each.amount)}
            for each in totals(invoice.lines)
        ],
        "held": dict(invoice.held),
        "to_fetch": invoice.to_fetch,
    }


_COLUMNS = ("account", "unit", "what", "purchases", "files", "credits", "price", "amount")


def invoice_headers(invoice: Invoice) -> list[str]:
    """The columns of the CSV."""
    return [*(axis.name for axis in invoice.question.axes), *_COLUMNS, "currency"]


def invoice_rows(invoice: Invoice) -> Iterator[list[object]]:
    """A record a line, and none for the sums: what is added up twice is wrong."""
    for line in invoice.lines:
        figures = [getattr(line, name) for name in _COLUMNS]
        shown = [str(each) if isinstance(each, Decimal) else each for each in figures]
        yield [*(value for _, value in line.by), *shown, invoice.currency]
