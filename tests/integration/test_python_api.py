"""`import batcher`: every example of its page and its notebook runs; it does what the commands do, without printing."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import KEY

import batcher
from batcher import api, own_models, simulated
from batcher.cli.app import main
from batcher.errors import LedgerLocked, ManifestError, UsageError
from batcher.ledger import LedgerReader, hold_lock
from batcher.ledger.queries.left_behind import without_manifest
from batcher.simulator.app import Simulator
from batcher.simulator.media import plain
from batcher.simulator.serve import running
from batcher.simulator.switches import Switches
from batcher.simulator.world import World

DOCS = Path(__file__).parents[2] / "docs"
DATA: dict[str, Any] = {
    "campaign": "spring",
    "model": "grok-imagine-video",
    "prompts": ["A boat", {"name": "kite", "prompt": "A kite"}],
    "limits": {"submit": "1000/second", "requests": "1000/second"},
    "polling": {"first": "20ms", "every": "20ms"},
}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[World, str]]:
    """The simulator, quick and served by a thread: its own process takes seconds to start."""
    world = World(now=time.time, wallet=100_000, switches=Switches(queue_seconds=(0, 0), run_seconds=(0.02, 0.03)))
    with running(Simulator(world, media=plain(60))) as base_url:
        yield world, base_url


@pytest.fixture
def world(served: tuple[World, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """It stands in for the process of `simulate=True`; the working folder is empty, the environment has no key."""

    @contextmanager
    def here(state: Path, *, unchecked: bool = False) -> Iterator[str]:
        yield served[1]

    monkeypatch.setattr(simulated, "running", here)
    monkeypatch.setattr(own_models, "_folders", ())
    monkeypatch.chdir(tmp_path)
    for name in ("RIVYA_API_KEY", "RIVYA_BASE_URL", "BATCHER_STATE"):
        monkeypatch.delenv(name, raising=False)
    return served[0]


def test_every_example_of_the_page_runs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", (DOCS / "python.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, "python.md", "exec"), names)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "2 jobs for 20 credits"
    assert "Kind.DONE everything selected is done 20" in told
    assert "gull 10 state/results/harbour/" in " ".join(told)
    assert "1 job of the sample is new" in told
    assert any(line.startswith("sampled: everything selected is done") for line in told)
    assert "2 are bought again by the next run, as new attempts" in told
    assert "grok-imagine-video" in told[-1]


def test_the_page_names_what_there_is() -> None:
    page = (DOCS / "python.md").read_text("utf-8").partition("## The names")[2]
    assert {
        name for cell in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    } == {*batcher.__all__}
    for name in batcher.__all__:
        found = getattr(batcher, name)
        assert inspect.getdoc(found)
        methods = [m for n, m in inspect.getmembers(found, inspect.isfunction) if not n.startswith("_")]
        for method in methods if inspect.isclass(found) and found.__module__ == "batcher.api" else ():
            assert inspect.getdoc(method), method
            assert "return" in method.__annotations__, method
    (row,) = (row for row in page.splitlines() if row.startswith("| `Ledger` |"))
    public = {name for name, _ in inspect.getmembers(batcher.Ledger, inspect.isfunction) if not name.startswith("_")}
    assert set(re.findall(r"`(\w+)`", row)) == {"Ledger", *public}
    whole = (DOCS / "python.md").read_text("utf-8")
    assert {option for option in api.RunOptions.__annotations__ if f"`{option}`" not in whole} == set()
    with pytest.raises(AttributeError, match="no attribute 'Legder'"):
        _ = batcher.Legder


def test_the_notebook_runs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Cell by cell in one running loop, as Jupyter does it."""
    notebook = json.loads((DOCS / "python.ipynb").read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    values: list[Any] = []

    async def run() -> None:
        for cell in cells:
            tree = ast.parse(cell)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            await _do(compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            if isinstance(last, ast.Expr):
                values.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))

    asyncio.run(run())
    plan, first, bill, jobs = values
    assert plan == (2, 20)
    assert first == (batcher.Kind.DONE, "everything selected is done")
    assert (bill.attempts, bill.settled) == (1, 10)
    assert [(status, price, path.is_file()) for _, status, price, path in jobs] == [("succeeded", 10, True)] * 2
    assert capsys.readouterr() == ("", ""), "nothing is printed"


async def _do(code: Any, names: dict[str, Any]) -> None:
    found = eval(code, names)
    if inspect.isawaitable(found):
        await found


def test_data_and_a_file_come_to_the_same_jobs(world: World, tmp_path: Path) -> None:
    """Whatever letters stand in a prompt: data is not written as YAML on its way."""
    data = DATA | {"prompts": ["A boat \u2028 # \U0001f6a2: {x}", {"name": "kite", "prompt": "-\t'é' \\n"}]}
    (tmp_path / "m.yaml").write_text(
        'campaign: spring\nmodel: grok-imagine-video\nprompts:\n  - "A boat \\u2028 # \U0001f6a2: {x}"\n'
        "  - {name: kite, prompt: \"-\\t'é' \\\\n\"}\n",
        "utf-8",
    )
    ledger = batcher.Ledger("state")
    from_data, from_file = (list(ledger.plan(m).jobs) for m in (batcher.Manifest(**data), batcher.load("m.yaml")))
    assert [job.id for job in from_data] == [job.id for job in from_file]
    assert len(from_data) == 2
    assert not Path("state").exists(), "a plan writes nothing"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompts": [object()]}, "no plain data: object"),
        ({"prompts": []}, "prompts"),
        ({"colour": "red"}, "colour"),
        ({"campaign": "A b"}, "A b"),
        ({"prompts": [{"prompt": "{{ nobody }}"}]}, "nobody"),
        ({"budget": {"campaign": float("nan")}}, "no plain data"),
    ],
)
def test_faulty_data_is_a_manifest_error(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        batcher.Manifest(**DATA | change)
    assert caught.value.problems[0].file == "<data>"


def test_commands_and_programs_share_a_ledger(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """What one has bought the other does not buy again; a simulator's ledger is none of an API's."""
    manifest = batcher.Manifest(**DATA)
    Path("m.yaml").write_text(json.dumps(DATA), "utf-8")
    before = len(world.oracle().tasks)
    with batcher.Ledger("state/simulated") as ledger:
        assert ledger.run(manifest, simulate=True, limit=1).bill.attempts == 1
        assert capfd.readouterr() == ("", "")
        assert main(["run", "m.yaml", "--simulate", "--quiet", "--state", "state/simulated"]) == 0
        assert [job.status for job in ledger.jobs()] == ["succeeded", "succeeded"]
        assert len(world.oracle().tasks) == before + 2
        with pytest.raises(UsageError, match="ledger of the simulator"):
            batcher.Ledger(ledger.state, key=KEY, base_url="http://127.0.0.1:9").run(manifest)
        with pytest.raises(UsageError, match="no key"):
            ledger.run(manifest)
        with hold_lock(ledger.state, started="x"), pytest.raises(LedgerLocked):
            ledger.run(manifest, simulate=True)
        with pytest.raises(UsageError, match="event loop of asyncio"):
            ledger.arun(manifest, simulate=True).send(None)
    with pytest.raises(UsageError, match="is closed"):
        ledger.run(manifest, simulate=True)


def test_a_ledger_of_an_api_takes_no_simulated_run(world: World, served: tuple[World, str]) -> None:
    manifest = batcher.Manifest(**DATA)
    with batcher.Ledger("api", key=KEY, base_url=served[1]) as ledger:
        assert ledger.run(manifest).kind is batcher.Kind.DONE
        with pytest.raises(UsageError, match="an API on loopback"):
            ledger.run(manifest, simulate=True)
    assert KEY not in Path("api/ledger.db").read_bytes().decode("latin-1")
    assert KEY not in "".join(path.read_text("utf-8") for path in Path("api/logs").iterdir())
    assert KEY not in repr(ledger)


def test_decisions(world: World) -> None:
    manifest = batcher.Manifest(**DATA)
    with batcher.Ledger("state") as ledger:
        ledger.run(manifest, simulate=True, limit=1)
        [planned] = ledger.jobs(status="planned")
        [cancelled] = ledger.cancel(planned)
        assert (cancelled.status, cancelled.error_code) == ("cancelled", "cancelled")
        [done] = ledger.jobs(status=["succeeded", "failed"])
        with pytest.raises(UsageError, match="not doubtful"):
            ledger.resolve(done.id[:12], verdict="failed")
        with pytest.raises(UsageError, match="nothing left to send"):
            ledger.cancel(cancelled, done)
        assert [job.id for job in ledger.retry(cancelled, status="cancelled")] == [planned.id]
        assert [job.id for job in ledger.retry(campaign="spring", status="succeeded")] == [done.id]
        wrongs: list[Callable[[], object]] = [
            lambda: ledger.retry(),
            lambda: ledger.retry(campaign="nobody"),
            lambda: ledger.retry("zz"),
            lambda: ledger.retry(campaign="spring", status="done"),
            lambda: ledger.resolve(done, verdict="submitted"),
            lambda: ledger.resolve(done, verdict="failed", charged=-1),
            lambda: list(ledger.jobs(status="bought")),
        ]
        for wrong in wrongs:
            with pytest.raises(UsageError):
                wrong()
        outcome = ledger.run(manifest, simulate=True)
        assert (outcome.kind, outcome.bill.attempts) == (batcher.Kind.DONE, 2)


def test_a_notebook_can_stop_a_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the run has a thread of its own: it ends politely, and then KeyboardInterrupt is raised."""
    join = threading.Thread.join
    posted, presses = threading.Event(), [1]

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "batcher" and presses:
            presses.pop()
            posted.wait(20)
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)

    def on_event(change: batcher.Change) -> None:
        if change.event == "intended":
            posted.set()

    async def cell() -> None:
        manifest = batcher.Manifest(**DATA | {"limits": {"in_flight": 1}, "polling": {"first": "10s"}})
        batcher.Ledger("state").run(manifest, simulate=True, on_event=on_event)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cell())
    with closing(LedgerReader.open(Path("state/ledger.db"))) as read:
        [row] = read.rows("SELECT exit_code, reason FROM runs")
        assert tuple(row) == (130, "interrupted")
    first, second = batcher.Ledger("state").jobs()
    assert first.task_id, "the request that was open is answered, and its answer is known"
    assert (first.attempt, second.status) == (1, "planned")


def test_a_manifest_from_data_is_not_gone(world: World) -> None:
    """`status` tells of campaigns whose manifest is gone; of one that never was a file nobody can say so."""
    from batcher.ledger.queries.left_behind import LeftBehind

    found = [LeftBehind("spring", str(Path("<data>").absolute()), 1, 0, 10)]
    assert without_manifest(found) == []


def test_importing_it_imports_nothing_else() -> None:
    code = "import batcher, sys; print(*[m for m in sys.modules if m.startswith('batcher.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert api.Ledger is batcher.Ledger
