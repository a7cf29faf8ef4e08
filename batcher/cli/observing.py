"""Who hears of a run beside the display: OpenTelemetry where an endpoint is configured, and the log that `-v` shows."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import anyio

from batcher import __version__
from batcher.clock import SystemClock
from batcher.jobs import JobId
from batcher.ledger.queries import jobs
from batcher.log_bridge import LOGGER
from batcher.run import Run
from batcher.telemetry import Telemetry
from batcher.text import safe

from .crash import redactor
from .progress import Tally

#: The standard's variables; one of them has to name an endpoint, else nothing is made or sent.
_ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("", "TRACES_", "METRICS_"))
_GAUGE_SECONDS = 5.0
#: So long a run that has ended waits for a collector, in seconds.
_FLUSH_SECONDS = 5.0


@contextmanager
def telemetry_of(get_run: Callable[[], Run], *, download: bool) -> Iterator[Telemetry | None]:
    """Spans and metrics of a run, if an endpoint is configured and the extra `otel` is there; the rest is sent here."""
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

    def describe(job_id: JobId) -> dict[str, str]:
        run = get_run()
        return {f"batcher.{name}": value for name, value in jobs.about(run.ledger.read, job_id).items()}

    def send_rest() -> None:
        for provider in (tracers, meters):
            with suppress(Exception):
                provider.shutdown()

    try:
        yield Telemetry(
            tracers, meters, SystemClock(), version=__version__, describe=describe, redact=redactor(), download=download
        )
    finally:
        ending = threading.Thread(target=send_rest, name="telemetry", daemon=True)
        ending.start()
        ending.join(_FLUSH_SECONDS)


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
