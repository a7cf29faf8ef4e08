"""Observers of a run beside the display: OpenTelemetry where an endpoint is configured, and the log that `-v` shows."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio

from batcher import __version__
from batcher.clock import SystemClock
from batcher.errors import StorageError
from batcher.jobs import JobId
from batcher.ledger import Change
from batcher.ledger.queries import jobs
from batcher.log_bridge import LOGGER, LogBridge
from batcher.run import Run
from batcher.statuses import Status
from batcher.telemetry import Telemetry
from batcher.text import safe

from .crash import redactor
from .progress import Tally

if TYPE_CHECKING:
    from batcher.cluster.spec import RunSpec
    from batcher.cluster.store import PostgresLedger

#: The standard's variables; one of them has to name an endpoint, else nothing is made or sent.
_ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("", "TRACES_", "METRICS_"))
_GAUGE_SECONDS = 5.0
#: Seconds for which a run that has ended waits for a collector.
_FLUSH_SECONDS = 5.0


#: Makes spans and metrics: what says of a job what it is, and what else `Telemetry` takes.
MakeTelemetry = Callable[..., Telemetry]


@contextmanager
def telemetry_of(get_run: Callable[[], Run], *, download: bool) -> Iterator[Telemetry | None]:
    """Spans and metrics of a run, if an endpoint is configured and the extra `otel` is there; the rest is sent here."""
    with telemetry_maker() as make:
        yield make and make(lambda job_id: jobs.about(get_run().ledger.read, job_id), download=download)


@contextmanager
def telemetry_maker() -> Iterator[MakeTelemetry | None]:
    """What makes spans and metrics of a run, if an endpoint is configured and the extra `otel` is there."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or not any(os.environ.get(name) for name in _ENDPOINTS):
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:  # the variables may be meant for other programs of this shell
        yield None
        return
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False  # a dead collector is nobody's business here
    logger.addHandler(logging.NullHandler())
    service = os.environ.get("OTEL_SERVICE_NAME", "batcher")
    resource = Resource.create({"service.name": service, "service.version": __version__})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)

    def make(about: Callable[[JobId], Mapping[str, str]], **words: Any) -> Telemetry:
        def describe(job_id: JobId) -> dict[str, str]:
            return {f"batcher.{name}": value for name, value in about(job_id).items()}

        clock, clean = SystemClock(), redactor()
        return Telemetry(tracers, meters, clock, version=__version__, describe=describe, redact=clean, **words)

    def send_rest() -> None:
        for provider in (tracers, meters):
            with suppress(Exception):
                provider.shutdown()

    try:
        yield make
    finally:
        ending = threading.Thread(target=send_rest, name="telemetry", daemon=True)
        ending.start()
        ending.join(_FLUSH_SECONDS)


class WorkerWatch:
    """What a worker tells of its part of one run: its log, and spans and metrics where a collector is configured.

    Called on several threads. One that fails tells nothing more; the run goes on.
    """

    def __init__(
        self, make: MakeTelemetry | None, run_id: int, spec: RunSpec, get_ledger: Callable[[], PostgresLedger]
    ) -> None:
        self._run_id, self._spec, self._get_ledger = run_id, spec, get_ledger
        self._log = LogBridge(redactor())
        self._lock = threading.Lock()
        self._telemetry = make and make(
            lambda job_id: jobs.about(get_ledger().read, job_id),
            download=spec.settings.download,
            within=f"{run_id} {spec.dump()}",
        )

    def __call__(self, change: Change) -> None:
        self._log(change)
        self._tell(lambda telemetry: telemetry(change))

    def lead(self) -> None:
        """The run is led from here."""
        self._tell(lambda telemetry: telemetry.begin_run(self._spec.campaigns))

    def leave(self) -> None:
        """Nothing more of it is done here."""
        self._tell(lambda telemetry: telemetry.leave())

    async def gauge(self) -> None:
        """Tell how the run stands, every few seconds, until cancelled."""
        ends, ended = deque[tuple[float, int]](maxlen=round(60 / _GAUGE_SECONDS) + 1), (Status.SUCCEEDED, Status.FAILED)
        while self._telemetry is not None:
            with suppress(StorageError):
                read = self._get_ledger().read
                found = sum(map(Counter, read.counts(self._spec.campaigns).values()), Counter[str]())
                ends.append((anyio.current_time(), sum(found[each] for each in (*ended, Status.DOUBTFUL))))
                seconds = ends[-1][0] - ends[0][0]
                rate = 60 * (ends[-1][1] - ends[0][1]) / seconds if seconds else 0.0
                credits_ = read.spent(run_id=self._run_id)
                self._tell(lambda telemetry: telemetry.gauge(found, credits_, rate))  # noqa: B023  (called at once)
            await anyio.sleep(_GAUGE_SECONDS)

    def _tell(self, what: Callable[[Telemetry], None]) -> None:
        with self._lock:
            if self._telemetry is not None:
                try:
                    what(self._telemetry)
                except Exception as error:
                    self._telemetry = None
                    LOGGER.warning("telemetry ended: %s", type(error).__name__)


async def gauge(telemetry: Telemetry | None, run: Run, tally: Tally) -> None:
    """Tell how the run stands, every few seconds, until cancelled."""
    while telemetry is not None:
        telemetry.gauge(dict(tally.parts()), run.ledger.read.spent(run_id=run.id), tally.per_minute)
        await anyio.sleep(_GAUGE_SECONDS)


class _Saying(logging.Handler):
    """Says each record beside the display."""

    def __init__(self, say: Callable[[str], object]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._say(safe(f"{record.levelname.lower()} {record.getMessage()}"))
        except Exception:
            self.handleError(record)


@contextmanager
def log_shown(say: Callable[[str], object], verbose: int) -> Iterator[None]:
    """Show what is logged: the moves of jobs, or for 2 and more all there is."""
    if not verbose:
        yield
        return
    handler, before = _Saying(say), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)
