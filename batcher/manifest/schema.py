"""The document as pydantic models: which keys there are and what each may hold, for checking and as JSON Schema.

Only shape and range are checked here; what the model, the templates and the files say about it comes later.
"""

from __future__ import annotations

from typing import (
    Annotated,
    Any,
    Required,  # pydantic reads no others before Python 3.12
)

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator, with_config
from typing_extensions import TypedDict

from batcher import settings
from batcher.settings import Rate, Settings
from batcher.windows import DAY_MINUTES, BuyingWindow, ReadyBy

from .fields import (
    AllowanceName,
    AnyValue,
    Bool,
    Campaign,
    Cap,
    Given,
    Hours,
    ModelId,
    Name,
    ParamField,
    Percent,
    ReferenceText,
    Repeat,
    Requests,
    ResultsName,
    Scalar,
    Text,
    TimeOfDay,
    TimeZone,
    WeekDays,
    duration,
    whole,
    wrong,
)
from .model_schema import rules, without_titles


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LimitsSection(_Section):
    """Requests a window, and things at once."""

    submit: Requests = Field(
        default_factory=lambda: Rate(30, 60.0),
        description="New jobs a window",
        json_schema_extra={"default": "30/minute"},
    )
    requests: Requests = Field(
        default_factory=lambda: Rate(120, 60.0),
        description="Requests of every kind to the API's host a window",
        json_schema_extra={"default": "120/minute"},
    )
    in_flight: Annotated[int, *whole(1, 100_000)] = Field(default=20, description="Jobs with the API at once")
    downloads: Annotated[int, *whole(1, 64)] = Field(default=4, description="Downloads at once")


class PollingSection(_Section):
    """When to ask for a task's state."""

    first: Annotated[float, *duration(0.01, 86_400)] = Field(default=3.0, description="After the submission")
    every: Annotated[float, *duration(0.01, 86_400)] = Field(default=5.0, description="Then")
    max: Annotated[float, *duration(0.01, 86_400)] = Field(default=30.0, description="Longest wait between two")
    give_up: Annotated[float, *duration(1, 2_592_000)] = Field(
        default=3600.0, description="This run stops waiting; the next polls on"
    )

    @model_validator(mode="after")
    def _in_order(self) -> PollingSection:
        if self.every > self.max:
            raise wrong(f"every ({self.every:g} s) is longer than max ({self.max:g} s)")
        return self


class RetriesSection(_Section):
    """Repeats of one request, and how long a dead network is sat out."""

    times: Annotated[int, *whole(0, 100)] = Field(default=8, description="Repeats of one request")
    replay_window: Annotated[float, *duration(1, 604_800)] = Field(
        default=3600.0, description="How long after its first sending a key is trusted to replay"
    )
    outage: Annotated[float, *duration(1, 604_800)] = Field(
        default=3600.0, description="How long a dead network or API is sat out"
    )


class StopSection(_Section):
    """When a run stops by itself."""

    failures_in_a_row: Annotated[int, *whole(1, 1_000_000)] = 10
    failed: Annotated[Percent | None, Given] = Field(
        default=None, description="Share of jobs that failed, of ten or more"
    )
    price_above: Annotated[Cap | None, Given] = Field(default=None, description="Credits; no job may hold more")
    blocked_in_a_row: Annotated[int | None, Given, *whole(1, 1_000_000)] = Field(
        default=None, description="Jobs that pages of something in between kept out"
    )


class WindowSection(_Section):
    """When new jobs may start; what is bought goes on at any time."""

    hours: Hours = Field(
        default=(0, DAY_MINUTES), description="Such as 22:00-06:00", json_schema_extra={"default": "00:00-24:00"}
    )
    timezone: Annotated[TimeZone, Given] = Field(default="", description="Such as Europe/Berlin; else this machine's")
    days: Annotated[WeekDays, Given] = Field(
        default=tuple(range(7)),
        description="Days on which it opens: mon … sun, or spans like mon-fri",
        json_schema_extra={"default": ["mon-sun"]},
    )

    def window(self) -> BuyingWindow:
        """The window as a run obeys it."""
        return BuyingWindow(*self.hours, self.timezone, self.days)


class AllowanceSection(_Section):
    """A named budget that every campaign and run of the ledger draws on that names it."""

    name: AllowanceName = Field(description="Which one; its identity in the ledger")
    total: Cap = Field(description="Credits for all that draw on it, from the first on; the total stated now counts")


class BudgetSection(_Section):
    """Caps in credits; none by default. Each may also name its provider: {rivya: 500}."""

    campaign: Annotated[Cap | None, Given] = Field(default=None, description="All jobs of this campaign")
    day: Annotated[Cap | None, Given] = Field(default=None, description="All jobs of the ledger on one local day")
    keep: Annotated[Cap | None, Given] = Field(default=None, description="Leave this much in the wallet")
    allowance: Annotated[AllowanceSection | None, Given] = Field(
        default=None, description="Shared by all campaigns and runs that name it"
    )

    def settings(self) -> settings.Budget:
        """The caps as a run obeys them."""
        allowance = settings.Allowance(**dict(self.allowance)) if self.allowance else None
        return settings.Budget(self.campaign, self.day, self.keep, allowance)


class ResultsSection(_Section):
    """Saving of results, under <state>/results/<campaign>/."""

    download: Bool = True
    sidecar: Bool = Field(default=False, description="A JSON file beside each: prompt, params, credits, times")
    name: ResultsName = "{{ prompt_name }}-{{ job }}"


# Each rule is held against each combination.
MAX_RULES = 1_000
_Rules = Annotated[list[Annotated[dict[str, AnyValue], Field(min_length=1)]] | None, Given, Field(max_length=MAX_RULES)]


class MatrixSection(BaseModel):
    """Axes, each a list of values; every combination is made. As in GitHub Actions."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[list[AnyValue], Field(min_length=1)]] = Field(init=False)

    include: _Rules = Field(default=None, description="Adds to matching combinations, else adds one")
    exclude: _Rules = Field(default=None, description="Removes the combinations that match all keys")

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The axes by name."""
        return self.__pydantic_extra__


@with_config(ConfigDict(extra="forbid"))
class _Entry(TypedDict, total=False):
    """What a prompt may set; a mapping with what it does set, for there may be tens of thousands."""

    name: Annotated[
        Name, Given, Field(description="Used in file names, reports and --only; a template; else made from the text")
    ]
    model: Annotated[ModelId, Given, Field(description="Instead of the campaign's")]
    vars: Annotated[dict[str, AnyValue], Field(description="Variables of the templates")]
    params: Annotated[dict[str, ParamField], Field(description="Params of the model")]
    matrix: Annotated[MatrixSection, Field(description="Axes of this prompt")]
    references: Annotated[list[ReferenceText], Given, Field(description="Instead of the campaign's")]
    repeat: Annotated[Repeat, Given, Field(description="Takes of each job")]
    tags: Annotated[dict[str, Scalar], Given, Field(description="Beside the campaign's, and before them")]


class TextEntry(_Entry):
    """One prompt."""

    prompt: Required[Text]


class FileEntry(_Entry, total=False):
    """A file with a prompt a row."""

    file: Required[
        Annotated[
            Text,
            Field(
                description=".csv, .tsv or .xlsx (header row), .jsonl or .txt (a prompt a line), beside the manifest"
            ),
        ]
    ]
    sheet: Annotated[Text, Given, Field(description="The sheet of a workbook; else the first that is to be seen")]
    columns: Annotated[
        dict[str, Text], Given, Field(description="What columns of the file are to be called: {their header: our name}")
    ]
    prompt: Annotated[Text, Given, Field(description="The template of every row, instead of the column `prompt`")]


PROMPT_TAGS = ("text", "entry", "file")


def _prompt_tag(value: Any) -> str:
    if isinstance(value, dict):
        return "file" if "file" in value else "entry"
    return "text"


Prompt = Annotated[
    Annotated[Text, Tag("text")] | Annotated[TextEntry, Tag("entry")] | Annotated[FileEntry, Tag("file")],
    Discriminator(_prompt_tag),
]


class Document(_Section):
    """A batcher manifest, version 1: one campaign."""

    model_config = ConfigDict(title="batcher manifest")

    campaign: Campaign = Field(description="The campaign's name; its identity in the ledger")
    model: ModelId = Field(description="The model of all prompts without one of their own")
    params: dict[str, ParamField] = Field(default={}, description="Params of every job")
    matrix: MatrixSection = Field(default_factory=lambda: MatrixSection(), description="Axes of every prompt")
    prompts: Annotated[list[Prompt], Field(min_length=1, description="The prompts")]
    references: list[ReferenceText] = Field(
        [],
        description="Input files: globs, https URLs, results ({from: NAME}) or null; each makes jobs of its own,"
        " a list is several for one",
    )
    repeat: Repeat = Field(default=1, description="Takes of each job")
    tags: Annotated[dict[str, Scalar], Given] = Field(
        default={}, description="Kept with each job, for reports to group and filter by; they change no job"
    )
    limits: LimitsSection = Field(default_factory=lambda: LimitsSection())
    polling: PollingSection = Field(default_factory=lambda: PollingSection())
    retries: RetriesSection = Field(default_factory=lambda: RetriesSection())
    stop: StopSection = Field(default_factory=lambda: StopSection())
    window: Annotated[WindowSection | None, Given] = Field(default=None, description="New jobs start only inside")
    ready_by: Annotated[TimeOfDay | None, Given] = Field(
        default=None, description="A time of the day: no job starts that would not be done by then"
    )
    budget: BudgetSection = Field(default_factory=lambda: BudgetSection())
    results: ResultsSection = Field(default_factory=lambda: ResultsSection())

    def settings(self) -> Settings:
        """What the document says about how to run."""
        zone = self.window.timezone if self.window else ""
        return Settings(
            limits=settings.Limits(**dict(self.limits)),
            polling=settings.Polling(**dict(self.polling)),
            retries=settings.Retries(**dict(self.retries)),
            failures_in_a_row=self.stop.failures_in_a_row,
            failed_percent=self.stop.failed,
            price_above=self.stop.price_above,
            blocked_in_a_row=self.stop.blocked_in_a_row,
            windows=() if self.window is None else (self.window.window(),),
            ready_by=() if self.ready_by is None else (ReadyBy(self.ready_by, zone),),
            budget=self.budget.settings(),
            download=self.results.download,
            sidecars=self.results.sidecar,
        )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a manifest, for editors: also which params each model takes."""
    schema = without_titles(Document.model_json_schema())
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "batcher manifest"}
    return {**head, **schema, "allOf": rules()}
