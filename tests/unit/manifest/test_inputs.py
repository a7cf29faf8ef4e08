"""Spreadsheets, lists and manifests as people have them: what is read, what is an error, what is told and is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.manifest.helpers import NFC, NFD, jobs_of, places, read, write

BOAT = ("a", "A red boat")
# file, content, name and text of the jobs
READ: dict[str, tuple[str, bytes | str, list[tuple[str, str]]]] = {
    "semicolons, as Excel in most of Europe": (
        "a.csv",
        "name;prompt\r\na;A red boat, on a lake\r\n",
        [("a", "A red boat, on a lake")],
    ),
    "tabs": ("a.csv", "name\tprompt\na\tA red boat, on a lake; at dawn\n", [("a", "A red boat, on a lake; at dawn")]),
    "a .tsv": ("a.tsv", "name\tprompt\na\tA red boat\n", [BOAT]),
    "a .tsv of one column": ("a.tsv", "prompt\nA red boat, at dawn\n", [("a-red-boat-at-dawn", "A red boat, at dawn")]),
    "commas inside quotes of a header": ("a.csv", 'name;prompt;"size, in cm, of it"\na;A red boat;1\n', [BOAT]),
    "sep=;": ("a.csv", "sep=;\r\nname;prompt\r\na;A red boat\r\n", [BOAT]),
    "sep=,": ("a.csv", "sep=,\r\nname,prompt\r\na,A red boat\r\n", [BOAT]),
    "sep in quotes, after a BOM": ("a.csv", '\ufeff"sep=;"\nname;prompt\na;A red boat\n', [BOAT]),
    "two BOMs": ("a.csv", "\ufeff\ufeffname,prompt\na,A red boat\n", [BOAT]),
    "CR alone at the end of lines": ("a.csv", "name,prompt\ra,A red boat\rb,B\r", [BOAT, ("b", "B")]),
    "CR alone, in a list": ("a.txt", "A red boat\rB\r", [("a-red-boat", "A red boat"), ("b", "B")]),
    "CR alone, in a .jsonl": ("a.jsonl", '{"prompt": "A"}\r{"prompt": "B"}\r', [("a", "A"), ("b", "B")]),
    "a CR in quotes": ("a.csv", 'name,prompt\r\na,"A red\rboat"\r\n', [("a", "A red\nboat")]),
    "line ends in quotes": ("a.csv", 'name,prompt\r\na,"A red\r\nboat"\r\n', [("a", "A red\nboat")]),
    "delimiters at the end of lines": ("a.csv", "name,prompt,,,\na,A red boat,,,\n,,,,\n", [BOAT]),
    "delimiters at the end of rows only": ("a.csv", "name,prompt\na,A red boat,,\n", [BOAT]),
    "a row of spaces": ("a.csv", "name,prompt\na,A red boat\n , \n", [BOAT]),
    "spaces around names and texts": ("a.csv", "name , prompt\n a , A red boat \n", [BOAT]),
    "marks that nobody sees around names": (
        "a.csv",
        "name\u200b,\u2060prompt\u200b,\ufeffduration\na,A red boat,6\n",
        [BOAT],
    ),
    "a whole number with a point": ("a.csv", "name,prompt,duration\na,A red boat,6.0\n", [BOAT]),
    "two rows of one name": ("a.csv", "name,prompt\na,A red boat\na,B\n", [BOAT, ("a", "B")]),
    "other scripts": (
        "a.csv",
        "name,prompt\na,一艘红色的小船在湖上\nb,👨‍👩‍👧‍👦 🇵🇰\n",
        [("a", "一艘红色的小船在湖上"), ("b", "👨‍👩‍👧‍👦 🇵🇰")],
    ),
    "a .jsonl with BOM, CRLF and an empty line": (
        "a.jsonl",
        '\ufeff{"name":"a","prompt":"A red boat"}\r\n\r\n',
        [BOAT],
    ),
    "a line separator within a text": (
        "a.jsonl",
        '{"name":"a","prompt":"A red\u2028boat"}\n',
        [("a", "A red\u2028boat")],
    ),
    "names are kept in one spelling": ("a.csv", f"name,prompt\n{NFD},A red boat\n", [(NFC, "A red boat")]),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_read(case: str, tmp_path: Path) -> None:
    name, content, jobs = READ[case]
    assert read(tmp_path, name, content) == jobs


def test_a_line_end_between_two_reads(tmp_path: Path) -> None:
    """A CRLF is one line end wherever it stands: told by the place of a fault behind it."""
    for length in range(65_530, 65_540):
        rows = [f"{number} {'x' * 1023}"[:1023] for number in range(63)]
        rows.append("x" * (length - 63 * 1024))
        content = "\n".join(rows).encode() + b"\r\ncaf\xe9\r\n"
        assert content.index(b"\r") == length
        first = places(write(tmp_path, "prompts: [{file: a.txt}]", {"a.txt": content}))[0]
        assert first.startswith("a.txt:65:4 (row 65)")


# file, content, beginning of the first error, part of its hint
REFUSED: dict[str, tuple[str, bytes | str, str, str]] = {
    "Windows-1252": (
        "a.csv",
        b"name,prompt\r\na,A boat \x93q\x94\r\n",
        "a.csv:2:10 (row 1): the byte 0x93 is not",
        "CSV UTF-8",
    ),
    "Mac Roman, CR alone": (
        "a.csv",
        b"prompt\rok\rcaf\x8e\r",
        "a.csv:3:4 (row 2): the byte 0x8E is not UTF-8",
        "save it as UTF-8",
    ),
    "in a header": ("a.csv", b"pr\xe9nom,prompt\nx,y\n", "a.csv:1:3: the byte 0xE9 is not UTF-8", "save it as UTF-8"),
    "in a list": ("a.txt", b"ok\ncaf\xe9\n", "a.txt:2:4 (row 2): the byte 0xE9 is not UTF-8", "save it as UTF-8"),
    "in a .jsonl": (
        "a.jsonl",
        b'{"prompt": "caf\xe9"}\n',
        "a.jsonl:1:16 (row 1): the byte 0xE9 is not",
        "save it as UTF-8",
    ),
    "UTF-16": ("a.csv", "name,prompt\r\n".encode("utf-16"), "a.csv:1: is UTF-16", "save it as UTF-8"),
    "UTF-16, big end first": ("a.csv", "\ufeffname\n".encode("utf-16-be"), "a.csv:1: is UTF-16", "save it as UTF-8"),
    "UTF-16 without a BOM": ("a.csv", "name,prompt\r\n".encode("utf-16-le"), "a.csv:1: is UTF-16", "save it as UTF-8"),
    "NUL": ("a.csv", b"name,prompt\na,A red\0boat\n", "a.csv:2 (row 1): the prompt holds the character U+0000", ""),
    "NUL in a header": (
        "a.csv",
        b"name,pro\0mpt\na,b\n",
        "a.csv:1: the name of column 2 holds the character U+0000",
        "",
    ),
    "an index without a name": (
        "a.csv",
        ",name,prompt\n0,a,A\n",
        "a.csv:1: column 1 has no name",
        "name it, or remove",
    ),
    "no name at all": ("a.csv", "\u200b,\u200b\nx,y\n", "a.csv:1: no column has a name", ""),
    "a header twice": ("a.csv", "prompt,prompt\nA,B\n", "a.csv:1: the column 'prompt' is here twice", "keep one"),
    "a header twice, in two spellings": (
        "a.csv",
        f"prompt,{NFC},{NFD}\nA,B,C\n",
        f"a.csv:1: the column '{NFC}' is here twice",
        "",
    ),
    "capital letters": (
        "a.csv",
        "Name,prompt\na,A\n",
        "a.csv:1: the column 'Name' means nothing",
        "did you mean 'name'?",
    ),
    "a mark within a name": (
        "a.csv",
        "na\u200bme,prompt\na,A\n",
        "a.csv:1: the column 'na\\u200bme' means nothing",
        "'name'?",
    ),
    "a short row": ("a.csv", "name,prompt,duration\na,A\n", "a.csv:2 (row 1): has 2 cells, the header 3 columns", ""),
    "a long row": (
        "a.csv",
        "name,prompt\na,“A, B”\n",
        "a.csv:2 (row 1): has 3 cells, the header 2",
        "a comma in it needs double quotes",
    ),
    "a long row of a .tsv": ("a.tsv", "name\tprompt\na\tA\tB\n", "a.tsv:2 (row 1): has 3 cells", "a tab in it needs"),
    "NaN": ("a.csv", "prompt,duration\nA,NaN\n", "a.csv:2 (row 1): duration is 'NaN'; must be a number", ""),
    "a time that was a ratio": (
        "a.csv",
        "prompt,aspect_ratio\nA,16:09:00\n",
        "a.csv:2 (row 1): aspect_ratio is '16:09:00'",
        "'16:9'?",
    ),
    "a ratio that became a time": (
        "a.csv",
        "prompt,aspect_ratio\nA,09:16\n",
        "a.csv:2 (row 1): aspect_ratio is '09:16'",
        "'9:16'?",
    ),
    "a ratio that became a number": (
        "a.csv",
        "prompt,aspect_ratio\nA,0.672916667\n",
        "a.csv:2 (row 1): aspect_ratio is '0.672916667'; must be one of 1:1, 16:9",
        "",
    ),
    "a colon of another script": (
        "a.csv",
        "prompt,aspect_ratio\nA,16：9\n",
        "a.csv:2 (row 1): aspect_ratio is '16：9'",
        "'16:9'?",
    ),
    "a header with more words": (
        "a.csv",
        'name;"prompt, in English"\na;A\n',
        "a.csv:1: there is no column `prompt`",
        "add the column",
    ),
    "braces that are a text": (
        "a.csv",
        'name,prompt\na,"{{ mustache }} man"\n',
        "a.csv:2 (row 1): undefined variable 'mustache'",
        "known: ",
    ),
    "a mark within a value": (
        "a.csv",
        "prompt,aspect_ratio\nA,16:9\u200b\n",
        "a.csv:2 (row 1): aspect_ratio is '16:9\\u200b'",
        "'16:9'?",
    ),
    "a comment without its end": (
        "a.csv",
        'prompt\n"A {# B } C"\n',
        "a.csv:2 (row 1): prompt: not a template",
        "{{ '{#' }}",
    ),
    "a block": ("a.csv", 'prompt\n"100%} {% sign"\n', "a.csv:2 (row 1): prompt: not a template", "{{ '{%' }}"),
    "an array": (
        "a.jsonl",
        '[{"prompt":"A"}]\n',
        "a.jsonl:1 (row 1): must be a JSON object {…}, not a list",
        "object a line",
    ),
    "a comma between objects": (
        "a.jsonl",
        '{"prompt":"A"},\n',
        "a.jsonl:1:15 (row 1): this is not JSON: Extra data",
        "object a line",
    ),
    "an object over several lines": (
        "a.jsonl",
        '{\n  "prompt": "A"\n}\n',
        "a.jsonl:1:2 (row 1): this is not JSON",
        "object a line",
    ),
    "half a character": (
        "a.jsonl",
        '{"prompt":"A \\ud83d"}\n',
        "a.jsonl:1 (row 1): the prompt holds the character U+D83D",
        "",
    ),
    "NUL in JSON": (
        "a.jsonl",
        '{"prompt":"A\\u0000"}\n',
        "a.jsonl:1 (row 1): the prompt holds the character U+0000",
        "",
    ),
    "NEL in JSON": ("a.jsonl", '{"prompt":"A\x85B"}\n', "a.jsonl:1 (row 1): the prompt holds the character U+0085", ""),
    "a key twice, in two spellings": (
        "a.jsonl",
        f'{{"prompt":"A","{NFC}":1,"{NFD}":2}}\n',
        f"a.jsonl:1 (row 1): the key '{NFC}' is here",
        "",
    ),
    "comments only": ("a.txt", "# one\n#two\n", "a.txt: has no rows", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    name, content, beginning, hint = REFUSED[case]
    first = places(write(tmp_path, f"prompts: [{{file: {name}}}]", {name: content}))[0]
    assert first.startswith(beginning)
    assert hint in first


# bytes of a manifest, texts of the jobs
YAML_READ: dict[str, tuple[bytes, list[str]]] = {
    "a BOM": ("\ufeffcampaign: c\nmodel: grok-imagine-video\nprompts: [A red boat]\n".encode(), ["A red boat"]),
    "CRLF": (b"campaign: c\r\nmodel: grok-imagine-video\r\nprompts:\r\n  - A red boat\r\n", ["A red boat"]),
    "CR alone": (b"campaign: c\rmodel: grok-imagine-video\rprompts:\r  - A red boat\r", ["A red boat"]),
    "folded and literal texts": (
        b"campaign: c\nmodel: grok-imagine-video\nprompts:\n- >\n  A red boat\n  on a lake\n- |\n  1\n  2\n",
        ["A red boat on a lake", "1\n2"],
    ),
    "what looks like a date or a time": (
        b"campaign: 2024-11\nmodel: grok-imagine-video\nprompts: [2024-01-01, 12:30, yes]\n",
        ["2024-01-01", "12:30", "yes"],
    ),
}


@pytest.mark.parametrize("case", YAML_READ)
def test_what_is_read_of_a_manifest(case: str, tmp_path: Path) -> None:
    content, prompts = YAML_READ[case]
    path = tmp_path / "m.yaml"
    path.write_bytes(content)
    assert [job.prompt for job in jobs_of(path)] == prompts


YAML_REFUSED = {
    "a text that begins with @": ("prompts:\n  - @user A boat", "4:5", "needs quotes"),
    "a text that begins with %": ("prompts:\n  - %50 red boat", "4:5", "needs quotes"),
    "a text that begins with !": ("prompts:\n  - !important A boat", "4:5", "needs quotes"),
    "a text that begins with {{": ("prompts:\n  - {{ product }} on a table", "4:19", "needs quotes"),
    "a path of Windows": ('prompts:\n  - "C:\\Users\\me\\boat"', "4:10", "single quotes"),
    "a colon in a text": ("prompts:\n  - Close-up: a red boat", "4:5", "a text with ': ' in it needs quotes"),
    "typographic quotes": ("prompts:\n  - “A red boat: at dawn”", "4:5", "needs quotes, straight ones"),
    "a no-break space": ("prompts:\n\xa0 \xa0 - A red boat", "5:1", "plain spaces"),
    "a tab for an indent": ("prompts:\n\t- A red boat", "4:1", "indent with spaces, not tabs"),
    "a number for a text": ("prompts: [0123]", "3:11", "must be a text, not a number (put it in quotes)"),
    "another number for a text": ("prompts: [1e3]", "3:11", "must be a text, not a number (put it in quotes)"),
    "backslashes in a path": ("prompts: [x]\nreferences: ['refs\\a.png']", "4:14", "divided by /"),
    "the home folder": ("prompts: [x]\nreferences: ['~/a.png']", "4:14", "write the path out"),
}


@pytest.mark.parametrize("case", YAML_REFUSED)
def test_what_is_refused_of_a_manifest(case: str, tmp_path: Path) -> None:
    text, place, hint = YAML_REFUSED[case]
    first = places(write(tmp_path, text))[0]
    assert first.startswith(f"m.yaml:{place}: ")
    assert hint in first
