"""Options that several commands share."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from batcher.clock import local_day, local_time, next_time
from batcher.statuses import Status
from batcher.text import duration

if TYPE_CHECKING:
    from batcher.settings import BuyingTime

_F = TypeVar("_F", bound=Callable[..., Any])

STATE_VARIABLE = "BATCHER_STATE"
#: What alerts can be of (docs/cli.md), and what stands for all of it.
ALERT_KINDS = ("end", "stop", "cap", "price", "doubtful", "stall", "paused", "any")


def named_state(function: _F) -> _F:
    """`--state DIR` as it was typed; None without it. For commands with manifests, which have to be read first."""
    return click.option(
        "--state",
        # One that cannot be read is a matter of the disk (exit code 7), not of how the command was typed.
        type=click.Path(file_okay=False, readable=False, path_type=Path),
        envvar=STATE_VARIABLE,
        show_envvar=True,
        help="The folder of ledger and results; else that of the ledger that knows the campaign, else ./state.",
    )(function)


def allow_net(function: _F) -> _F:
    """`--allow-net CIDR`."""
    return click.option(
        "--allow-net",
        "allow_net",
        multiple=True,
        metavar="CIDR",
        help="Fetch results from this network too, though it is not public; repeatable. BATCHER_ALLOW_NET names more.",
    )(function)


def state(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--state DIR`: the command gets the folder, found by what it names.

    That is `campaign`, `campaigns`, `job` and `words` of its arguments and options.
    """

    @wraps(function)
    def found(*args: Any, state: Path | None, **named: Any) -> Any:
        from .places import Sought, find_state

        one, several = named.get("campaign"), named.get("campaigns") or ()
        words = [*(named.get("words") or ()), *filter(None, [named.get("job")])]
        sought = Sought(dict.fromkeys([*filter(None, [one]), *several]), tuple(words))
        return function(*args, state=find_state(click.get_current_context().obj, state, sought), **named)

    return named_state(found)


def as_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`, which the terminal obeys; the command gets the terminal."""

    def heard(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.obj.as_json = value

    help_ = "One JSON document on stdout (docs/json.md)."
    return click.option("--json", is_flag=True, expose_value=False, callback=heard, help=help_)(
        click.pass_obj(function)
    )


def bom(function: _F) -> _F:
    """`--bom`, for what is CSV."""
    return click.option("--bom", is_flag=True, help="Begin the CSV with a BOM, by which Excel knows it for UTF-8.")(
        function
    )


def need_csv(form: str | None, *, bom: bool) -> None:
    """Raise UsageError for `--bom` where no CSV is asked for."""
    if bom and form != "csv":
        raise click.UsageError("--bom goes with CSV only: add --format csv")


def ledger(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--state` and `--json`: what every command about a ledger has."""
    return state(as_json(function))


def statuses(words: str, *default: Status) -> Callable[[_F], _F]:
    """`--status STATUS`, repeatable; `words` say which jobs it chooses."""
    return click.option(
        "--status",
        "statuses",
        type=click.Choice([str(status) for status in Status]),
        multiple=True,
        default=[str(status) for status in default] or None,
        metavar="STATUS",
        help=words,
    )


def reviews(function: _F) -> _F:
    """`--name GLOB` and `--marked FILE`."""
    for decorate in (
        click.option(
            "--marked",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Only jobs that have the mark in this file, as the gallery saves it.",
        ),
        click.option("--name", metavar="GLOB", help="Only prompts with such a name."),
    ):
        function = decorate(function)
    return function


def where(function: _F) -> _F:
    """`--where NAME=GLOB`, repeatable; the command gets `conditions`, as they were typed."""
    return click.option(
        "--where",
        "conditions",
        multiple=True,
        metavar="NAME=GLOB",
        help="Only jobs with such a param, variable, tag, name, status …; repeatable: all must fit.",
    )(function)


def marked(function: _F) -> _F:
    """`--marked FILE`."""
    return click.option(
        "--marked",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Only favourites: the marks that a gallery has saved (marks.json).",
    )(function)


def manifests(function: _F) -> _F:
    """`MANIFEST…`, `--allow-path`, `--unchecked` and `--max-jobs`."""
    for decorate in (
        click.option(
            "--unchecked",
            is_flag=True,
            help="Let in models without a file in the catalogue; nobody checks their params or knows their price.",
        ),
        click.option(
            "--max-jobs", type=click.IntRange(min=1), metavar="N", help="Allow so many jobs a manifest, over 100,000."
        ),
        click.option(
            "--allow-path",
            "allow_paths",
            type=click.Path(file_okay=False, exists=True, path_type=Path),
            multiple=True,
            metavar="DIR",
            help="Let manifests read files in this folder too; repeatable.",
        ),
        click.argument("paths", metavar="MANIFEST...", nargs=-1, required=True, type=click.Path(path_type=Path)),
    ):
        function = decorate(function)
    return function


class _TimeOfDay(click.ParamType[float]):
    """`HH:MM`, as the next such time of this machine's clock, in seconds since the epoch."""

    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value)
        if not found:
            self.fail(f"{value!r} is no time of the day such as 07:00 or 23:30.", param, ctx)
        return next_time(int(found[1]), int(found[2]), time.time())


def time_lines(buying: BuyingTime) -> Iterator[str]:
    """When new jobs start, and when no more do, in words."""
    for words, at in (
        ("New jobs start at {} (window)", buying.since),
        ("No job is started after {}", buying.until),
        ("No job is started that would not be done by {}", buying.ready_by),
    ):
        if at is not None:
            left = duration(max(0.0, at - time.time()))
            yield f"{words.format(f'{local_day(at, None)} {local_time(at)}')} (in {left})."


def until(function: _F) -> _F:
    """`--until HH:MM`."""
    return click.option(
        "--until",
        type=_TimeOfDay(),
        metavar="HH:MM",
        help="Start no new job after this time of the day; what is under way goes on to its end.",
    )(function)


def verbose(function: _F) -> _F:
    """`-v`, repeatable."""
    help_ = "Show each move of a job; -vv: all that is logged."
    return click.option("-v", "--verbose", count=True, help=help_)(function)


def alerts(function: _F) -> _F:
    """`--on EVENT CMD` and `--notify-file FILE`."""
    kinds = click.Choice(ALERT_KINDS)
    for decorate in (
        click.option(
            "--notify-file",
            type=click.Path(dir_okay=False, path_type=Path),
            envvar="BATCHER_NOTIFY_FILE",
            show_envvar=True,
            help="A file of Apprise URLs, for its owner only (0600), that are told too; BATCHER_NOTIFY has more.",
        ),
        click.option(
            "--on",
            type=(kinds, str),
            multiple=True,
            metavar="EVENT CMD",
            help=f"Have a command told, as JSON on stdin: {', '.join(ALERT_KINDS)}; repeatable.",
        ),
    ):
        function = decorate(function)
    return function


def selection(function: _F) -> _F:
    """`--only`, `--marked`, `--limit`, `--budget`, `--allow-unpriced`, `--sample` and `--order`."""
    for decorate in (
        click.option(
            "--order",
            type=click.Choice(("fair", "listed")),
            default="fair",
            help="Campaigns in turn by what each has taken (fair), or one after the other (listed).",
        ),
        click.option(
            "--sample", metavar="N|N%", help="Only a sample, spread over all that differs; the same each time."
        ),
        click.option(
            "--budget",
            type=click.IntRange(min=0),
            metavar="N",
            help="Commit at most so many credits in this run; 0 only goes on with what is bought.",
        ),
        click.option(
            "--allow-unpriced",
            "unpriced",
            type=click.IntRange(min=0),
            metavar="N",
            help="Buy jobs without a price beforehand too: those of a campaign may cost N credits, over all runs.",
        ),
        click.option(
            "--limit", type=click.IntRange(min=0), metavar="N", help="Start at most so many new jobs; 0 starts none."
        ),
        marked,
        click.option("--only", multiple=True, metavar="GLOB", help="Only prompts with such a name; repeatable."),
    ):
        function = decorate(function)
    return function
