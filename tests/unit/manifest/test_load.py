"""What a good manifest comes to: YAML without traps, settings, the starter, the schema; and fuzzing of `load`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.manifest.helpers import jobs_of, places, write

from batcher.catalog import SelectParam, get_model, model_ids
from batcher.errors import ManifestError
from batcher.manifest import STARTER, Manifest, Problems, json_schema, load, yaml_loader
from batcher.manifest.check import path_of
from batcher.manifest.yaml_loader import parse
from batcher.settings import Budget, Limits, Polling, Rate, Retries, Settings

TYPED = [
    "no", "yes", "on", "off", "y", "n", "No", "16:9", "1:1", "190:20:30", "1_000", "2020-01-01", "007", "1.10", "1e3",
    "0x1F", "0o17", "+5", ".5", "5.", ".inf", ".nan", "1.2.3", "0b11", "-", "1e9999",
    "12345678901234567890123456789012345678901",
]  # fmt: skip


@pytest.mark.parametrize("text", TYPED)
def test_a_variable_shows_what_was_typed(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"prompts: [{{prompt: 'x {{{{ v }}}}', vars: {{v: {text}}}}}]")
    if text == "-":
        path = write(tmp_path, "prompts:\n  - prompt: 'x {{ v }}'\n    vars:\n      v: \"-\"")
    assert [job.prompt for job in jobs_of(path)] == [f"x {text}"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("012", 12), ("0x1F", 31), ("0o17", 15), ("1.5", 1.5), ("1e3", 1000.0), ("-.5", -0.5),
        ("true", True), ("False", False), ("yes", "yes"), ("null", None), ("~", None), ("", None), ("'12'", "12"),
        ("1_0", "1_0"), ("0b1", "0b1"), (".inf", ".inf"), ("1:30", "1:30"), ("2001-12-14", "2001-12-14"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse(f"a: {text}".encode(), "f", Problems())
    assert found is not None
    got = found[0]["a"]
    assert got == value
    assert isinstance(got, type(value))


def test_positions_are_those_of_an_editor() -> None:
    found = parse("\ufeffa:\r\n  - é😀: [x, &k {z: 1}]\r\n  - *k\r\n".encode(), "f", Problems())
    assert found is not None
    data, marks = found
    assert data == {"a": [{"é😀": ["x", {"z": 1}]}, {"z": 1}]}
    assert marks.place(("a", 0, "é😀", 1, "z"), key=True) == (2, 17)
    assert marks.place(("a", 1, "z")) == (2, 20)
    assert marks.place(("a", 1, "no", "such")) == (2, 13)
    assert marks.place(("nowhere",)) == (1, 1)


@pytest.mark.parametrize(
    "data", [b"a: [1, {b: 'x'}]\nc: &k |\n  two\nd: *k", b"a: b: c", b"[" * 100, b"\ta: 1", b"a: &x [*x]"]
)
def test_without_the_c_library_all_is_the_same(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    fast, slow = Problems(), Problems()
    found = parse(data, "f", fast)
    monkeypatch.setattr(yaml_loader, "_Loader", yaml.SafeLoader)
    other = parse(data, "f", slow)
    assert (other and other[0]) == (found and found[0])
    if found and other:
        paths: list[tuple[str | int, ...]] = [("a", 1, "b"), ("c",), ("d",)]
        assert [other[1].place(path) for path in paths] == [found[1].place(path) for path in paths]
    assert [problem.line for problem in slow.values] == [problem.line for problem in fast.values]


def test_aliases_may_be_used() -> None:
    found = parse(b"a: &a [1]\nb: [*a, *a]", "f", Problems())
    assert found is not None
    assert found[0] == {"a": [1], "b": [[1], [1]]}


def test_all_settings(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        prompts: [x]
        limits: {submit: 2/s, requests: 500 / hour, in_flight: 7, downloads: 2}
        polling: {first: 250ms, every: 1.5, max: 2m, give_up: 2h}
        retries: {times: 0, replay_window: 30m, outage: 90 s}
        stop: {failures_in_a_row: 3}
        budget: {campaign: 5, day: 0, keep: 1}
        results: {download: false, name: "{{ job }}"}
        """,
    )
    manifest = load(path)
    assert manifest.settings == Settings(
        Limits(Rate(2, 1), Rate(500, 3600), 7, 2),
        Polling(0.25, 1.5, 120, 7200),
        Retries(0, 1800, 90),
        3,
        Budget(5, 0, 1),
        download=False,
    )
    assert (manifest.path, manifest.campaign, manifest.model.id) == (path, "c", "grok-imagine-video")


def test_a_cap_may_name_its_provider(tmp_path: Path) -> None:
    path = write(tmp_path, "prompts: [x]\nbudget: {campaign: {rivya: 5}, day: {rivya: 0}, keep: 1}")
    assert load(path).settings.budget == Budget(5, 0, 1)


def test_the_defaults_of_the_schema_are_those_of_the_settings(tmp_path: Path) -> None:
    assert load(write(tmp_path, "prompts: [x]")).settings == Settings()


def test_the_starter_runs_and_shows_every_key(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(STARTER)
    jobs = jobs_of(tmp_path / "m.yaml")
    assert len(jobs) == len({job.id for job in jobs}) == 15
    schema = json_schema()
    keys = set(schema["properties"]) | {key for part in schema["$defs"].values() for key in part["properties"]}
    assert [key for key in sorted(keys) if f"{key}:" not in STARTER] == []


def test_the_starters_comments_are_true(tmp_path: Path) -> None:
    lines = [line.removeprefix("# ") if line.startswith(("# limits", "# polling", "# retries", "# stop", "# results"))
             else line for line in STARTER.splitlines()]  # fmt: skip
    (tmp_path / "m.yaml").write_text("\n".join(lines))
    assert load(tmp_path / "m.yaml").settings == Settings(budget=Budget(campaign=500))


def test_the_schema_knows_each_models_params_and_takes_what_a_manifest_takes(tmp_path: Path) -> None:
    schema = json_schema()
    assert [rule["if"]["properties"]["model"]["const"] for rule in schema["allOf"]] == model_ids()
    for n, (model_id, rule) in enumerate(zip(model_ids(), schema["allOf"], strict=True)):
        parts = rule["then"]["else"]["properties"]  # where no prompt has a model of its own
        model, values = get_model(model_id), parts["params"]["properties"]
        assert list(values) == list(model.params)
        assert parts["params"]["additionalProperties"] is False
        at = f"#/allOf/{n}/then/else/properties"
        with_it, of_others = rule["properties"]["prompts"]["items"], rule["then"]["properties"]["prompts"]["items"]
        for entry in (with_it["then"], of_others["else"]):
            assert entry["properties"]["params"] == {"$ref": f"{at}/params"}
        for name, value in values.items():
            assert parts["matrix"]["properties"][name] == {"items": {"$ref": f"{at}/params/properties/{name}"}}
            param = model.params[name]
            for each in value.get("enum", [value["minimum"]] if "minimum" in value else []):
                param.wire(each)  # or raises
            if isinstance(param, SelectParam):
                assert {param.wire(each) for each in value["enum"]} == set(param.options)
    assert schema["title"] == "batcher manifest"
    assert json.dumps(schema).count('"title": "') == 1, "pydantic's titles say less than the descriptions"


def test_the_schema_fits_the_starter() -> None:
    schema = json_schema()
    found = parse(STARTER.encode(), "f", Problems())
    assert found is not None
    data = found[0]
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["required"]) == {"campaign", "model", "prompts"}
    assert schema["additionalProperties"] is False
    assert set(data) <= set(schema["properties"])
    assert data["model"] in schema["properties"]["model"]["enum"]
    definitions = schema["$defs"]
    assert set(data["prompts"][1]) <= set(definitions["TextEntry"]["properties"])
    assert set(data["budget"]) <= set(definitions["BudgetSection"]["properties"])
    kinds = schema["properties"]["prompts"]["items"]
    names = {str(kind.get("$ref", kind.get("type"))).rpartition("/")[2] for kind in kinds["oneOf"]}
    assert names == {"string", "TextEntry", "FileEntry"}


def test_pydantics_own_words_for_a_place_are_no_part_of_it() -> None:
    assert path_of(("prompts", 0, "entry", "vars", "x")) == ("prompts", 0, "vars", "x")
    assert path_of(("params", "x", "[key]")) == ("params", "x")


def test_odd_documents_are_told_and_healed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        params: 3
        matrix: {include: 3, exclude: [3, {mode: null}], mode: [fun, null]}
        prompts:
          - {prompt: x, matrix: 3, vars: 3, params: 3, references: 3}
          - {prompt: null}
          - {file: null, prompt: null}
          - null
        references: [3]
        """,
    )
    assert [text.split(": ")[0] for text in places(path)] == [
        "m.yaml:3:9", "m.yaml:4:19", "m.yaml:4:32", "m.yaml:4:42", "m.yaml:4:62", "m.yaml:6:25", "m.yaml:6:34",
        "m.yaml:6:45", "m.yaml:6:60", "m.yaml:7:14", "m.yaml:8:12", "m.yaml:8:26", "m.yaml:9:5", "m.yaml:10:14",
    ]  # fmt: skip


_WORDS = st.sampled_from(
    ["campaign: c\n", "model: grok-imagine\n", "prompts:", " - ", "  - ", "x", "{{ a }}", "{", "}", "[", "]", ", ",
     ": ", "matrix:", "\n", "  ", "&a ", "*a", "!!x ", "include", "'", '"', "null", "1", "file: a.csv", "params: ",
     "\t", "#", "|", "<<"]
)  # fmt: skip


def _load(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        manifest = load(path)
    except ManifestError as error:
        assert error.problems  # noqa: PT017 - either outcome is fine
        str(error)
    else:
        assert isinstance(manifest, Manifest)
        for _ in zip(range(50), manifest.expand(Problems()), strict=False):
            pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_manifest_or_its_problems(folder: Path, data: bytes) -> None:
    _load(folder / "bytes.yaml", data)


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(words=st.lists(_WORDS, max_size=40))
def test_any_words_give_a_manifest_or_its_problems(folder: Path, words: list[str]) -> None:
    _load(folder / "words.yaml", "".join(words).encode())


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["{{ a }}", "fun", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["prompt", "file", "name", "vars", "params", "matrix", "include", "exclude", "mode", "a"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_KEYS = sorted(json_schema()["properties"])


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(document=st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=8))
def test_any_document_gives_a_manifest_or_its_problems(folder: Path, document: dict[str, Any]) -> None:
    import yaml

    whole = {"campaign": "c", "model": "grok-imagine-video", **document}
    _load(folder / "values.yaml", yaml.safe_dump(whole, allow_unicode=True).encode("utf-8", "surrogatepass"))
