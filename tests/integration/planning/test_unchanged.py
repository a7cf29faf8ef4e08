"""What is unchanged is not expanded again, and whatever changes makes it expand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from core_helpers import ACCOUNT, Shelf
from support import PIXEL
from workbooks import rows, workbook

import batcher.manifest
from batcher import own_models
from batcher.catalog import Model, get_model
from batcher.enrolling import begin_enrolment
from batcher.errors import ManifestError, UsageError
from batcher.jobs import JobId, JobSpec, Status
from batcher.ledger import decisions
from batcher.ledger.decisions import Cancel, Retry
from batcher.ledger.expansion_cache import CachedExpansion
from batcher.manifest import Problems, expansion_inputs
from batcher.manifest.expansion_inputs import InputRecorder
from batcher.manifest.files import Files
from batcher.manifest.problems import Fault
from batcher.workload import Workload, prepare

MANIFEST = """\
campaign: spring
model: grok-imagine-video
prompts:
  - {name: plain, prompt: A boat, repeat: 2}
  - {name: twin, prompt: A boat}
  - {name: pictured, prompt: Like this, references: ["refs/*.png", null]}
  - {name: one, prompt: Like that, references: ["refs/a.png"]}
  - {file: rows.csv, prompt: "{{ title }}"}
  - {file: rows.xlsx, sheet: S}
"""
ROWS = "title,duration\nA kite,6\nA dune,10\n"
JOBS = 2 + 3 + 1 + 2 + 1


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "ledger.db")
    yield made
    made.ledger.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "campaign"
    (folder / "refs").mkdir(parents=True)
    (folder / "m.yaml").write_text(MANIFEST)
    (folder / "rows.csv").write_text(ROWS)
    (folder / "rows.xlsx").write_bytes(workbook({"S": rows(["prompt"], ["A moor"])}))
    (folder / "refs" / "a.png").write_bytes(PIXEL)
    (folder / "refs" / "b.png").write_bytes(PIXEL + b"b")
    return folder


@pytest.fixture(params=["young", "old"])
def age(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Files go by their hash while they are young, and then by size, times and inode."""
    if request.param == "old":
        monkeypatch.setattr(expansion_inputs, "YOUNG_NS", -(10**18))
    return str(request.param)


def bring(shelf: Shelf, prepared: Workload) -> None:
    """What a run does before its engine starts."""
    begin_enrolment(shelf.ledger, prepared.manifests, prepared.unchanged(shelf.ledger.read))


def known(shelf: Shelf, folder: Path, **options: Any) -> bool:
    return "spring" in prepare([folder / "m.yaml"], **options).unchanged(shelf.ledger.read)


def test_what_is_unchanged_is_known(shelf: Shelf, folder: Path, age: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not known(shelf, folder)
    bring(shelf, prepare([folder / "m.yaml"]))
    kinds = {(row["kind"], row["name"]) for row in shelf.rows("SELECT * FROM inputs")}
    sources = {("source", "rows.csv"), ("source", "rows.xlsx")}
    assert kinds == {("glob", "refs/*.png"), ("file", "refs/a.png"), ("file", "refs/b.png"), *sources}
    prepared = prepare([folder / "m.yaml"])
    expanded = prepared.plan(shelf.ledger.read, ACCOUNT.text, {})

    def never(*_: object, **__: object) -> Iterator[JobSpec]:
        yield from ()
        pytest.fail("it was expanded")

    monkeypatch.setattr(batcher.manifest, "expand", never)
    plan = prepared.plan(shelf.ledger.read, ACCOUNT.text)
    assert plan == expanded
    assert (plan.campaigns[0].jobs, plan.campaigns[0].duplicates, plan.new) == (JOBS, 1, JOBS)
    before = shelf.rows("SELECT * FROM events")
    bring(shelf, prepared)
    assert shelf.rows("SELECT * FROM events") == before
    monkeypatch.chdir(folder)
    assert "spring" in prepare([Path("m.yaml")]).unchanged(shelf.ledger.read), "by whatever path it is named"


def rewrite(path: Path, content: bytes) -> None:
    """Other bytes under the same name, made as editors do."""
    new = path.with_name("new")
    new.write_bytes(content)
    new.replace(path)


def same_size_and_time(path: Path, content: bytes) -> None:
    """Other bytes in the same file, of the same length, and the old time put back."""
    before = path.stat()
    path.write_bytes(content)
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the file system's clock ticks every few milliseconds
        path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def swap_for_a_link(folder: Path) -> None:
    """The same bytes, even the same inode, but found at another place and so under another name."""
    (folder / "other").mkdir()
    os.link(folder / "refs" / "a.png", folder / "other" / "z.png")
    (folder / "refs" / "a.png").unlink()
    (folder / "refs" / "a.png").symlink_to("../other/z.png")


def folder_for_file(folder: Path) -> None:
    (folder / "refs" / "b.png").unlink()
    (folder / "refs" / "b.png").mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "a comment in the manifest": lambda f: (f / "m.yaml").write_text(MANIFEST + "# more\n"),
    "a row": lambda f: rewrite(f / "rows.csv", ROWS.replace("dune", "lake").encode()),
    "a row, in place": lambda f: same_size_and_time(f / "rows.csv", ROWS.replace("dune", "lake").encode()),
    "a row more": lambda f: (f / "rows.csv").write_text(ROWS + "A lake,6\n"),
    "a cell": lambda f: rewrite(f / "rows.xlsx", workbook({"S": rows(["prompt"], ["A fen"])})),
    "no rows": lambda f: (f / "rows.csv").unlink(),
    "a picture": lambda f: rewrite(f / "refs" / "a.png", PIXEL + b"a"),
    "a picture, in place": lambda f: same_size_and_time(f / "refs" / "b.png", PIXEL + b"c"),
    "a picture more": lambda f: (f / "refs" / "c.png").write_bytes(PIXEL),
    "a picture less": lambda f: (f / "refs" / "b.png").unlink(),
    "a folder in its place": folder_for_file,
    "a link to it": swap_for_a_link,
    "a file of the glob's name": lambda f: (f / "refs" / "*.png").write_bytes(PIXEL),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_expanded_again(shelf: Shelf, folder: Path, age: str, change: str) -> None:
    bring(shelf, prepare([folder / "m.yaml"]))
    assert known(shelf, folder)
    CHANGES[change](folder)
    assert not known(shelf, folder)


def test_what_does_not_matter_may_change(shelf: Shelf, folder: Path, age: str) -> None:
    bring(shelf, prepare([folder / "m.yaml"]))
    (folder / "refs" / "notes.txt").write_text("x")
    rewrite(folder / "rows.csv", ROWS.encode())
    os.utime(folder / "m.yaml", (1, 1))
    assert known(shelf, folder)


def test_the_folder_and_batcher_itself_are_part_of_it(
    shelf: Shelf, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(shelf, prepare([folder / "m.yaml"]))
    assert not known(shelf, folder, allow_paths=[tmp_path])
    for module, name, value in (
        (expansion_inputs, "__version__", "9"),
        (expansion_inputs, "IDENTITY_VERSION", 2),
        (sys, "version", "4"),
    ):
        with monkeypatch.context() as other:
            other.setattr(module, name, value)
            assert not known(shelf, folder)
    with monkeypatch.context() as other:
        other.setattr(expansion_inputs, "_code", lambda: "another catalogue")
        assert not known(shelf, folder)
    assert known(shelf, folder)
    moved = folder.rename(tmp_path / "moved")
    assert not known(shelf, moved)


def test_a_model_file_of_ones_own_is_part_of_it(shelf: Shelf, folder: Path, tmp_path: Path) -> None:
    shipped = (resources.files("batcher.catalog") / "grok-imagine-video.toml").read_text("utf-8")
    try:
        for price in (11, 12):
            mine = tmp_path / str(price)
            mine.mkdir()
            text = shipped.replace("base_credits = 10", f"base_credits = {price}")
            (mine / "grok-imagine-video.toml").write_text(text, "utf-8")
            own_models.use([mine])
            assert not known(shelf, folder)
            bring(shelf, prepare([folder / "m.yaml"]))
            assert known(shelf, folder)
            assert {row["catalog_credits"] for row in shelf.rows("SELECT catalog_credits FROM wanted")} == {price}
    finally:
        own_models.use(())


def test_the_catalogue_and_the_code_are_in_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "batcher"
    for room in ("manifest", "catalog"):
        (package / room).mkdir(parents=True)
        (package / room / "a.py").write_text("1")
    for name in ("jobs.py", "filetypes.py", "spelling.py"):
        (package / name).write_text("1")
    monkeypatch.setattr(expansion_inputs, "__file__", str(package / "manifest" / "inputs.py"))
    code = expansion_inputs._code.__wrapped__
    seen = {code(), code()}
    assert len(seen) == 1
    for path in ("catalog/model.toml", "manifest/b.py", "jobs.py", "filetypes.py", "spelling.py"):
        (package / path).write_text("2")
        assert code() not in seen
        seen.add(code())
    (package / "jobs.py").unlink()
    assert code() != code(), "nobody can tell, so it is never the same"


def test_an_expansion_that_a_crash_cut_short_is_not_known(shelf: Shelf, folder: Path) -> None:
    bring(shelf, prepare([folder / "m.yaml"]))
    [manifest] = prepare([folder / "m.yaml"]).manifests

    def dies() -> Iterator[JobSpec]:
        stream = manifest.expand(Problems())
        yield next(stream)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shelf.ledger.enrol("spring", "m.yaml", dies())
    assert not known(shelf, folder)
    bring(shelf, prepare([folder / "m.yaml"]))
    assert known(shelf, folder)


def test_a_file_that_changes_while_it_is_looked_at_is_not_known(
    shelf: Shelf, folder: Path, age: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was read of it, the next run reads it again."""
    plain = Files._file

    def changing(files: Files, text: str, model: Model) -> Any:
        found = plain(files, text, model)
        rewrite(folder / "refs" / "a.png", PIXEL + b"changed")
        return found

    monkeypatch.setattr(Files, "_file", changing)
    bring(shelf, prepare([folder / "m.yaml"]))
    monkeypatch.undo()
    assert not known(shelf, folder)


def test_a_recorder_that_is_in_doubt_seals_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [manifest] = prepare([folder / "m.yaml"]).manifests
    read = manifest.input_recorder()
    with read.opened("rows.csv") as file:
        assert file.readline() == b"title,duration\n"
    assert read.sealed() is None, "not read to its end"
    twice = manifest.input_recorder()
    for content in (ROWS, ROWS + "A lake,6\n"):
        (folder / "rows.csv").write_text(content)
        with twice.opened("rows.csv") as file:
            file.read()
    assert twice.sealed() is None, "two contents in one expansion"
    gone = manifest.input_recorder()
    with pytest.raises(Fault):
        gone.find("refs/none.png", get_model("grok-imagine-video"))
    assert gone.sealed() is None
    monkeypatch.setattr(expansion_inputs, "MAX_INPUTS", 1)
    many = manifest.input_recorder()
    list(manifest.expand(Problems(), many))
    assert many.sealed() is None
    assert InputRecorder(manifest._files).sealed() == []


def test_a_faulty_source_makes_no_whole_expansion(shelf: Shelf, folder: Path) -> None:
    prepared = prepare([folder / "m.yaml"])
    (folder / "rows.csv").write_text("title,duration\nA kite,7 days\n")
    with pytest.raises(ManifestError):
        bring(shelf, prepared)
    assert shelf.rows("SELECT fingerprint FROM campaigns") == [{"fingerprint": None}]


def test_what_a_person_planned_again_and_nobody_wants_is_cancelled(shelf: Shelf, folder: Path) -> None:
    bring(shelf, prepare([folder / "m.yaml"]))
    (folder / "m.yaml").write_text(MANIFEST.replace("repeat: 2", "repeat: 1"))
    bring(shelf, prepare([folder / "m.yaml"]))
    [gone] = shelf.rows("SELECT id FROM wanted WHERE status = 'cancelled'")
    list(decisions.decide(shelf.ledger, Retry(frozenset({Status.CANCELLED})), [JobId(gone["id"])]))
    prepared = prepare([folder / "m.yaml"])
    assert prepared.unchanged(shelf.ledger.read)["spring"].gone == 1
    assert prepared.plan(shelf.ledger.read, None).campaigns[0].gone == 1
    bring(shelf, prepared)
    assert shelf.rows("SELECT status, error_code FROM wanted WHERE id = ?", gone["id"]) == [
        {"status": "cancelled", "error_code": "not_in_manifest"}
    ]
    assert shelf.events()[-1] == "cancelled"


def test_errors_are_the_same(shelf: Shelf, folder: Path) -> None:
    bring(shelf, prepare([folder / "m.yaml"]))
    none: dict[str, CachedExpansion] = {}
    wrong: list[tuple[dict[str, Any], str]] = [({"only": ["x*"]}, "no prompt"), ({"max_jobs": 3}, "more than 3 jobs")]
    for options, message in wrong:
        prepared = prepare([folder / "m.yaml"], **options)
        said = []
        for unchanged in (None, none):
            with pytest.raises(UsageError, match=message) as caught:
                prepared.plan(shelf.ledger.read, None, unchanged)
            said.append((caught.value.message, caught.value.hint))
        assert said[0] == said[1]


def test_a_name_of_which_nothing_is_left_to_buy_is_a_name(shelf: Shelf, folder: Path) -> None:
    bring(shelf, prepare([folder / "m.yaml"]))
    list(decisions.decide(shelf.ledger, Cancel(), [row["id"] for row in shelf.rows("SELECT id FROM wanted")]))
    prepared = prepare([folder / "m.yaml"], only=["plain"])
    plan = prepared.plan(shelf.ledger.read, None)
    assert plan == prepared.plan(shelf.ledger.read, None, {})
    assert plan.campaigns[0].cancelled == JOBS
