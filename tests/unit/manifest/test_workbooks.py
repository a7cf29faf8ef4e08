"""Workbooks: the same rows as of a CSV, what cells come to, what is told, and what a stranger's file can do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.manifest.helpers import PNG, jobs_of, places, told, write
from workbooks import number, rows, text, workbook

from batcher.manifest import Problems, load

FILE = "prompts: [{file: a.xlsx, prompt: '{{ t }}'}]"


def test_csv_tsv_and_xlsx_are_the_same_jobs(tmp_path: Path) -> None:
    table = [
        ["SKU", "title", "duration", "ratio", "reference", "note"],
        ["ا-۱", "شہر کی رات, {{ tone }}", "10", "9:16", "", " two "],
        ["名", '東京の"夜"\n二行', "6", "16:9", "a.png", ""],
        ["", "قصة = 3; ok", "", "", "", "=SUM(A1)"],
    ]
    sheet = rows(*([text(cell) if cell else '<c t="s"/>' for cell in line] for line in table))
    quoted = [['"' + cell.replace('"', '""') + '"' if cell else "" for cell in line] for line in table]
    files: dict[str, bytes | str] = {
        "a.png": PNG,
        "a.csv": "\ufeff" + "\r\n".join(",".join(line) for line in quoted),
        "b.csv": "\n".join(";".join(line) + ";;" for line in quoted),
        "c.csv": "sep=;\n" + "\n".join(";".join(line) for line in quoted),
        "a.tsv": "\n".join("\t".join(line) for line in quoted),
        "a.xlsx": workbook({"Q3": sheet}),
    }
    objects = [{name: cell or None for name, cell in zip(table[0], line, strict=True)} for line in table[1:]]
    files["a.jsonl"] = "\n".join(map(json.dumps, objects))
    columns = "columns: {SKU: name, ' ratio': aspect_ratio, title: prompt}"
    found = [
        jobs_of(write(tmp_path, f"matrix: {{tone: [calm]}}\nprompts: [{{file: {name}, {columns}}}]", files))
        for name in ("a.csv", "b.csv", "c.csv", "a.tsv", "a.xlsx", "a.jsonl")
    ]
    assert [job.name for job in found[0]] == ["ا-۱", "名", "قصة-3-ok"]
    assert [job.prompt for job in found[0]] == ["شہر کی رات, calm", '東京の"夜"\n二行', "قصة = 3; ok"]
    assert [job.vars for job in found[0]] == [
        {"tone": "calm", "note": " two "},
        {"tone": "calm"},
        {"tone": "calm", "note": "=SUM(A1)"},
    ]
    for jobs in found:
        assert jobs == found[0]


CELLS = {
    "a whole number": (number(6), "6"),
    "a whole number that is stored as a fraction": (number("6.0"), "6"),
    "a fraction with the noise of its arithmetic": (number("0.30000000000000004"), "0.3"),
    "a long number": (number("12345678901234"), "12345678901234"),
    "a number with zeros before it": (number(7, 3), "007"),
    "a negative one": (number(-7, 3), "-007"),
    "decimals as they are shown": (number("1.5", 4), "1.50"),
    "half a cent, as spreadsheets round": (number("2.675", 4), "2.68"),
    "percent": (number("0.5", 5), "50%"),
    "thousands are the number": (number(12000, 7), "12000"),
    "a date": (number(46355, 1), "2026-11-29"),
    "a date with a time": (number("46355.604166666664", 8), "2026-11-29 14:30"),
    "a time": (number("0.6729166666666667", 2), "16:09"),
    "more hours than a day has": (number("1.104166666666667", 6), "26:30"),
    "true": ('<c t="b"><v>1</v></c>', "TRUE"),
    "a text with spaces around it": (text("  a b "), "  a b "),
    "a text that begins like a formula": (text("=cmd|' /C calc'!A0"), "=cmd|' /C calc'!A0"),
    "a line end as Excel escapes it": (text("a_x000D_\nb"), "a\nb"),
    "what a formula comes to": ("<c><f>3+3</f><v>6</v></c>", "6"),
    "an empty text of a formula": ('<c t="str"><f>""</f><v></v></c>', None),
    "a phonetic guide is no text": (
        '<c t="inlineStr"><is><t>東京</t><rPh sb="0" eb="1"><t>とう</t></rPh></is></c>',
        "東京",
    ),
    "rich text": ('<c t="inlineStr"><is><r><t>a </t></r><r><rPr><b/></rPr><t>b</t></r></is></c>', "a b"),
}


def test_what_a_cell_comes_to(tmp_path: Path) -> None:
    sheet = rows(["case", "cell"], *([case, cell] for case, (cell, _) in CELLS.items()))
    path = write(tmp_path, "prompts: [{file: a.xlsx, prompt: '{{ case }}'}]", {"a.xlsx": workbook({"S": sheet})})
    found = {job.prompt: job.vars.get("cell") for job in jobs_of(path)}
    assert found == {case: wanted for case, (_, wanted) in CELLS.items()}


FAULTY = {
    "a time where a ratio was typed": (
        rows(["t", "aspect_ratio"], ["x", number("0.6729166666666667", 2)]),
        "sheet 'S', row 2, column B): aspect_ratio is '16:09'; must be one of",
        "the format Text",
    ),
    "a param that is wrong": (
        rows(["t", "u", "duration"], ["x", "y", "7,5"]),
        "row 2, column C): duration is '7,5'",
        "a point",
    ),
    "a formula without a value": (
        rows(["t"], ["<c><f>A1</f></c>"]),
        "row 2, column A): the cell has a formula, and",
        "save it",
    ),
    "a formula without a value, for a param": (
        rows(["t", "duration"], ["x", "<c><f>A1</f><v/></c>"]),
        "row 2, column B): the cell has a formula, and",
        "save it",
    ),
    "a formula that fails": (
        rows(["t"], ['<c t="e"><f>A9</f><v>#REF!</v></c>']),
        "column A): the cell shows #REF!",
        "mend",
    ),
    "an empty cell that the text uses": (
        rows(["t", "u"], ["<c/>", "y"]),
        "column A): the cell of 't' is empty",
        "fill it",
    ),
    "a value without a column": (
        rows(["t"], ["x"], ["x", "y"]),
        "row 3, column B): a cell has a value and its column",
        "name",
    ),
    "a column without a name": (rows(["t", "<c/>", "u"], ["x"]), "row 1, column B): column B has no name", "name it"),
    "a column twice": (rows(["t", "t"], ["x"]), "row 1, column B): the column 't' is here twice", "keep one"),
    "an empty sheet": ("", "a.xlsx (sheet 'S'): has no rows", ""),
    "a header only": (rows(["t"]), "a.xlsx (sheet 'S'): has no rows", ""),
    "a column that is almost a param": (
        rows(["t", "Duration "], ["x", "6"]),
        "column B): the column 'Duration' means",
        "columns",
    ),
}


@pytest.mark.parametrize(("sheet", "message", "hint"), FAULTY.values(), ids=FAULTY)
def test_a_fault_has_sheet_row_and_column(sheet: str, message: str, hint: str, tmp_path: Path) -> None:
    (found,) = places(write(tmp_path, FILE, {"a.xlsx": workbook({"S": sheet})}))
    assert found.startswith("a.xlsx (")
    assert message in found
    assert hint in found


def test_a_formula_of_a_program_that_does_not_calculate(tmp_path: Path) -> None:
    """It writes 0 for its value, and asks whoever opens the file to work it out."""
    sheet = rows(["t"], ["<c><f>A9</f><v>0</v></c>"], [number(7)])
    for calc, wanted in (("", 0), ('<calcPr fullCalcOnLoad="0"/>', 0), ('<calcPr fullCalcOnLoad="1"/>', 1)):
        found = places(write(tmp_path, FILE, {"a.xlsx": workbook({"S": sheet}, calc=calc)}))
        assert ["row 2, column A): the cell has a formula, and the file does not say" in each for each in found] == [
            True
        ] * wanted


def test_a_cell_that_fails_where_nothing_uses_it_is_no_fault(tmp_path: Path) -> None:
    sheet = rows(["t", "u", "v"], ["x", '<c t="e"><v>#N/A</v></c>', "<c><f>A1</f></c>"])
    path = write(tmp_path, FILE, {"a.xlsx": workbook({"S": sheet}), "a.csv": "t\n#N/A\n"})
    assert [job.vars for job in jobs_of(path)] == [{"t": "x", "u": "#N/A"}]
    (found,) = places(write(tmp_path, FILE.replace("xlsx", "csv")))
    assert found.startswith("a.csv:2 (row 1): the cell shows #N/A: its formula fails")


def test_what_is_told(tmp_path: Path) -> None:
    sheet = rows(["t"], ["x"]) + f'<row hidden="1">{text("y")}</row><row hidden="1"/><row r="9">{text("z")}</row>'
    merged = "".join(f'<mergeCell ref="{cells}"/>' for cells in ("A1:C1", "A3:A5", "E2:F2"))
    files: dict[str, bytes | str] = {
        "a.xlsx": workbook(
            {"S": sheet, "Notes": rows(["t"]), "Sheet3": "", "old": rows(["t"])},
            after=f"<mergeCells>{merged}</mergeCells>",
            hidden=("old",),
        )
    }
    assert told(write(tmp_path, FILE, files)) == [
        "a.xlsx: the rows are those of the first sheet, 'S' (`sheet:` names another: Notes)",
        "a.xlsx (sheet 'S'): hidden rows count all the same, and there are 1"
        " (delete what is not wanted, or copy what is to a sheet of its own)",
        "a.xlsx (sheet 'S', row 3, column A): the cells A3:A5 are merged: the first has the value, the others are empty"
        " (unmerge them, and fill in each)",
    ]
    assert len(told(write(tmp_path, FILE.replace("a.xlsx,", "a.xlsx, sheet: S,")))) == 2


@pytest.mark.parametrize("cells", ["A:B", "1:9", "", "A1", "XFE1:ZZZ9", "$A$1:$B$3"])
def test_whole_columns_and_rows_may_be_merged(tmp_path: Path, cells: str) -> None:
    after = f'<mergeCells><mergeCell ref="{cells}"/></mergeCells>'
    book = workbook({"S": rows(["t"], ["x"], ["y"])}, after=after)
    notes = told(write(tmp_path, FILE, {"a.xlsx": book}))
    assert all("row 1, column A" in each and f"the cells {cells} are merged" in each for each in notes)


def test_a_sheet_by_its_name(tmp_path: Path) -> None:
    book = workbook(
        {"Plan": rows(["t"], ["a"]), "plan": rows(["t"], ["b"]), "اردو": rows(["t"], ["c"])}, hidden=("Plan",)
    )
    for sheet, wanted in {"Plan": "a", "plan": "b", "اردو": "c"}.items():
        path = write(tmp_path, FILE.replace("xlsx,", f"xlsx, sheet: {sheet},"), {"a.xlsx": book})
        assert [job.prompt for job in jobs_of(path)] == [wanted]
    (found,) = places(write(tmp_path, FILE.replace("xlsx,", "xlsx, sheet: PLAN,")))
    assert found.startswith("a.xlsx: has no sheet 'PLAN' (did you mean '")
    assert "it has Plan, plan, اردو" in found


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_a_header_below_a_title(suffix: str, tmp_path: Path) -> None:
    table = [
        ["Kampagne Q3"],
        ["Stand:", "heute"],
        [],
        ["Motiv", "Dauer\n (Sek.)"],
        ["ein Boot", "6"],
        ["zwei", "sechs"],
    ]
    files: dict[str, bytes | str] = {
        "a.csv": "\n".join(";".join(f'"{cell}"' for cell in [*line, "", ""][:2]) for line in table),
        "a.xlsx": workbook({"S": rows(*table)}),
    }
    columns = "columns: {Motiv: prompt, 'Dauer (Sek.)': duration}"
    path = write(tmp_path, f"prompts: [{{file: a.{suffix}, {columns}}}]", files)
    (found,) = places(path)
    place = "a.csv:7 (row 2)" if suffix == "csv" else "a.xlsx (sheet 'S', row 6, column B)"
    assert found.startswith(f"{place}: duration is 'sechs'; must be a number, a whole number from 6 to 30")
    assert found.endswith("(the column 'Dauer (Sek.)')")
    problems = Problems()
    assert [job.prompt for job in load(path).expand(problems)] == ["ein Boot"]
    (note,) = problems.notes.values
    assert (note.line, note.message, note.hint) == (
        1,
        "2 rows above the header: no prompts",
        "the first has 'Kampagne Q3'",
    )
    unnamed = places(write(tmp_path, f"prompts: [{{file: a.{suffix}}}]"))
    assert any("a header below a title is found by what `columns` in the manifest names" in each for each in unnamed)


COLUMNS = {
    "a column that is not there": (
        "{SKUs: name}",
        "a.csv:1: there is no column 'SKUs', which `columns` in the manifest names (did you mean 'SKU'?)",
    ),
    "two of one name": (
        "{SKU: t}",
        "a.csv:1: the columns 'SKU' and 't' are both called 't' (give one of them another name under `columns`)",
    ),
    "no name for a variable": (
        "{SKU: a b}",
        "m.yaml:3:59: 'a b' cannot be a variable: letters, digits and _, and no digit first (write 'a_b')",
    ),
    "a word with another meaning": (
        "{SKU: take}",
        "m.yaml:3:59: 'take' cannot be a variable (copies of a job are made by `repeat`)",
    ),
    "no text": ("{SKU: 7}", "m.yaml:3:59: prompts[1].columns.SKU: must be a text, not a number (put it in quotes)"),
}


@pytest.mark.parametrize(("columns", "wanted"), COLUMNS.values(), ids=COLUMNS)
def test_faults_of_columns(columns: str, wanted: str, tmp_path: Path) -> None:
    manifest = f"prompts: [{{file: a.csv, prompt: '{{{{ t }}}}', columns: {columns}}}]"
    assert wanted in places(write(tmp_path, manifest, {"a.csv": "SKU,t\nx,y\n"}))


KINDS = {
    "{file: a.txt, columns: {a: b}}": "'a.txt': a .txt has no columns (remove `columns`; a line of it is the prompt)",
    "{file: a.csv, sheet: S}": "'a.csv': only a .xlsx has sheets (remove `sheet`)",
    "{file: a.xls}": "'a.xls': a prompt file is one of .csv, .tsv, .xlsx, .jsonl, .txt (save it as .xlsx)",
    "{prompt: x, columns: {a: b}}": "unknown key 'columns' in prompts[1] (it goes with `file`; allowed: ",
    "{file: empty.csv, columns: {a: b}}": "empty.csv: has no rows",
    "{file: b.jsonl, columns: {a: b}}": "no row has the key 'a', which `columns` in the manifest names",
    "{file: b.jsonl, columns: {x: prompt}}": "two of its keys have the same name under `columns`",
}


@pytest.mark.parametrize(("entry", "message"), KINDS.items())
def test_what_goes_with_which_file(entry: str, message: str, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "empty.csv": "",
        "a.txt": "x",
        "a.csv": "prompt\nx\n",
        "b.jsonl": '{"prompt": "x", "x": 1}',
    }
    (found,) = places(write(tmp_path, f"prompts: [{entry}]", files))
    assert message in found


def test_names_from_templates(tmp_path: Path) -> None:
    manifest = """\
        matrix: {size: [S, L]}
        prompts:
          - {name: "{{ tone }}-{{ size }}", prompt: "A {{ size }} box", vars: {tone: calm}}
          - {file: a.csv, name: "{{ sku | upper }}", prompt: "{{ t }} {{ size }}"}
    """
    jobs = jobs_of(write(tmp_path, manifest, {"a.csv": "sku,t,name\nab-1,x,\nab-2,y,own\n"}))
    names = ["calm-S", "calm-L", "AB-1", "AB-1", "own", "own"]
    assert [(job.name, job.file_name.rpartition("-")[0]) for job in jobs] == [(name, name) for name in names]
    plain = jobs_of(
        write(tmp_path, manifest.replace('"{{ sku | upper }}"', "x").replace('"{{ tone }}-{{ size }}"', "y"))
    )
    assert [job.id for job in plain] == [job.id for job in jobs], "a name is no part of what a job is"
    # names are made even for who counts only: a template may fail
    problems = Problems()
    found = list(
        load(write(tmp_path, manifest, {"a.csv": "sku,t,name\n,x,\n" + "z" * 101 + ",y,\n"})).expand(
            problems, named=False
        )
    )
    assert len(found) == 2
    assert [(p.row, p.message) for p in problems.values] == [
        (1, "the cell of 'sku' is empty and nothing else sets it, but the text uses it"),
        (2, "the prompt's name has 101 characters; a name has at most 100"),
    ]
    (found_,) = places(write(tmp_path, "prompts: [{prompt: x, name: '{{ nme }}', vars: {name_: y}}]"))
    assert found_.startswith("m.yaml:3:29: undefined variable 'nme' (did you mean 'name_'?")


def test_true_digits_and_decimal_commas_as_spreadsheets_write_them(tmp_path: Path) -> None:
    head = "campaign: c\nmodel: kling-2-6\nprompts: [{file: a.csv}]\n"
    path = write(tmp_path, head, {"a.csv": "prompt,sound\nx,TRUE\ny,false\n"}, head=False)
    assert [job.params.get("sound", "false") for job in jobs_of(path)] == ["true", "false"]
    path = write(tmp_path, "prompts: [{file: a.csv}]", {"a.csv": 'prompt,duration\nx,"6,0"\ny,۱۰\n'})
    assert [found.split("; ")[1].partition(", ")[0] for found in places(path)] == [
        "must be a number with a point",
        "must be a number in the digits 0 to 9",
    ]
