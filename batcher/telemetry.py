"""A run as OpenTelemetry has it: a span for the run and for each job's way, and metrics of credits, rate and queue.

An observer like the display: it hears what is in the ledger already, and nothing waits for it. Without a configured
endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT`, read by `cli`) it is not there at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from batcher.clock import Clock
from batcher.events import Event
from batcher.jobs import JobId
from batcher.ledger import Change, CreditSum

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

#: The parts of a job's way, each with the events that begin it: what is under way then ends.
_PARTS = {
    Event.INTENDED: "submit",
    Event.QUEUED: "wait",
    Event.PROCESSING: "wait",
    Event.SUCCEEDED: "download",
}
#: With these a job's way is over, as far as this run goes.
_ENDS = frozenset({Event.SAVED, Event.FAILED, Event.DOUBTFUL, Event.REFUSED, Event.CANCELLED})
_BAD = frozenset({Event.FAILED, Event.DOUBTFUL})


class _Way:
    """A job's span, and that of the part that it is in."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.name = ""
        self.part: Span | None = None


class Telemetry:
    """Makes spans and metrics of one run's changes. `describe` says what a job is, as attributes."""

    def __init__(
        self,
        tracers: TracerProvider,
        meters: MeterProvider,
        clock: Clock,
        *,
        version: str,
        describe: Callable[[JobId], Mapping[str, str]],
        redact: Callable[[str], str],
        download: bool = True,
        within: str = "",
    ) -> None:
        """`redact` takes keys out of texts; without `download` a job's way ends with its success.

        What several processes make of one run is one trace: the one of the text that it is `within`.
        """
        from opentelemetry import trace

        self._trace, self._clock, self._describe, self._redact = trace, clock, describe, redact
        self._tracer = tracers.get_tracer("batcher", version)
        self._ends = _ENDS if download else _ENDS | {Event.SUCCEEDED}
        self._run: Span | None = None
        self._root = self._shared_root(within) if within else None
        self._ways: dict[JobId, _Way] = {}
        meter = meters.get_meter("batcher", version)
        self._moved = meter.create_counter("batcher.jobs", "{job}", "Jobs that came to a status.")
        self._seconds = meter.create_histogram("batcher.job.duration", "s", "From the intent to the job's end.")
        self._queue = meter.create_gauge("batcher.queue", "{job}", "Jobs by what they wait for.")
        self._credits = meter.create_gauge("batcher.run.credits", "{credit}", "Credits of this run, held and settled.")
        self._rate = meter.create_gauge("batcher.rate", "{job}/min", "Jobs that came to their end in the last minute.")
        self._begun: dict[JobId, float] = {}

    def __call__(self, change: Change) -> None:
        """Take in a fact."""
        if change.event == Event.RUN_STARTED:
            self.begin_run(change.detail["campaigns"])
        elif change.event == Event.RUN_ENDED:
            self._end_run(change)
        if change.job_id is not None:
            self._of_job(change.job_id, change)

    def begin_run(self, campaigns: Sequence[str]) -> None:
        """The run goes on from here, for what this process does of it."""
        self._run = self._start("run", None, {"batcher.campaigns": ", ".join(campaigns)})

    def leave(self) -> None:
        """What is under way goes on elsewhere, or in the next run."""
        for way in self._ways.values():
            self._end_part(way)
            way.span.end(self._now())
        self._ways.clear()
        self._begun.clear()
        if self._run is not None:
            self._run.end(self._now())
            self._run = None

    def gauge(self, queue: Mapping[str, int], credits_: CreditSum, per_minute: float) -> None:
        """Say how the run stands: jobs by what they wait for, its credits, and its rate."""
        for state, jobs in queue.items():
            self._queue.set(jobs, {"state": state})
        self._credits.set(credits_.held, {"state": "held"})
        self._credits.set(credits_.settled, {"state": "settled"})
        self._rate.set(per_minute)

    def _of_job(self, job_id: JobId, change: Change) -> None:
        if change.new is not None and change.new is not change.old:
            self._moved.add(1, {"status": str(change.new)})
        way = self._ways.get(job_id)
        name = next((part for event, part in _PARTS.items() if event == change.event), None)
        if way is None:
            if name is None:
                return
            way = self._ways[job_id] = _Way(self._start("job", self._run, dict(self._describe(job_id))))
            self._begun[job_id] = self._clock.monotonic()
        if name is not None and name != way.name:
            self._end_part(way)
            way.name, way.part = name, self._start(name, way.span, {})
        way.span.add_event(change.event, self._attributes(change), timestamp=self._now())
        if change.event in self._ends and change.detail.get("number", 0) == 0:
            self._end_job(job_id, change)

    def _end_job(self, job_id: JobId, change: Change) -> None:
        way = self._ways.pop(job_id)
        self._end_part(way)
        if change.event in _BAD:
            said = self._redact(f"{change.detail.get('code')}: {change.detail.get('message')}")
            way.span.set_status(self._trace.StatusCode.ERROR, said)
        way.span.end(self._now())
        self._seconds.record(self._clock.monotonic() - self._begun.pop(job_id), {"end": change.event})

    def _end_part(self, way: _Way) -> None:
        if way.part is not None:
            way.part.end(self._now())

    def _end_run(self, change: Change) -> None:
        if self._run is not None:
            self._run.set_attributes(self._attributes(change))
        self.leave()

    def _start(self, name: str, parent: Span | None, attributes: Mapping[str, str]) -> Span:
        context = self._root if parent is None else self._trace.set_span_in_context(parent)
        clean = {key: self._redact(value) for key, value in attributes.items()}
        return self._tracer.start_span(name, context, start_time=self._now(), attributes=clean)

    def _shared_root(self, within: str) -> Context:
        found = hashlib.sha256(within.encode()).digest()
        trace_id, span_id = int.from_bytes(found[:16]), int.from_bytes(found[16:24])
        flags = self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED)
        root = self._trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
        return self._trace.set_span_in_context(self._trace.NonRecordingSpan(root))

    def _attributes(self, change: Change) -> dict[str, str | int | float | bool]:
        plain = {name: value for name, value in change.detail.items() if isinstance(value, str | int | float | bool)}
        return {f"batcher.{name}": self._redact(v) if isinstance(v, str) else v for name, v in plain.items()}

    def _now(self) -> int:
        """Nanoseconds since the epoch."""
        return round(self._clock.wall() * 1e9)
