"""Workbooks for tests, made by hand: with what no library writes, too."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
#: Number formats by the style's number in a cell: `s="1"` is a date.
STYLES = ("General", "yyyy\\-mm\\-dd", "h:mm", "000", "0.00", "0%", "[h]:mm", "#,##0", "dd/mm/yyyy\\ h:mm")


def text(value: str) -> str:
    """A cell with a text, without its place."""
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'


def number(value: object, style: int = 0) -> str:
    """A cell with a number in one of `STYLES`."""
    return f'<c s="{style}"><v>{value}</v></c>'


def rows(*lines: list[str]) -> str:
    """Lines of cells; what is no cell yet becomes a text."""
    made = ("".join(cell if cell[:2] in ("<c", "") else text(cell) for cell in line) for line in lines)
    return "".join(f"<row>{cells}</row>" for cells in made)


def workbook(
    sheets: Mapping[str, str],
    *,
    after: str = "",
    calc: str = "",
    hidden: tuple[str, ...] = (),
    parts: Mapping[str, str] | None = None,
) -> bytes:
    """A workbook of sheets by name, each the rows of its XML; `after` follows them, `calc` the list of sheets.

    `parts` replaces whole parts.
    """
    formats = "".join(f'<numFmt numFmtId="{170 + i}" formatCode={quoteattr(f)}/>' for i, f in enumerate(STYLES) if i)
    styles = "".join(f'<xf numFmtId="{170 + i if i else 0}"/>' for i in range(len(STYLES)))
    states = dict.fromkeys(hidden, ' state="hidden"')
    listed = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{i}" r:id="r{i}"{states.get(name, "")}/>'
        for i, name in enumerate(sheets, 1)
    )
    found = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/>'
        + "".join(
            f'<Override PartName="/xl/worksheets/sheet{i}.xml" ContentType="{_TYPE}.worksheet+xml"/>'
            for i in range(1, len(sheets) + 1)
        )
        + "</Types>",
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets>{calc}</workbook>',
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><numFmts>{formats}</numFmts><fonts><font/></fonts>'
        "<fills><fill><patternFill/></fill></fills><borders><border/></borders><cellStyleXfs><xf/></cellStyleXfs>"
        f"<cellXfs>{styles}</cellXfs></styleSheet>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        + "".join(
            f'<Relationship Id="r{i}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{i}.xml"/>'
            for i in range(1, len(sheets) + 1)
        )
        + "</Relationships>",
    }
    for i, lines in enumerate(sheets.values(), 1):
        size = f'<dimension ref="A1{":A2" if lines else ""}"/>'  # not that of all rows: it need not be true
        found[f"xl/worksheets/sheet{i}.xml"] = (
            f'<worksheet xmlns="{MAIN}">{size}<sheetData>{lines}</sheetData>{after}</worksheet>'
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**found, **(parts or {})}.items():
            archive.writestr(name, content)
    return out.getvalue()
