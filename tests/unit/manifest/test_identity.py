"""Identity: golden ids, and what changes an id and what does not. A failure here would buy every job again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.jobs import FileReference, JobSpec, ParamValue, UrlReference, job_id
from batcher.manifest import Problems, load

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))  # the bytes of the golden id


@pytest.fixture(autouse=True)
def _any_picture_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.manifest.files.picture_fault", lambda *_: "")


def expand(folder: Path, text: str) -> list[JobSpec]:
    (folder / "m.yaml").write_text("campaign: golden\nmodel: grok-imagine-video\n" + text, "utf-8")
    problems = Problems()
    jobs = list(load(folder / "m.yaml").expand(problems))
    problems.raise_if_any()
    return jobs


def ids(folder: Path, text: str) -> list[str]:
    return [job.id for job in expand(folder, text)]


GOLDEN = {
    "plain": ("prompts: [A ring]", "553e75bb6965d3ee9d923544161fd2d3"),
    "text of many kinds": (
        'prompts: ["  Ein Ring – ❤\\r\\nzwei \\n"]',
        "33110a43326f3777943d7fe47f6272b4",
    ),
    "params": (
        "prompts: [A ring]\nparams: {mode: fun, duration: '10', resolution: 480p}",
        "4705995752911f488b289fc22ea6c1a5",
    ),
    "bytes of a file": ("prompts: [A ring]\nreferences: [ring.png]", "2feb5d7af6ca9748380fd09c831b9a89"),
    "text of a URL": (
        "prompts: [A ring]\nreferences: ['https://example.com/ring.png']",
        "56e2a625583597fff5e7a1ce20609142",
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_ids(case: str, tmp_path: Path) -> None:
    (tmp_path / "ring.png").write_bytes(PNG)
    text, golden = GOLDEN[case]
    assert ids(tmp_path, text) == [golden]


def test_golden_id_of_the_second_take(tmp_path: Path) -> None:
    assert ids(tmp_path, "prompts: [A ring]\nrepeat: 2") == [
        "553e75bb6965d3ee9d923544161fd2d3",
        "1b492583903743f5a61fec6dbacd3e5a",
    ]


def test_golden_id_of_another_model_and_another_campaign() -> None:
    assert (
        job_id(
            campaign="golden",
            model="grok-imagine",
            prompt="A ring",
            params={"enable_pro": "true"},
            reference=None,
            take=1,
        )
        == "7f4484bae046127afed44e9682d1c5f5"
    )
    assert (
        job_id(campaign="other", model="grok-imagine-video", prompt="A ring", params={}, reference=None, take=1)
        == "b12386db308441d81ee7cfe90098117c"
    )


BEFORE = """
params: {mode: fun}
matrix: {aspect_ratio: ["9:16", "16:9"], product: [watch, ring]}
references: [a.png, b.png]
prompts:
  - A {{ product }}
  - {name: dunes, prompt: "{{ product }} at {{ time }}", vars: {time: dawn}, matrix: {duration: [6, 10]}, repeat: 2}
  - {file: rows.csv, references: [null]}
"""
# the same jobs: everything moved, renamed, said in another way or written out
AFTER = """
matrix: {product: [ring, watch], aspect_ratio: ["16:9", "9:16"]}
params: {resolution: 480p, duration: "6", mode: fun}
references: ["pictures/*.png"]
repeat: 1
prompts:
  - {file: other.jsonl, references: [null], name: rows}
  - name: sand
    prompt: "  {{ thing }} at {{ time }}\\r\\n"
    matrix: {time: [dawn], include: [{product: ring, thing: ring}, {product: watch, thing: watch}]}
    repeat: 2
  - {name: sand, prompt: "{{ product }} at dawn", params: {duration: 10.0}, repeat: 2}
  - {name: thing, prompt: "{{ ('A ' if true) }}{{ product | trim }}", vars: {unused: 1}}
results: {name: "{{ job }}"}
"""


def test_moving_renaming_and_writing_out_buy_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG + b"a")
    (tmp_path / "b.png").write_bytes(PNG + b"b")
    (tmp_path / "rows.csv").write_text('prompt,duration,note\none,6,x\n"two {{ note }}",7.0,y\n')
    before = ids(tmp_path, BEFORE)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "pictures" / "z.png")
    (tmp_path / "b.png").rename(tmp_path / "pictures" / "anything.png")
    (tmp_path / "other.jsonl").write_text('{"prompt": " two y ", "duration": "7"}\n{"prompt": "one"}\n')
    after = ids(tmp_path, AFTER)
    # rows.csv does not mention the product, so its 8 entries are 4 jobs
    assert (len(before), len(set(before))) == (8 + 32 + 8, 8 + 32 + 4)
    assert set(after) == set(before)


def test_adding_a_line_adds_its_ids_only(tmp_path: Path) -> None:
    before = set(ids(tmp_path, "prompts: [one, two]\nmatrix: {mode: [fun, normal]}"))
    after = set(ids(tmp_path, "prompts: [new, one, two]\nmatrix: {mode: [fun, normal]}"))
    assert before < after
    assert len(after - before) == 2


def test_what_makes_another_job(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.png").write_bytes(PNG + b"!")
    texts = [
        "prompts: [x]", "prompts: [X]", "prompts: [x]\nparams: {mode: fun}", "prompts: [x]\nparams: {duration: 7}",
        "prompts: [x]\nreferences: [a.png]", "prompts: [x]\nreferences: [b.png]",
        "prompts: [x]\nreferences: ['https://x.org/a.png']", "prompts: [x]\nreferences: ['https://x.org/b.png']",
    ]  # fmt: skip
    found = [job for text in texts for job in ids(tmp_path, text)]
    assert len(set(found)) == len(texts)


def test_twins_have_one_id(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "copy.png").write_bytes(PNG)
    assert len(set(ids(tmp_path, "prompts: [x, ' x ']\nreferences: [a.png, copy.png]"))) == 1


VALUES = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
SOURCES = st.one_of(
    st.none(),
    st.text().map(UrlReference),
    st.text("0123456789abcdef").map(lambda digest: FileReference(Path("x"), digest, 1, "image/png")),
)


@given(st.text(), st.text(), st.text(), st.dictionaries(st.text(), VALUES), SOURCES, st.integers(1, 9))
def test_what_is_hashed_is_one_canonical_json(
    campaign: str,
    model: str,
    prompt: str,
    params: dict[str, ParamValue],
    reference: FileReference | UrlReference | None,
    take: int,
) -> None:
    """Parts are prepared once and put together; the whole must come out as if it had been written at once."""
    match reference:
        case FileReference(sha256=digest):
            source: list[str] | None = ["file", digest]
        case UrlReference(url=url):
            source = ["url", url]
        case None:
            source = None
    whole = json.dumps([1, campaign, model, prompt, params, source, take], sort_keys=True, separators=(",", ":"))
    identity = job_id(campaign=campaign, model=model, prompt=prompt, params=params, reference=reference, take=take)
    assert identity == hashlib.sha256(whole.encode()).hexdigest()[:32]
