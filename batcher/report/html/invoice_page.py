"""An invoice as a page that prints: a sheet for each of those who get one."""

from __future__ import annotations

from batcher.report.invoice import Invoice
from batcher.text import moment

from .shell import render


def invoice_page(invoice: Invoice, made: str) -> str:
    """The page; `made` is when it was made, ISO 8601. What is held, and whose the accounts are, is not on it."""
    scope = invoice.question.scope
    since, until = (f"{word} {moment(at)}" if at else "" for word, at in (("from", scope.since), ("to", scope.until)))
    units = {line.unit for line in invoice.lines}
    return render(
        "invoice.html.j2",
        style="invoice.css",
        parts=list(invoice.parts()),
        axis=invoice.question.axes[0].name,
        names=[axis.name for axis in invoice.question.axes[1:]],
        accounts=len({line.account for line in invoice.lines}) > 1,
        unit=units.pop() if len(units) == 1 else "units",
        currency=invoice.currency,
        period=" ".join(["Purchases", *filter(None, (since, until))]) if since or until else "All purchases so far",
        made=made,
    )
