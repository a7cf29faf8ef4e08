"""`batcher doctor`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from batcher.access import Access
from batcher.cli import options
from batcher.cli.checks import Check, Severity, check_access, check_folder, check_ledger, check_versions
from batcher.cli.console import columns
from batcher.cli.environment import need_no_loop
from batcher.cli.terminal import Terminal
from batcher.errors import Kind, exit_code
from batcher.state import LEDGER
from batcher.text import amount, count, safe

_STYLES = {
    Severity.OK: "green",
    Severity.NOTE: "cyan",
    Severity.ATTENTION: "bold yellow",
    Severity.UNUSABLE: "bold red",
}


@click.command(short_help="Check whether everything is in order.")
@click.option("--online", is_flag=True, help="Also ask the API for the wallet and the models; two requests, free.")
@options.ledger
def command(terminal: Terminal, *, online: bool, state: Path) -> int:
    """Check this machine, the state folder, the ledger and the key. Offline, unless --online. Changes nothing, and
    never prints the key."""
    if online:
        need_no_loop()
    access, found = check_access()
    checks = [*check_versions(), *found, *check_folder(state), *check_ledger(state)]
    if online:
        usable = all(check.level is not Severity.UNUSABLE for check in checks)
        checks += _ask(access, state / LEDGER if usable and (state / LEDGER).exists() else None)
    levels = Counter(check.level for check in checks)
    if levels[Severity.UNUSABLE]:
        code = exit_code(Kind.STORAGE)
    else:
        code = exit_code(Kind.UNFINISHED) if levels[Severity.ATTENTION] else exit_code(Kind.DONE)
    needy = levels[Severity.UNUSABLE] + levels[Severity.ATTENTION]
    terminal.answer(
        {"exit_code": code, "checks": [asdict(check) for check in checks]},
        columns(*map(_line, checks)),
        "",
        f"{count(needy, 'thing')} to look at." if needy else "Everything is in order.",
    )
    return code


def _line(check: Check) -> tuple[Text, str, str]:
    words = safe(check.message) + (f"\n{safe(check.hint)}" if check.hint else "")
    return Text(check.level, _STYLES[check.level]), check.name, words


def _ask(access: Access | None, ledger: Path | None) -> Iterator[Check]:
    """The wallet and the models, as the API says; the requests go into the send log of the ledger, if there is one."""
    if access is None or access.key is None:
        yield Check("API", Severity.ATTENTION, "it cannot be asked without a key")
        return
    import anyio

    from batcher.cli.database import open_decisive
    from batcher.cli.wallet import ask

    if ledger is not None:
        with closing(open_decisive(ledger.parent)) as writer:
            for kind in ("credits", "models"):
                writer.stamp(kind, access.account)
    wallet, models = anyio.run(ask, access, "credits", "models")
    yield _wallet(wallet)
    yield from _models(models)


def _wallet(answer: object) -> Check:
    if isinstance(answer, int):
        return Check("wallet", Severity.OK if answer else Severity.ATTENTION, amount(answer))
    return _no_answer("wallet", answer)


def _models(answer: object) -> Iterator[Check]:
    """Whether the API serves each model of the catalogue, and as the catalogue says."""
    from batcher.catalog import get_model, model_ids
    from batcher.catalog.drift import differences

    if not isinstance(answer, list):
        yield _no_answer("models", answer)
        return
    offered = {model.get("id"): model for model in answer if isinstance(model, dict)}
    missing = [name for name in model_ids() if name not in offered]
    if missing:
        message = f"the API does not offer {', '.join(missing)}, which this batcher's catalogue has"
        yield Check("models", Severity.ATTENTION, message, "A newer batcher may know more.")
    else:
        yield Check("models", Severity.OK, f"{count(len(offered), 'model')}, with all of the catalogue")
    for name in (name for name in model_ids() if name in offered):
        for words in differences(get_model(name), offered[name]):
            hint = "Every param is sent at its value, so nothing else is bought; its price and limits may have moved."
            yield Check("models", Severity.NOTE, f"{name}: {words}", hint)


def _no_answer(name: str, answer: object) -> Check:
    code, message = getattr(answer, "code", ""), getattr(answer, "message", "")
    return Check(
        name, Severity.ATTENTION, f"{code}: {message}", "Look at the key, its scopes, the base URL, the network."
    )
