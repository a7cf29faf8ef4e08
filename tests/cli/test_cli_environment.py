"""Where key and base URL come from, and that a cloned folder cannot send a key anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batcher.cli.environment import DEFAULT_BASE_URL, Access, read_access, secrets
from batcher.errors import UsageError

STRANGER = "RIVYA_BASE_URL=https://stranger.example\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(environ: dict[str, str]) -> tuple[str | None, str, list[str]]:
    warnings: list[str] = []
    access = read_access(warnings.append, environ=environ)
    return access.key, access.base_url, warnings


@pytest.mark.parametrize(
    ("file", "environ", "key", "base_url"),
    [
        (None, {}, None, DEFAULT_BASE_URL),
        (None, {"RIVYA_API_KEY": " k \n"}, "k", DEFAULT_BASE_URL),
        (None, {"RIVYA_API_KEY": "k", "RIVYA_BASE_URL": "https://a.example"}, "k", "https://a.example"),
        ("RIVYA_API_KEY=f\n", {}, "f", DEFAULT_BASE_URL),
        ("RIVYA_API_KEY=f\n" + STRANGER, {}, "f", "https://stranger.example"),
        ("RIVYA_API_KEY=f\n" + STRANGER, {"RIVYA_BASE_URL": "https://a.example"}, "f", "https://a.example"),
        ("RIVYA_API_KEY=f\n", {"RIVYA_API_KEY": "k"}, "k", DEFAULT_BASE_URL),
        ("RIVYA_API_KEY=f\n", {"RIVYA_API_KEY": ""}, "f", DEFAULT_BASE_URL),
        (STRANGER, {}, None, DEFAULT_BASE_URL),
    ],
)
def test_the_real_environment_wins(
    folder: Path, file: str | None, environ: dict[str, str], key: str | None, base_url: str
) -> None:
    if file:
        (folder / ".env").write_text(file)
    assert read(environ) == (key, base_url, [])


@pytest.mark.parametrize("file", [STRANGER, STRANGER + "RIVYA_API_KEY=f\n"])
def test_a_base_url_of_the_folder_never_gets_a_key_of_the_environment(folder: Path, file: str) -> None:
    (folder / ".env").write_text(file)
    key, base_url, warnings = read({"RIVYA_API_KEY": "k"})
    assert (key, base_url) == ("k", DEFAULT_BASE_URL)
    assert "RIVYA_BASE_URL in .env is ignored" in warnings[0]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("RIVYA_API_KEY=abc", "abc"),
        ("  export RIVYA_API_KEY = abc  ", "abc"),
        ("RIVYA_API_KEY=abc # a comment", "abc"),
        ("RIVYA_API_KEY=a#c", "a#c"),
        ('RIVYA_API_KEY="abc"', "abc"),
        ("RIVYA_API_KEY='abc' # a comment", "abc"),
        ("RIVYA_API_KEY=a$B", "a$B"),
        ("# RIVYA_API_KEY=abc", None),
        ("MY_RIVYA_API_KEY=abc", None),
        ("RIVYA_API_KEY=", None),
        ("RIVYA_API_KEY= # nothing", None),
        ('RIVYA_API_KEY=""', None),
        ("other tool's \x00 syntax\nRIVYA_API_KEY=abc", "abc"),
        ("\ufeffRIVYA_API_KEY=abc", "abc"),
        ("RIVYA_API_KEY=first\nRIVYA_API_KEY=last", "last"),
    ],
)
def test_lines(folder: Path, line: str, key: str | None) -> None:
    (folder / ".env").write_text(line, "utf-8")
    assert read({})[0] == key


@pytest.mark.parametrize("line", ['RIVYA_API_KEY="sekrit', "RIVYA_API_KEY='sekrit' more"])
def test_a_faulty_line_is_told_without_its_value(folder: Path, line: str) -> None:
    (folder / ".env").write_text(f"A=b\n{line}\n")
    with pytest.raises(UsageError, match=r"^\.env:2: the value of RIVYA_API_KEY") as caught:
        read({})
    assert "sekrit" not in str(caught.value)
    assert secrets() == [key for key in (os.environ.get("RIVYA_API_KEY"),) if key]


@pytest.mark.parametrize("key", ["two words", "ümlaut", "line\nbreak"])
def test_what_cannot_be_a_key(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        read({"RIVYA_API_KEY": key})
    assert key not in str(caught.value)


def test_files_that_cannot_be_read(folder: Path) -> None:
    (folder / ".env").mkdir()
    assert read({})[0] is None
    (folder / ".env").rmdir()
    (folder / ".env").write_bytes(b"RIVYA_API_KEY=\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        read({})
    (folder / ".env").write_bytes(b"#" * 1_000_001)
    assert read({})[0] is None


def test_secrets_are_found_wherever_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVYA_API_KEY", "real")
    (folder / ".env").write_text("RIVYA_API_KEY=written")
    assert secrets() == ["real", "written"]


def test_accounts() -> None:
    assert Access("https://a.example", None).account is None
    one, other = Access("https://a.example/", "key-one").account, Access("https://a.example", "key-two").account
    assert one
    assert one.startswith("https://a.example#")
    assert one != other
    moved = [Access(f"http://127.0.0.1:{port}", "key-one", "simulator").account for port in (1, 2)]
    assert moved[0] == moved[1]
    with pytest.raises(UsageError, match="cannot be the API's base URL"):
        _ = Access("http://rivya.ai", "key-one").account
    assert "secret" not in repr(Access("https://a.example", "secret"))
