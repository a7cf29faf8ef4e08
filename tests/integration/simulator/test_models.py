"""Every model of the catalogue, bought once from the simulator."""

from __future__ import annotations

import json
from pathlib import Path

from core_helpers import example
from support import Bench

from batcher.catalog import get_model, model_ids
from batcher.errors import Kind
from batcher.filetypes import sniff


def test_one_job_of_each_model_is_bought_and_fetched(tmp_path: Path) -> None:
    bench = Bench(tmp_path, wallet=100_000, unpriced=1000)
    models = [get_model(name) for name in model_ids()]
    result = bench.run(*(bench.write(example(model), f"{model.id}.yaml") for model in models))
    jobs = {job["model"]: job for job in bench.jobs()}
    assert result.kind is Kind.DONE, result
    assert {name: job["final_credits"] for name, job in jobs.items()} == {m.id: m.base_credits for m in models}
    for task in bench.world.oracle().tasks.values():
        sent, model = task.request["params"], get_model(task.request["model"])
        assert sent == model.whole(sent), "every param goes along, each as its page has it on the wire"
        assert ("prompt" in task.request) is not model.prompt.is_none
    for model in models:
        found = sniff((bench.state / jobs[model.id]["result_path"]).read_bytes()[:512])
        assert found is not None
        assert found.kind == model.result
    assert json.loads(jobs["kling-2-6"]["params"]) == {"duration": "5", "sound": "false", "aspect_ratio": "1:1"}
