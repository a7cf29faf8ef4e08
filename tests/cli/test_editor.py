"""The schema in a real editor's hands: what yaml-language-server offers and finds. Skipped where it is not there.

`.ci/run` installs it, in the version that README.md names.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batcher.manifest import json_schema

SERVER = shutil.which("yaml-language-server")
pytestmark = pytest.mark.skipif(SERVER is None, reason="yaml-language-server is not installed (npm)")

MANIFEST = """\
# yaml-language-server: $schema=manifest.schema.json
campaign: spring
model: grok-imagine-video
params:
  moed: fun
  mode: funn
\x20\x20
matrix: {duration: [6, 99], product: [ring]}
prompts:
  - prompt: A boat
    params: {resolution: 481p}
"""
SETTINGS = {"validate": True, "completion": True, "hover": True, "schemaStore": {"enable": False}}


class Editor:
    """A client that has one file open; it speaks JSON-RPC over the server's standard streams."""

    def __init__(self, server: subprocess.Popen[bytes], file: Path) -> None:
        self._server, self._number = server, 0
        self._file = {"uri": file.as_uri()}
        self.diagnostics: list[Any] = []
        self._ask(
            "initialize", {"processId": None, "rootUri": None, "capabilities": {"workspace": {"configuration": True}}}
        )
        self._send({"method": "initialized", "params": {}})
        opened = {**self._file, "languageId": "yaml", "version": 1, "text": file.read_text()}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": opened}})

    def offered(self, line: int, character: int) -> list[str]:
        """What is offered there, both counted from 0."""
        at = {"line": line, "character": character}
        found = self._ask("textDocument/completion", {"textDocument": self._file, "position": at})
        return [item["label"] for item in found["items"]]

    def find(self) -> list[tuple[int, str]]:
        """What is wrong with the file, by line, from 0."""
        while not self.diagnostics:
            self._hear()
        return sorted((each["range"]["start"]["line"], each["message"]) for each in self.diagnostics)

    def _ask(self, method: str, params: dict[str, Any]) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while (answer := self._hear()) is None or answer.get("id") != self._number:
            pass
        return answer["result"]

    def _hear(self) -> dict[str, Any] | None:
        """The next message, if it is an answer; a question of the server is answered, diagnostics are kept."""
        stream, length = self._server.stdout, 0
        assert stream is not None
        while line := stream.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        message: dict[str, Any] = json.loads(stream.read(length))
        if "method" not in message:
            return message
        if message["method"] == "textDocument/publishDiagnostics":
            self.diagnostics = message["params"]["diagnostics"] or self.diagnostics
        if "id" in message:
            asked = message["params"]["items"] if message["method"] == "workspace/configuration" else None
            told = asked and [SETTINGS if item.get("section") == "yaml" else None for item in asked]
            self._send({"id": message["id"], "result": told})
        return None

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._server.stdin is not None
        self._server.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._server.stdin.flush()


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    (tmp_path / "manifest.schema.json").write_text(json.dumps(json_schema()))
    (tmp_path / "m.yaml").write_text(MANIFEST)
    assert SERVER
    with subprocess.Popen([SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            yield Editor(server, tmp_path / "m.yaml")
        finally:
            server.kill()


def test_params_and_their_values_are_offered_and_checked(editor: Editor) -> None:
    assert editor.offered(6, 2) == ["duration", "resolution", "aspect_ratio"]
    assert editor.offered(5, 8) == ["fun", "normal", "spicy"]
    assert editor.find() == [
        (4, "Property moed is not allowed."),
        (5, 'Value is not accepted. Valid values: "fun", "normal", "spicy".'),
        (7, "Value is above the maximum of 30."),
        (10, 'Value is not accepted. Valid values: "480p", "720p".'),
    ]
