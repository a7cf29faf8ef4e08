"""What a stranger's workbook can do."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.manifest.helpers import jobs_of, places, write
from workbooks import MAIN, rows, workbook

FILE = "prompts: [{file: a.xlsx, prompt: '{{ t }}'}]"


def zipped(parts: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def locked() -> bytes:
    """A zip with a password: only its mark."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.infolist()[0].flag_bits |= 1
    return out.getvalue()


def sheet_part(lines: str) -> bytes:
    return workbook({"S": lines})


OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
LINES = rows(["t"], ["x"])
ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
LAUGHS = (
    f'<!DOCTYPE x [<!ENTITY e0 "{"ha" * 50}">{ENTITIES}]><worksheet xmlns="{MAIN}"><sheetData><row>'
    '<c t="str"><v>&e9;</v></c></row></sheetData></worksheet>'
)
HOSTILE: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "nothing": (b"", "is empty"),
    "a text": (b"t,u\nx,y\n", "is no .xlsx, whatever its name says (is it a .csv?)"),
    "an old Excel file": (OLD, "is an old Excel file"),
    "one with a password": (OLD + "EncryptedPackage".encode("utf-16-le"), "has a password"),
    "a zip with a password": (locked(), "has a password"),
    "another zip": (zipped({"mimetype": "application/vnd.oasis.opendocument.spreadsheet"}), "is no .xlsx"),
    "half a zip": (sheet_part(LINES)[:-200], "is no .xlsx"),
    "a zip bomb": (
        lambda: zipped({"[Content_Types].xml": "", "xl/sharedStrings.xml": b"\0" * 100_000_001}),
        "unpacks to more than 100,",
    ),
    "no workbook in it": (zipped({"[Content_Types].xml": "<Types/>"}), "cannot be read as a workbook: "),
    "broken XML": (workbook({"S": "<row><c>"}), "cannot be read as a workbook: "),
    "entities that grow": (
        workbook({"S": ""}, parts={"xl/worksheets/sheet1.xml": LAUGHS}),
        "cannot be read as a workbook: Parse",
    ),
    "a strict one": (
        workbook({"S": ""}, parts={"xl/worksheets/sheet1.xml": '<worksheet xmlns="http://purl.oclc.org/ooxml/x"/>'}),
        "is a Strict Open XML workbook",
    ),
    "a row beyond the last": (sheet_part(LINES + '<row r="9999999999"/>'), "row 9999999999 stands after row 2"),
    "rows that go back": (sheet_part(LINES + '<row r="1"/>'), "row 1 stands after row 2"),
    "a column beyond the last": (
        sheet_part('<row><c r="ZZZ1"><v>1</v></c></row>'),
        "the cell 'ZZZ1' in row 1 is out of place",
    ),
    "a cell that is elsewhere": (
        sheet_part('<row><c r="B1"/><c r="A1"><v>1</v></c></row>'),
        "the cell 'A1' in row 1 is out of place",
    ),
    "a cell that is none": (sheet_part('<row><c r="!"><v>1</v></c></row>'), "cannot be read as a workbook: ValueError"),
    "a text that is not there": (
        sheet_part('<row><c t="s"><v>7</v></c></row>'),
        "cannot be read as a workbook: IndexError",
    ),
    "a look that is not there": (
        sheet_part('<row><c s="99"><v>7</v></c></row>'),
        "cannot be read as a workbook: IndexError",
    ),
    "a number that is none": (sheet_part("<row><c><v>x</v></c></row>"), "cannot be read as a workbook: ValueError"),
    "a row beyond measure": (
        sheet_part(rows(["t"], ["x" * 600_000, "y" * 600_000])),
        "the row has more than 1,000,000",
    ),
    "no sheet": (workbook({}), "has no sheet that is to be seen"),
    "hidden sheets only": (workbook({"S": LINES}, hidden=("S",)), "has no sheet that is to be seen (it has S)"),
    "a control character": (sheet_part(rows(["t"], ["a_x0007_b"])), "the prompt holds the character U+0007"),
    "one in a sheet's name": (workbook({"a&#10;b": ""}), "has no rows"),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_strangers_workbook(data: bytes | Callable[[], bytes], message: str, tmp_path: Path) -> None:
    data = data if isinstance(data, bytes) else data()
    (found,) = places(write(tmp_path, FILE, {"a.xlsx": data}))
    assert found.startswith("a.xlsx")
    assert message in found
    assert found.isprintable()


def test_a_workbook_of_a_million_empty_rows_and_links_elsewhere(tmp_path: Path) -> None:
    links = '<row><c r="A2" t="str"><f>[1]Else!$A$1</f><v>from elsewhere</v></c></row>'
    data = workbook({"S": rows(["t"]) + links + '<row r="1048576"><c r="XFD1048576" s="1"/></row>'})
    assert [job.prompt for job in jobs_of(write(tmp_path, FILE, {"a.xlsx": data}))] == ["from elsewhere"]


def test_without_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    (found,) = places(write(tmp_path, FILE, {"a.xlsx": workbook({"S": LINES})}))
    assert found.startswith("a.xlsx: a .xlsx needs what is not installed (openpyxl) (pip install ")
    assert "[xlsx]" in found
