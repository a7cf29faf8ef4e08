"""A run as others observe it: OpenTelemetry's spans and metrics in memory, and records of the standard logger."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from integration.lifecycle.helpers import faults, manifest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import KEY, Bench, Killed

from batcher.errors import Kind
from batcher.ledger import Change
from batcher.ledger.queries import jobs
from batcher.log_bridge import LogBridge
from batcher.telemetry import Telemetry


class Observed:
    """Telemetry of the runs of a bench, kept in memory."""

    def __init__(self, bench: Bench) -> None:
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        meters = MeterProvider([self.reader], shutdown_on_exit=False)

        def describe(job_id: Any) -> dict[str, str]:
            assert bench.running
            return jobs.about(bench.running.ledger.read, job_id)

        self.telemetry = Telemetry(
            tracers,
            meters,
            bench.clock,
            version="1",
            describe=describe,
            redact=lambda text: text.replace(KEY, "[key]"),
        )
        bench.observe = self.telemetry

    def finished(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        data = self.reader.get_metrics_data()
        assert data
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            points: Any = metric.data.data_points
            found[metric.name] = [(dict(p.attributes), getattr(p, "value", getattr(p, "count", 0))) for p in points]
        return found


def test_a_jobs_way_is_a_span_and_credits_rate_and_queue_are_metrics(bench: Bench) -> None:
    observed = Observed(bench)
    bench.switches.fail_prompt = "storm"
    assert bench.run(manifest(bench, "Boat", "Ship", "A storm")).kind is Kind.UNFINISHED
    [run] = observed.finished("run")
    assert run.attributes
    assert run.attributes["batcher.exit_code"] == 1
    ways = observed.finished("job")
    assert len(ways) == 3
    for way in ways:
        assert way.parent
        assert way.parent.span_id == run.context.span_id
        assert way.attributes
        assert way.attributes["campaign"] == "spring"
        assert run.start_time <= way.start_time < way.end_time <= run.end_time  # type: ignore[operator]
    assert Counter(way.status.status_code.name for way in ways) == {"UNSET": 2, "ERROR": 1}
    parts = Counter(span.name for span in observed.spans.get_finished_spans())
    assert parts == {"run": 1, "job": 3, "submit": 3, "wait": 3, "download": 2}
    [saved, *_] = [way for way in ways if way.status.status_code.name == "UNSET"]
    whole = observed.spans.get_finished_spans()
    mine = [span for span in whole if span.parent and span.parent.span_id == saved.context.span_id]
    assert [span.name for span in mine] == ["submit", "wait", "download"]
    assert [span.end_time for span in mine[:-1]] == [span.start_time for span in mine[1:]], "without gaps"
    with bench.reader() as read:
        observed.telemetry.gauge({"queued": 2, "done": 1}, read.spent(), 7.0)
        settled = read.spent().settled
    metrics = observed.metrics()
    assert ({"status": "succeeded"}, 2) in metrics["batcher.jobs"]
    assert metrics["batcher.queue"] == [({"state": "queued"}, 2), ({"state": "done"}, 1)]
    assert ({"state": "settled"}, settled) in metrics["batcher.run.credits"]
    assert metrics["batcher.rate"] == [({}, 7.0)]
    assert sum(count for _, count in metrics["batcher.job.duration"]) == 3


def test_what_an_earlier_run_bought_has_a_way_in_this_one(bench: Bench) -> None:
    path = manifest(bench, "Boat")
    bench.switches.queue_seconds, bench.switches.run_seconds = (0, 0), (100, 100)
    bench.observe = lambda change: bench.kill() if change.event in ("queued", "processing") else None
    with pytest.raises(Killed):
        bench.run(path)
    observed = Observed(bench)
    assert bench.run(path).kind is Kind.DONE
    assert len(observed.finished("job")) == 1
    assert "download" in {span.name for span in observed.spans.get_finished_spans()}


def test_records_of_the_standard_logger_say_all_without_a_key(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    path = manifest(bench, "Boat")
    faults(bench, {"on": "create", "do": "status", "status": 422, "code": "bad", "text": f"no {KEY}"})
    with caplog.at_level(logging.DEBUG, "batcher"):
        assert bench.run(path).kind is Kind.UNFINISHED
    levels = {(record.event, record.levelname) for record in caplog.records if record.name == "batcher"}  # type: ignore[attr-defined]
    assert {("run_started", "INFO"), ("intended", "INFO"), ("looked", "INFO"), ("run_ended", "INFO")} <= levels
    assert ("refused", "WARNING") in levels
    assert KEY not in caplog.text
    with caplog.at_level(logging.DEBUG, "batcher"):
        LogBridge(lambda text: text.replace(KEY, "[key]"))(Change("halted", detail={"reason": f"no {KEY}"}))
    assert KEY not in caplog.text
    json.dumps([record.detail for record in caplog.records if record.name == "batcher"])  # type: ignore[attr-defined]


def test_a_program_that_listens_to_nothing_hears_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    faults(bench, {"on": "create", "do": "status", "status": 422, "code": "bad"})
    bench.run(manifest(bench, "Boat"))
    assert capsys.readouterr() == ("", "")
