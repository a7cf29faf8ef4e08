"""Where key and base URL come from, and that a cloned folder cannot send a key anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batcher.access import Access
from batcher.cli.environment import read_access, secrets
from batcher.errors import UsageError
from batcher.redact import without

DEFAULT_BASE_URL = "https://rivya.ai"
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
        (None, {"RIVYA_API_KEY": " from-outside \n"}, "from-outside", DEFAULT_BASE_URL),
        (
            None,
            {"RIVYA_API_KEY": "from-outside", "RIVYA_BASE_URL": "https://a.example"},
            "from-outside",
            "https://a.example",
        ),
        ("RIVYA_API_KEY=from-file\n", {}, "from-file", DEFAULT_BASE_URL),
        ("RIVYA_API_KEY=from-file\n" + STRANGER, {}, "from-file", "https://stranger.example"),
        (
            "RIVYA_API_KEY=from-file\n" + STRANGER,
            {"RIVYA_BASE_URL": "https://a.example"},
            "from-file",
            "https://a.example",
        ),
        ("RIVYA_API_KEY=from-file\n", {"RIVYA_API_KEY": "from-outside"}, "from-outside", DEFAULT_BASE_URL),
        ("RIVYA_API_KEY=from-file\n", {"RIVYA_API_KEY": ""}, "from-file", DEFAULT_BASE_URL),
        (STRANGER, {}, None, DEFAULT_BASE_URL),
    ],
)
def test_the_real_environment_wins(
    folder: Path, file: str | None, environ: dict[str, str], key: str | None, base_url: str
) -> None:
    if file:
        (folder / ".env").write_text(file)
    assert read(environ) == (key, base_url, [])


@pytest.mark.parametrize("file", [STRANGER, STRANGER + "RIVYA_API_KEY=from-file\n"])
def test_a_base_url_of_the_folder_never_gets_a_key_of_the_environment(folder: Path, file: str) -> None:
    (folder / ".env").write_text(file)
    key, base_url, warnings = read({"RIVYA_API_KEY": "from-outside"})
    assert (key, base_url) == ("from-outside", DEFAULT_BASE_URL)
    assert "RIVYA_BASE_URL in .env is ignored" in warnings[0]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("RIVYA_API_KEY=abcdefgh", "abcdefgh"),
        ("  export RIVYA_API_KEY = abcdefgh  ", "abcdefgh"),
        ("RIVYA_API_KEY=abcdefgh # a comment", "abcdefgh"),
        ("RIVYA_API_KEY=abcdef#c", "abcdef#c"),
        ('RIVYA_API_KEY="abcdefgh"', "abcdefgh"),
        ("RIVYA_API_KEY='abcdefgh' # a comment", "abcdefgh"),
        ("RIVYA_API_KEY=abcdef$B", "abcdef$B"),
        ("# RIVYA_API_KEY=abcdefgh", None),
        ("MY_RIVYA_API_KEY=abcdefgh", None),
        ("RIVYA_API_KEY=", None),
        ("RIVYA_API_KEY= # nothing", None),
        ('RIVYA_API_KEY=""', None),
        ("other tool's \x00 syntax\nRIVYA_API_KEY=abcdefgh", "abcdefgh"),
        ("\ufeffRIVYA_API_KEY=abcdefgh", "abcdefgh"),
        ("RIVYA_API_KEY=first-key\nRIVYA_API_KEY=last-key", "last-key"),
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
    with pytest.raises(UsageError, match="a key cannot have"):
        read({})
    (folder / ".env").write_bytes(b"#" * 1_000_001)
    assert read({})[0] is None


def test_secrets_are_found_wherever_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVYA_API_KEY", "real-key")
    (folder / ".env").write_text("RIVYA_API_KEY=written")
    assert secrets() == ["real-key", "written"]


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


def test_a_key_that_stands_in_any_text_is_refused() -> None:
    """Masking it would take letters out of ids."""
    with pytest.raises(UsageError, match="shorter than 8"):
        read_access(lambda _: None, environ={"RIVYA_API_KEY": "task_1"})


@pytest.mark.parametrize("key", ["k", "a", "it"])
def test_a_short_key_leaves_messages_readable(key: str) -> None:
    """It is refused; only where it stands by itself may it be what somebody typed."""
    assert without(f"RIVYA_API_KEY is shorter than all: {key}.", key) == "RIVYA_API_KEY is shorter than all: [key]."
