"""The traps of YAML, numbers, paths, URLs and templates: what is said about each, and where.

Beside the table of plain mistakes in test_bad.py; tests/cli/trust/ sends both through the real command.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.manifest.helpers import HEAD, jobs_of, problems_of, write

from batcher.errors import ManifestError
from batcher.manifest import load

OK = "prompts: [a text]\n"
_AXIS = ", ".join(map(str, range(100)))

# (manifest after `campaign` in line 1 and `model` in line 2, place, beginning of the message)
TRAPS = {
    # YAML
    "tag of a Python object": ("prompts: [!!python/object/apply:os.system [id]]", "3:11", "tags ('tag:yaml.org,2002:p"),
    "tag of somebody's own": ("prompts: [!include secret.txt]", "3:11", "tags ('!include') are not allowed"),
    "tag of bytes": ("prompts: [!!binary aGk=]", "3:11", "tags ('tag:yaml.org,2002:binary') are not allowed"),
    "tag on a mapping": ("prompts: !!set {a, b}", "3:10", "tags ('tag:yaml.org,2002:set') are not allowed"),
    "merge of an anchor": (
        "params: &p {mode: fun}\nprompts: [{prompt: x, params: {<<: *p}}]",
        "4:32",
        "merge keys (<<)",
    ),
    "document after an end": (OK + "...\n---\n" + OK, "5:1", "a second document begins here"),
    "directive in the middle": (OK + "%YAML 1.1\n---\na: 1", "4:1", "a second document begins here"),
    "tab as indent": ("prompts:\n  - prompt: x\n\tname: y", "5:1", "this is not YAML: found a tab"),
    "wrong indent": ("prompts:\n  - a\n - b", "5:2", "this is not YAML: did not find expected key"),
    "BOM in the middle": (OK + "\ufeffrepeat: 2", "4:2", "this is not YAML: did not find expected key"),
    "C1 control": ("prompts: ['a\u009bb']", "3:13", "the character U+009B is not allowed here"),
    "ESC": ("prompts: ['a\u001bb']", "3:13", "the character U+001B is not allowed here"),
    "DEL": ("prompts: ['a\u007fb']", "3:13", "the character U+007F is not allowed here"),
    "NEL": ("prompts: ['a\u0085b']", "3:13", "the character U+0085 is not allowed here"),
    "no character": ("prompts: ['a\uffffb']", "3:13", "the character U+FFFF is not allowed here"),
    "escaped surrogate": ('prompts: ["a\\ud800b"]', "3:15", "this is not YAML: found invalid Unicode character"),
    "escape beyond Unicode": (
        'prompts: ["a\\U00110000b"]',
        "3:15",
        "this is not YAML: found invalid Unicode character",
    ),
    "unknown escape": ('prompts: ["a\\qb"]', "3:13", "this is not YAML: found unknown escape character"),
    "escaped NUL": ('prompts: ["a\\0b"]', "3:11", "the prompt holds the character U+0000"),
    "escaped ESC": ('prompts: ["a\\eb"]', "3:11", "the prompt holds the character U+001B"),
    "open list": ("prompts: [a, b", "4:1", "this is not YAML: did not find expected ',' or ']'"),
    "open quote": ("prompts: ['a", "3:13", "this is not YAML: found unexpected end of stream"),
    "at sign": ("prompts: [@a]", "3:11", "this is not YAML: found character that cannot start any token"),
    "list as a key": (OK + "params: {[a]: 1}", "4:10", "a key must be a text"),
    "mapping as a key": (OK + "? {a: b}\n: 1", "4:3", "a key must be a text"),
    "null as a key": (OK + "~: 1", "4:1", "unknown key '~'"),
    "empty key": (OK + "'': 1", "4:1", "unknown key ''"),
    "number as a key": (OK + "1: 1", "4:1", "unknown key '1'"),
    "same key, quoted": (
        OK + "params: {mode: fun, 'mode': fun}",
        "4:21",
        "the key 'mode' is here twice; first in line 4",
    ),
    "same key, by an alias": (OK + "params: {&k mode: fun, *k : fun}", "4:24", "the key 'mode' is here twice"),
    "endless key": (OK + "? " + "k" * 1_000_000 + "\n: 1", "4:3", "unknown key 'kkkkkkkk"),
    "flow too deep": ("prompts: " + "[" * 30 + "]" * 30, "3:33", "nested deeper than 24 levels"),
    "block too deep": (
        "prompts:\n" + "\n".join(" " * i + "- " for i in range(1, 40)),
        "27:25",
        "nested deeper than 24",
    ),
    "deep by aliases": (
        "params: &a [[[[[[[[[[1]]]]]]]]]]\nreferences: &b [[[[[[[[[[*a]]]]]]]]]]\nprompts: [[[[[*b]]]]]",
        "5:15",
        "the aliases grow to more than 400,000 values or 24 levels",
    ),
    # numbers, nulls, dates
    "5,000 digits": (
        OK + "repeat: 1" + "0" * 5000,
        "4:9",
        "repeat: must be a whole number from 1 to 1,000, not a text",
    ),
    "40 digits": (OK + "repeat: 1" + "0" * 39, "4:9", "repeat: is 1000000000000000000000000000000000000000; must be"),
    "huge budget": (
        OK + "budget: {day: 99999999999999999999}",
        "4:15",
        "budget.day: is 99999999999999999999; must be a",
    ),
    "hexadecimal": (OK + "repeat: 0xFFFF", "4:9", "repeat: is 0xFFFF; must be a whole number from 1 to 1,000"),
    "octal": (OK + "repeat: 0o777777", "4:9", "repeat: is 0o777777; must be a whole number from 1 to 1,000"),
    "minus nothing": (OK + "repeat: -0.0", "4:9", "repeat: must be a whole number from 1 to 1,000, not a number"),
    "infinity": (OK + "polling: {first: .inf}", "4:18", "polling.first: is '.inf'; must be seconds or a duration"),
    "not a number": (OK + "polling: {first: .nan}", "4:18", "polling.first: is '.nan'; must be seconds or a duration"),
    "beyond any float": (OK + "polling: {first: 1e999}", "4:18", "polling.first: is '1e999'; must be seconds"),
    "nearly beyond it": (OK + "params: {duration: 1e308}", "4:20", "duration is 1e308; must be a whole number from 6"),
    "sexagesimal": (OK + "polling: {give_up: 1:30:00}", "4:20", "polling.give_up: is '1:30:00'; must be seconds"),
    "date": (OK + "params: {duration: 2020-01-01}", "4:20", "duration is '2020-01-01'; must be a number"),
    "null prompt": ("prompts: [null]", "3:11", "prompts[1]: must be a text, not empty (null)"),
    "null prompts": ("prompts:", "3:9", "prompts: must be a list, not empty (null)"),
    "null in an axis": (OK + "matrix: {mode: [fun, ~]}", "4:22", "matrix.mode[2]: must be a text, a number or true/"),
    "null matrix": (OK + "matrix: ~", "4:9", "matrix: must be a mapping, not empty (null)"),
    "null cap": (OK + "budget: {day: }", "4:15", "budget.day: is empty (null)"),
    # paths and URLs
    "NUL in a path": ('references: ["a\\0b.png"]\n' + OK, "3:14", "a path cannot hold the character U+0000"),
    "line end in a path": ('references: ["a\\nb.png"]\n' + OK, "3:14", "a path cannot hold the character U+000A"),
    "ESC in a path": (
        'prompts: [{file: "a\\eb.csv"}]',
        "3:18",
        "'a\\x1bb.csv' a path cannot hold the character U+001B",
    ),
    "file URL": ("references: ['file:///etc/passwd']\n" + OK, "3:14", "'file:///etc/passwd': a reference is a path or"),
    "loud file URL": (
        "references: ['FILE:/etc/passwd']\n" + OK,
        "3:14",
        "'FILE:/etc/passwd': a reference is a path or",
    ),
    "data URL": (
        "references: ['data:image/png;base64,AA']\n" + OK,
        "3:14",
        "'data:image/png;base64,AA': a reference is",
    ),
    "javascript URL": (
        "references: ['javascript:alert(1)']\n" + OK,
        "3:14",
        "'javascript:alert(1)': a reference is a path",
    ),
    "blob URL": ("references: ['blob:https://x/y']\n" + OK, "3:14", "'blob:https://x/y': a reference is a path or"),
    "cloud's own address": (
        "references: ['http://169.254.169.254/']\n" + OK,
        "3:14",
        "'http://169.254.169.254/': a reference is a path or an https",
    ),
    "user in a URL": ("references: ['https://user@x.org/']\n" + OK, "3:14", "a URL with a user or a password in it"),
    "port that is none": ("references: ['https://x.org:99999/']\n" + OK, "3:14", "'https://x.org:99999/' is no URL"),
    "bidi mark in a URL": (
        'references: ["https://x.org/\\u202e"]\n' + OK,
        "3:14",
        "the URL 'https://x.org/\\u202e' has",
    ),
    "line end in a URL": (
        'references: ["https://x.org/\\na"]\n' + OK,
        "3:14",
        "the URL 'https://x.org/\\na' has spaces",
    ),
    "URL too long": (f"references: ['https://x.org/{'a' * 3000}']\n" + OK, "3:14", "the URL has 3,014 characters"),
    "network path": (
        "references: ['//host/share/a.png']\n" + OK,
        "3:14",
        "'//host/share/a.png' leads out of the manif",
    ),
    "absolute path": ("references: [/etc/hostname]\n" + OK, "3:14", "'/etc/hostname' leads out of the manifest's"),
    "device": ("references: [/dev/zero]\n" + OK, "3:14", "'/dev/zero' leads out of the manifest's folder"),
    "folder above": ("references: [..]\n" + OK, "3:14", "'..' leads out of the manifest's folder"),
    "folder itself": ("references: [.]\n" + OK, "3:14", "'.' is a folder, not a file"),
    "glob that leads out": ("references: ['../*.png']\n" + OK, "3:14", "'../*.png' leads out of the manifest's folder"),
    "glob from the root": ("references: ['/etc/*']\n" + OK, "3:14", "'/etc/*' leads out of the manifest's folder"),
    "glob of too much": ("references: ['**/a/**/b/**/c']\n" + OK, "3:14", "'**/a/**/b/**/c': at most two `**`"),
    "name of 300 bytes": (
        f"references: ['{'a' * 296}.png']\n" + OK,
        "3:14",
        f"'{'a' * 59}…' cannot be read: File name t",
    ),
    "name of 400 bytes": (
        f"references: ['{'é' * 198}.png']\n" + OK,
        "3:14",
        f"'{'é' * 59}…' cannot be read: File name t",
    ),
    "path of 5,000 bytes": (f"references: ['{'a/' * 2500}b.png']\n" + OK, "3:14", "the reference has 5,005 characters"),
    "manifest as its source": ("prompts: [{file: m.yaml}]", "3:18", "'m.yaml': a prompt file is one of .csv"),
    "folder as a source": ("prompts: [{file: .}]", "3:18", "'.': a prompt file is one of .csv"),
    "process as a source": ("prompts: [{file: /proc/self/x.txt}]", "3:18", "'/proc/self/x.txt' leads out of the manif"),
    "results from the root": (OK + "results: {name: '/tmp/{{ job }}'}", "4:17", "a results.name is relative"),
    "results from above": (OK + "results: {name: 'a/../../{{ job }}'}", "4:17", "a results.name is relative"),
    "results by backslash": (OK + "results: {name: 'a\\{{ job }}'}", "4:17", "a results.name is relative"),
    "results without a name": (OK + "results: {name: ''}", "4:17", "results.name: is empty"),
    # templates and matrices
    "class of a text": (
        "prompts: [\"{{ ''.__class__ }}\"]",
        "3:11",
        "not allowed in a template: the attribute '__class__'",
    ),
    "subscript": ("prompts: [\"{{ a['__class__'] }}\"]", "3:11", "not allowed in a template: subscripts"),
    "text times a billion": ("prompts: [\"{{ 'a' * 999999999 }}\"]", "3:11", "not allowed in a template: arithmetic"),
    "power tower": ("prompts: ['{{ 9**9**9 }}']", "3:11", "not allowed in a template: arithmetic"),
    "loop": ("prompts: ['{% for i in x %}a{% endfor %}']", "3:11", "not allowed in a template: blocks"),
    "include of a file": ("prompts: [\"{% include '/etc/passwd' %}\"]", "3:11", "not allowed in a template: blocks"),
    "width of a billion": ("prompts: [\"{{ '%999999999d' | format(1) }}\"]", "3:11", "unknown filter 'format'"),
    "centred in a billion": ("prompts: [\"{{ 'a' | center(999999999) }}\"]", "3:11", "unknown filter 'center'"),
    "call by a filter": ("prompts: [\"{{ 'a' | map('upper') }}\"]", "3:11", "unknown filter 'map'"),
    "deep brackets": (f"prompts: ['{{{{ {'(' * 300}1{')' * 300} }}}}']", "3:11", "not a template: nested too deeply"),
    "many filters": (f"prompts: [\"{{{{ 'a'{' | upper' * 60} }}}}\"]", "3:11", "too long for a template: at most 1000"),
    "many parts": ("prompts: ['" + "{{ 1 }}" * 1100 + "']", "3:11", "too long for a template: at most 1000 parts"),
    "long comparison": (f"prompts: ['{{{{ {'1 < ' * 1100}2 }}}}']", "3:11", "too long for a template: at most 1000"),
    "text that doubles": (
        f"prompts: [\"{{{{ 'x'{' | replace(`x`, `xxxxxxxxxxxxxxxx`)' * 8} }}}}\"]".replace("`", "'"),
        "3:11",
        "the text grows to more than 100,000 characters",
    ),
    "long variable, often": (
        f"prompts: [{{prompt: '{'{{ v }}' * 900}', vars: {{v: {'y' * 1_000_000}}}}}]",
        "3:20",
        "the text grows to more than 100,000 characters",
    ),
    "number beyond any float": ("prompts: ['{{ 1e999 }}']", "3:11", "the number is too large"),
    "exclude of a million": (
        f"prompts: ['{{{{ a }}}}{{{{ b }}}}{{{{ c }}}}']\nmatrix:\n  a: [{_AXIS}]\n  b: [{_AXIS}]\n  c: [{_AXIS}]\n"
        "  exclude:\n" + "".join(f"    - {{a: {n}}}\n" for n in range(100)),
        "9:5",
        "`exclude` removes more than 100,000 combinations",
    ),
    "exclude for ever": (
        f"prompts: [{{prompt: '{''.join(f'{{{{ v{n} }}}}' for n in range(9))}{{{{ a }}}}'}}]\nmatrix:\n  a: [x]\n"
        + "".join(f"  v{n}: [{_AXIS}]\n" for n in range(9))
        + "  exclude: [{a: x}]\n",
        "15:12",
        "`exclude` removes more than 100,000 combinations",
    ),
    "too many rules": (
        OK + f"matrix: {{mode: [fun], exclude: [{', '.join(['{mode: fun}'] * 1001)}]}}",
        "4:32",
        "matrix.exclude: has 1,001 entries; at most 1,000",
    ),
}


@pytest.mark.parametrize("case", TRAPS)
def test_trap(case: str, tmp_path: Path) -> None:
    manifest, place, message = TRAPS[case]
    (tmp_path / "m.yaml").write_text(HEAD + manifest, "utf-8")
    found = problems_of(tmp_path / "m.yaml")
    assert [f"{problem.line}:{problem.column}" for problem in found] == [place], found
    assert found[0].message.startswith(message)
    assert str(found[0]).isprintable()
    assert len(str(found[0])) < 5_000


def test_names_that_lead_astray_become_safe_ones(tmp_path: Path) -> None:
    path = write(tmp_path, 'prompts: [x]\nresults: {name: "a\\0b\\e[2J\\u202e/{{ job }}"}')
    (job,) = jobs_of(path)
    assert job.file_name == f"ab[2J/{job.id[:12]}"


def test_more_faults_than_anybody_reads_end_the_search(tmp_path: Path) -> None:
    """Each fault costs time: the search for more ends, and all that was found is counted."""
    (tmp_path / "m.yaml").write_text(HEAD + "prompts: [" + "{}, " * 3_000 + "]\nrepeat: 0\nparams: {nonsense: 1}\n")
    with pytest.raises(ManifestError) as caught:
        load(tmp_path / "m.yaml")
    found = caught.value.problems
    assert [problem.message for problem in found[:2]] == [f"prompts[{n}] has no `prompt` and no `file`" for n in (1, 2)]
    # those of the document's shape; not that a param is unknown, which shows later
    assert len(found) + caught.value.more == 3_001
