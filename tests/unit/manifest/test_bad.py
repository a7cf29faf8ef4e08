"""Bad manifests: what is said about each, and where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unit.manifest.helpers import places, problems_of, write

OK = "prompts: [a text]\n"

# (manifest after `campaign` in line 1 and `model` in line 2, place, beginning of the message, part of the hint)
IN_THE_DOCUMENT = {
    "unknown key": ("promts: [a]\n" + OK, "3:1", "unknown key 'promts'", "did you mean 'prompts'?"),
    "key in the wrong place": ("times: 3\n" + OK, "3:1", "unknown key 'times'", "belongs under `retries`"),
    "param at the top": ("duration: 6\n" + OK, "3:1", "unknown key 'duration'", "belongs under `params`"),
    "unknown key in a section": (OK + "limits: {sumbit: 1/s}", "4:10", "unknown key 'sumbit' in limits", "'submit'"),
    "unknown key in a prompt": (
        "prompts:\n  - prompt: x\n    parms: {}",
        "5:5",
        "unknown key 'parms' in prompts[1]",
        "did you mean 'params'?",
    ),
    "top key in a prompt": ("prompts: [{prompt: x, budget: {}}]", "3:23", "unknown key 'budget'", "at the top"),
    "duplicate key": (
        OK + "repeat: 1\nrepeat: 2",
        "5:1",
        "the key 'repeat' is here twice; first in line 4",
        "keep one",
    ),
    "duplicate key deep down": (OK + "params: {mode: fun, mode: fun}", "4:21", "the key 'mode' is here twice", ""),
    "missing key": ("repeat: 1", "1:1", "the key 'prompts' is missing", "every manifest has campaign, model"),
    "no prompt": ("prompts: []", "3:10", "prompts: must have at least one entry", ""),
    "prompt without text": ("prompts: [{name: x}]", "3:11", "prompts[1] has no `prompt` and no `file`", ""),
    "empty prompt": ("prompts: ['  ']", "3:11", "prompts[1]: is empty", ""),
    "prompt beyond all measure": ("prompts: [" + "x" * 100_001 + "]", "3:11", "prompts[1]: has 100,001 characters", ""),
    "name too long": ("prompts: [{prompt: x, name: " + "n" * 101 + "}]", "3:29", "prompts[1].name: has 101 char", ""),
    "prompt that is a number": ("prompts: [7]", "3:11", "prompts[1]: must be a text, not a number", "in quotes"),
    "prompts that are a text": ("prompts: a text", "3:10", "prompts: must be a list, not a text", ""),
    "section that is a number": (OK + "limits: 5", "4:9", "limits: must be a mapping, not a number", ""),
    "section left empty": (OK + "limits:", "4:8", "limits: must be a mapping, not empty (null)", "remove the line"),
    "repeat too small": (OK + "repeat: 0", "4:9", "repeat: is 0; must be a whole number from 1 to 1,000", ""),
    "repeat as a text": (OK + "repeat: '2'", "4:9", "repeat: must be a whole number from 1 to 1,000, not a text", ""),
    "repeat yes": (OK + "repeat: true", "4:9", "repeat: must be a whole number from 1 to 1,000, not true", ""),
    "repeat half": (OK + "repeat: 1.5", "4:9", "repeat: must be a whole number from 1 to 1,000, not a number", ""),
    "empty repeat of a prompt": ("prompts: [{prompt: x, repeat: }]", "3:31", "prompts[1].repeat: is empty", ""),
    "rate": (OK + "limits: {submit: 30/week}", "4:18", "limits.submit: is '30/week'; must be a rate like", ""),
    "rate of nothing": (OK + "limits: {submit: 0/s}", "4:18", "limits.submit: is '0/s'; must be a rate", "1 to 1,000"),
    "rate as a number": (OK + "limits: {submit: 30}", "4:18", "limits.submit: must be a rate like", "not a number"),
    "duration": (OK + "polling: {first: 3 days}", "4:18", "polling.first: is '3 days'; must be seconds or a dura", ""),
    "duration too long": (OK + "polling: {first: 9e9}", "4:18", "polling.first: is 9e9; must be seconds", "86400"),
    "duration too long as a text": (OK + "polling: {first: 99h}", "4:18", "polling.first: is '99h'; must be", "86400"),
    "negative duration": (OK + "polling: {first: -1}", "4:18", "polling.first: is -1; must be seconds", ""),
    "duration that is a list": (OK + "polling: {first: []}", "4:18", "polling.first: must be seconds", "not a list"),
    "polls out of order": (OK + "polling: {every: 40s}", "4:18", "polling: every (40 s) is longer than max (30 s)", ""),
    "negative budget": (OK + "budget: {day: -1}", "4:15", "budget.day: is -1; must be a whole number from 0", ""),
    "cap of nobody": (OK + "budget: {day: {rivia: 5}}", "4:15", "budget.day: names 'rivia', which", "mean 'rivya'?"),
    "cap of a stranger": (
        OK + "budget: {keep: {rivya: 5, other: 2}}",
        "4:16",
        "budget.keep: names 'other', which is no provider",
        "known: rivya",
    ),
    "cap of no provider": (OK + "budget: {campaign: {}}", "4:20", "budget.campaign: is an empty mapping", "a number"),
    "cap below 0": (OK + "budget: {day: {rivya: -1}}", "4:15", "budget.day: is -1; must be a whole number", ""),
    "cap in parts": (OK + "budget: {day: {rivya: 2.5}}", "4:15", "budget.day: must be a whole number", "not a number"),
    "cap of a cap": (
        OK + "budget: {day: {rivya: {rivya: 2}}}",
        "4:15",
        "budget.day: must be a whole number",
        "not a mapping",
    ),
    "allowance without total": (
        OK + "budget: {allowance: {name: night}}",
        "4:21",
        "the key 'total' is missing in budget.allowance",
        "it has name, total",
    ),
    "allowance of a strange key": (
        OK + "budget: {allowance: {name: night, totl: 5, total: 5}}",
        "4:35",
        "unknown key 'totl' in budget.allowance",
        "did you mean 'total'?; allowed: name, total",
    ),
    "allowance of a name in capitals": (
        OK + "budget: {allowance: {name: Night, total: {rivya: 5}}}",
        "4:28",
        "budget.allowance.name: is 'Night'; it is a text of 1 to 64",
        "",
    ),
    "allowance as a number": (OK + "budget: {allowance: 5}", "4:21", "budget.allowance: must be a mapping", ""),
    "cap left empty": (OK + "budget: {day: {rivya: }}", "4:15", "budget.day: must be a whole number", ""),
    "cap twice": (OK + "budget: {day: {rivya: 1, rivya: 2}}", "4:26", "the key 'rivya' is here twice", "keep one"),
    "yes is no boolean": (
        OK + "results: {download: yes}",
        "4:21",
        "results.download: must be true or false, not 'y",
        "",
    ),
    "model param": (OK + "params: {mod: fun}", "4:10", "grok-imagine-video has no param 'mod'", "did you mean 'mode'?"),
    "param's value": (
        OK + "params: {mode: fum}",
        "4:16",
        "mode is 'fum'; must be one of fun, normal, spi",
        "mean 'fun'",
    ),
    "param out of range": (OK + "params: {duration: 31}", "4:20", "duration is 31; must be a whole number from 6", ""),
    "param with underscores": (OK + "params: {duration: 1_0}", "4:20", "duration is '1_0'; must be a number", ""),
    "param that is a list": (
        OK + "params: {mode: [fun]}",
        "4:16",
        'mode is ["fun"]; must be fun | normal | spicy, not a list',
        "",
    ),
    "param that is empty": (OK + "params: {mode: }", "4:16", "params.mode: must be a text, a number", "not empty"),
    "param in vars": (
        "prompts: [{prompt: x, vars: {mode: fun}}]",
        "3:30",
        "'mode' is a param of",
        "put it under params",
    ),
    "variable's name": ("prompts: [{prompt: x, vars: {a-b: 1}}]", "3:30", "'a-b' cannot be a variable", "write 'a_b'"),
    "reserved variable": (OK + "matrix: {model: [a, b]}", "4:10", "'model' cannot be a variable", "beside it"),
    "empty variable": ("prompts: [{prompt: x, vars: {a: }}]", "3:33", "prompts[1].vars.a: must be a text", 'write ""'),
    "axis that is no list": (OK + "matrix: {mode: fun}", "4:16", "matrix.mode: must be a list, not a text", ""),
    "axis without values": (OK + "matrix: {mode: []}", "4:16", "matrix.mode: must have at least one entry", ""),
    "axis' value": (OK + "matrix: {mode: [fun, fan]}", "4:22", "mode is 'fan'; must be one of", "did you mean 'fun'?"),
    "unused axis": (OK + "matrix: {durations: [6]}", "4:10", "no job uses 'durations'", "did you mean 'duration'?"),
    "overridden axis": (
        "prompts: [{prompt: x, params: {mode: fun}}]\nmatrix: {mode: [fun, spicy]}",
        "4:10",
        "'mode' varies nothing: in every job something nearer sets it",
        "remove it",
    ),
    "unused key of an include": (
        OK + "matrix:\n  mode: [fun]\n  include: [{mode: fun, duraton: 9}]",
        "6:25",
        "no job uses 'duraton'",
        "did you mean 'duration'?",
    ),
    "exclude of no axis": (
        OK + "matrix: {mode: [fun], exclude: [{mood: x}]}",
        "4:34",
        "exclude names 'mood'",
        "'mode'",
    ),
    "exclude of no value": (
        "prompts: ['{{ p }}']\nmatrix: {p: [ring], exclude: [{p: rings}]}",
        "4:35",
        "the axis 'p' has no value 'rings'",
        "did you mean 'ring'?",
    ),
    "exclude of all": (OK + "matrix: {mode: [fun], exclude: [{mode: fun}]}", "3:11", "the matrix leaves no combin", ""),
    "include that is empty": (OK + "matrix: {include: [{}]}", "4:20", "matrix.include[1]: must have at least one", ""),
    "undefined variable": (
        "prompts: ['{{ tiem }}']\nmatrix: {time: [a]}",
        "3:11",
        "undefined variable 'tiem'",
        "'time'",
    ),
    "broken template": ("prompts: ['{{ a']", "3:11", "not a template: unexpected end of template", ""),
    "template that calls": ("prompts: ['{{ a() }}']", "3:11", "not allowed in a template: calls", "allowed are names"),
    "template with a block": ("prompts: ['{% set a = 1 %}']", "3:11", "not allowed in a template: blocks", ""),
    "unknown filter": ("prompts: ['{{ 1 | uper }}']", "3:11", "unknown filter 'uper'", "did you mean 'upper'?"),
    "undefined in results.name": (OK + "results: {name: '{{ jop }}'}", "4:17", "undefined variable 'jop'", "'job'"),
    "results.name leads out": (OK + "results: {name: '../{{ job }}'}", "4:17", "a results.name is relative", ""),
    "references left empty": (
        "prompts: [{prompt: x, references: }]",
        "3:35",
        "prompts[1].references: is empty (null)",
        "",
    ),
    "no match": ("references: ['*.png']\n" + OK, "3:14", "no file matches '*.png'", "looked in"),
    "no such file": ("references: [a.png]\n" + OK, "3:14", "'a.png' cannot be read: No such file", ""),
    "path leads out": (
        "references: [../a.png]\n" + OK,
        "3:14",
        "'../a.png' leads out of the manifest's",
        "--allow-path",
    ),
    "http": ("references: ['http://x.org/a.png']\n" + OK, "3:14", "'http://x.org/a.png': a reference is a path or", ""),
    "other scheme": (
        "references: ['ftp://x.org/a']\n" + OK,
        "3:14",
        "'ftp://x.org/a': a reference is a path or an",
        "",
    ),
    "password in a URL": (
        "references: ['https://a:b@x.org/']\n" + OK,
        "3:14",
        "a URL with a user or a password",
        "ledger",
    ),
    "file of another type": (
        "prompts: [{file: rows.ods}]",
        "3:18",
        "'rows.ods': a prompt file is one of .csv",
        "save it as .xlsx",
    ),
    "missing file": ("prompts: [{file: rows.csv}]", "3:18", "'rows.csv' cannot be read: No such file", ""),
    "file leads out": (
        "prompts: [{file: /etc/passwd.txt}]",
        "3:18",
        "'/etc/passwd.txt' leads out of the manifest's",
        "",
    ),
    "prompt too long": (
        "prompts: [" + "x" * 5001 + "]",
        "3:11",
        "the prompt has 5,001 characters; grok-imag",
        "1 to 5,000",
    ),
    "prompt of blanks": ("prompts: ['{{ a }}']\nmatrix: {a: [' ']}", "3:11", "the prompt is empty", ""),
    "control character": ('prompts: ["a\\ab"]', "3:11", "the prompt holds the character U+0007", "line ends and tabs"),
    "name with a line end": (
        'prompts: [{prompt: x, name: "a\\nb"}]',
        "3:29",
        "prompts[1].name: must be one line",
        "",
    ),
    "template of a name": (
        "prompts: [{prompt: x, name: '{{ a.b() }}'}]",
        "3:29",
        "not allowed in a template: calls",
        "",
    ),
    "variable of a name": ("prompts: [{prompt: x, name: '{{ a }}'}]", "3:29", "undefined variable 'a'", ""),
    "merge key": ("prompts: [{prompt: x, <<: {}}]", "3:23", "merge keys (<<) are not supported", ""),
    "tag": ("prompts: [!!str 5]", "3:11", "tags ('tag:yaml.org,2002:str') are not allowed", "needs quotes"),
    "template without quotes": ("prompts:\n  - {{ product }}", "4:6", "a key must be a text", "{{ needs quotes"),
    "text with a colon": (
        "prompts:\n  - a text: with: more",
        "4:17",
        "this is not YAML: mapping values are not",
        "quotes",
    ),
    "tab": ("prompts:\n\t- a", "4:1", "this is not YAML: found character", "indent with spaces"),
    "alias of nothing": ("prompts: [*a]", "3:11", "the alias *a has no anchor &a before it", ""),
    "alias of itself": ("prompts: &a [*a]", "3:14", "the alias *a would contain itself", ""),
    "second document": (OK + "---\na: 1", "4:1", "a second document begins here", ""),
}


@pytest.mark.parametrize("case", IN_THE_DOCUMENT)
def test_fault_in_the_document(case: str, tmp_path: Path) -> None:
    manifest, place, message, hint = IN_THE_DOCUMENT[case]
    found = problems_of(write(tmp_path, manifest))
    assert len(found) == 1, found
    problem = found[0]
    assert problem.file == str(tmp_path / "m.yaml")
    assert (f"{problem.line}:{problem.column}", problem.row) == (place, 0)
    assert problem.message.startswith(message)
    assert hint in str(problem)


HEADS = {
    "campaign's name": (
        "campaign: Spring\nmodel: grok-imagine\nprompts: [x]",
        "1:11: campaign: is 'Spring'; a campaign's",
    ),
    "campaign's number": (
        "campaign: 7\nmodel: grok-imagine\nprompts: [x]",
        "1:11: campaign: is 7; a campaign's name is a",
    ),
    "unknown model": (
        "campaign: c\nmodel: grok-imagine-vide\nprompts: [x]",
        "2:8: unknown model 'grok-imagine-vide' (did you mean 'grok-imagine-video'?; known: 4o-image",
    ),
    "a list": ("[1]", "1:1: a manifest is a mapping with the keys budget, campaign"),
    "nothing": ("# nothing\n", "1:1: the manifest is empty"),
    "too deep": ("a: " + "[" * 500, "1:27: nested deeper than 24 levels"),
    "much too deep": ("a:\n" + "".join(f"{' ' * n}-\n" for n in range(1, 1500)), "25:25: nested deeper than 24"),
    "line separator": ("a: b\u2028c", "1:5: the character U+2028 is not allowed here"),
}


@pytest.mark.parametrize("case", HEADS)
def test_fault_of_the_whole(case: str, tmp_path: Path) -> None:
    manifest, message = HEADS[case]
    found = places(write(tmp_path, manifest, head=False))
    assert len(found) == 1
    assert found[0].startswith(f"m.yaml:{message}")


BYTES = {
    "not UTF-8": (b"a: b\nc: caf\xe9", "m.yaml:2:7: the byte 0xE9 is not UTF-8; save it as UTF-8"),
    "UTF-16": (
        "a: b".encode("utf-16"),
        "m.yaml:1:1: the byte 0xFF is not UTF-8; save it as UTF-8 (this looks",
    ),
    "NUL": (b"a: b\0", "m.yaml:1:5: the character U+0000 is not allowed here"),
    "too large": (b"#" * 8_000_001, "m.yaml: is larger than 8,000,000 bytes"),
    "bomb": (
        b"a: &a [%s]\nb: &b [%s]\nc: &c [%s]\nd: [%s]" % (b"x," * 99, b"*a," * 99, b"*b," * 99, b"*c," * 99),
        "m.yaml:3:",
    ),
}


@pytest.mark.parametrize("case", BYTES)
def test_fault_of_the_bytes(case: str, tmp_path: Path) -> None:
    data, message = BYTES[case]
    (tmp_path / "m.yaml").write_bytes(data)
    found = places(tmp_path / "m.yaml")
    assert len(found) == 1
    assert found[0].startswith(message)


def test_a_manifest_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    assert places(tmp_path / "m.yaml") == ["m.yaml: cannot be read: No such file or directory"]
    (tmp_path / "d.yaml").mkdir()
    assert places(tmp_path / "d.yaml") == ["d.yaml: is a folder, not a file"]
    os.mkfifo(tmp_path / "f.yaml")
    assert places(tmp_path / "f.yaml") == ["f.yaml: is no regular file"]
    assert "null byte" in places(tmp_path / "a\0b")[0]
