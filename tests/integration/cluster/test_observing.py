"""What workers and a coordinator do of a run, as others observe it: one trace, metrics, and the standard logger."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from typing import Any

import pytest
from integration.cluster.helpers import Machines
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from batcher.cli.observing import WorkerWatch
from batcher.clock import SystemClock
from batcher.telemetry import Telemetry


@pytest.mark.anyio
async def test_a_run_is_one_trace_whoever_works_at_it(
    machines: Machines, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.world.switches.set({"run_seconds": 0.5})  # so that no create comes back with its task's end
    monkeypatch.setattr("batcher.cli.observing._GAUGE_SECONDS", 0.1)
    caplog.set_level(logging.INFO, "batcher")
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider([reader], shutdown_on_exit=False)

    def make(about: Any, **words: Any) -> Telemetry:
        return Telemetry(tracers, meters, SystemClock(), version="1", describe=about, redact=str, **words)

    watch = partial(WorkerWatch, make)
    with machines.starting(machines.workload(6)) as start:
        run_id = await start.begin(machines.tables)
        async with machines.worker(watch_of=watch), machines.worker(watch_of=watch):
            assert (await machines.ended(run_id))["kind"] == "done"
    found = spans.get_finished_spans()
    assert {span.context.trace_id for span in found} == {found[0].context.trace_id}
    names = Counter(span.name for span in found)
    assert names == {"run": 1, "job": 6, "submit": 6, "wait": 6, "download": 6}
    [run] = [span for span in found if span.name == "run"]
    assert run.attributes
    assert run.attributes["batcher.exit_code"] == 0
    assert {span.attributes and span.attributes["campaign"] for span in found if span.name == "job"} == {"spring"}
    data = reader.get_metrics_data()
    assert data
    metrics = {metric.name for each in data.resource_metrics[0].scope_metrics for metric in each.metrics}
    assert {"batcher.jobs", "batcher.queue", "batcher.run.credits", "batcher.rate"} <= metrics
    said = Counter(getattr(record, "event", "") for record in caplog.records)
    assert (said["saved"], said["run_ended"]) == (6, 1)
