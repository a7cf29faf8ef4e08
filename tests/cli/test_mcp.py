"""`batcher mcp`: an agent looks freely, and buys nothing but a plan that a person has approved at a terminal, once."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from cli.helpers import ROOT, Cli, Site, clean, environment, refused

from batcher.cli.terminal import Terminal

if TYPE_CHECKING:  # the SDK takes a second, and every process of the suite reads this file
    from mcp.client import Client

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def approve(cli: Cli, monkeypatch: pytest.MonkeyPatch, *words: str, answer: str = "y\n") -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "can_ask", True)
        patch.setattr(sys, "stdin", io.StringIO(answer))
        return cli("plan", "--approve", *words)


@pytest.fixture
def plan(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hash of a plan of two jobs that a person has approved."""
    assert cli("plan", "m.yaml", "--only", "reveal", "--out", "plan.json").code == 0
    ran = approve(cli, monkeypatch, "plan.json")
    assert ran.code == 0, ran.err
    assert "2 jobs of tiny" in ran.err
    return str(json.loads(Path("plan.json").read_text())["id"])


def bought(place: Site) -> int:
    return len(place.world.oracle().charges)


def test_a_plan_is_approved_by_a_person_at_a_terminal_only(
    cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch, plan: str
) -> None:
    refused(cli("plan", "--approve", "plan.json"), "there is none here")
    refused(approve(cli, monkeypatch, "m.yaml"), "--approve takes one saved plan")
    assert approve(cli, monkeypatch, "plan.json", answer="n\n").code == 1
    assert approve(cli, monkeypatch, "plan.json", "--json").document == {"version": 1, "approved": plan}


def test_an_approval_holds_once_and_for_that_very_plan(
    cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch, plan: str
) -> None:
    refused(cli("run", "m.yaml", "--approved", plan), "--approved goes with the saved plan of that very hash")
    refused(cli("run", "plan.json", "--approved", "0" * 64), "--approved goes with")
    assert cli("plan", "m.yaml", "--out", "other.json").code == 0
    other = json.loads(Path("other.json").read_text())["id"]
    refused(cli("run", "other.json", "--approved", other), "no person has approved a plan of this hash")
    Path("other.json").replace("plan.json")  # put in the place of the approved one
    refused(cli("run", "plan.json", "--approved", plan), "--approved goes with")
    assert bought(place) == 0
    assert cli("plan", "m.yaml", "--only", "reveal", "--out", "again.json").code == 0
    again = json.loads(Path("again.json").read_text())["id"]
    assert approve(cli, monkeypatch, "again.json").code == 0
    assert cli("run", "again.json", "--approved", again).code == 0
    assert bought(place) == 2
    refused(cli("run", "again.json", "--approved", again), "it holds once")
    assert cli("run", "again.json").code == 0, "a person goes on by hand"


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert result.is_error == ("error" in (result.structured_content or {})), result
    return result.structured_content


def in_memory(state: Path, script: Callable[[Client], Any], **fakes: Any) -> None:
    from mcp.client import Client

    from batcher.cli.mcp_server import make_server

    async def main() -> None:
        async with Client(make_server(state, Path.cwd(), **fakes)) as client:
            await script(client)

    anyio.run(main)


def test_what_an_agent_names_is_never_an_option_nor_a_file_of_others(cli: Cli, tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def ask(words: Sequence[str]) -> dict[str, Any]:
        asked.append(words)
        return {"version": 1}

    (tmp_path / "out.yaml").symlink_to("/etc/hostname")

    async def script(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == {"plan", "status", "report", "jobs", "run_plan"}
        assert [tool.name for tool in tools if not (tool.annotations and tool.annotations.read_only_hint)] == [
            "run_plan"
        ]
        await call(client, "plan", manifests=["m.yaml", "--out=x.yaml"])
        await call(client, "jobs", campaign="--state=/", status="failed", limit=10_000)
        await call(client, "report", by=["campaign", "--html=x"])
        await call(client, "status")
        for name in ("/etc/hostname", "../x.yaml", "out.yaml", "a\0.yaml", ".env"):
            assert "error" in await call(client, "plan", manifests=[name])

    in_memory(tmp_path / "state", script, ask=ask)
    at = ["--state", str(tmp_path / "state"), "--json"]
    assert asked == [
        ["plan", *at, "--", str(tmp_path / "m.yaml"), str(tmp_path / "--out=x.yaml")],
        ["jobs", *at, "--limit=500", "--campaign=--state=/", "--status=failed"],
        ["report", *at, "--by=campaign,--html=x"],
        ["status", *at],
    ]


def test_run_plan_begins_nothing_without_an_approval(cli: Cli, place: Site, plan: str, tmp_path: Path) -> None:
    begun: list[Sequence[str]] = []

    def begin(words: Sequence[str]) -> Any:
        begun.append(words)
        raise AssertionError

    async def script(client: Client) -> None:
        for wrong in ("0" * 64, "--help", "", "plan.json"):
            told = await call(client, "run_plan", hash=wrong)
            assert told["error"]["message"] == "no person has approved a plan of this hash"

    in_memory(Path("state"), script, begin=begin)
    assert begun == []


def test_a_real_server_plans_tells_and_buys_what_was_approved_once(
    cli: Cli, place: Site, plan: str, tmp_path: Path
) -> None:
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    async def main() -> None:
        environ = clean(**environment(place), PYTHONPATH=str(ROOT))
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "batcher", "mcp"], env=environ, cwd=str(tmp_path)
        )
        async with Client(stdio_client(server, errlog=sys.__stderr__ or sys.stderr)) as client:
            bad = await call(client, "jobs", status="nonsense")
            assert bad["error"]["exit_code"] == 2
            done = await call(client, "run_plan", hash=plan)
            assert (done["running"], done["exit_code"]) == (False, 0), done
            again = await call(client, "run_plan", hash=plan)
            assert "it holds once" in again["error"]["message"]

    anyio.run(main)
    assert bought(place) == 2
    assert list(Path("state/results/tiny").iterdir())


def test_without_the_sdk_it_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "batcher.cli.mcp_server"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    refused(cli("mcp"), "serving an agent needs the MCP SDK")
