"""What outlives the simulator: everything that was answered, nothing half-written."""

from __future__ import annotations

import io
import json
import threading
from contextlib import closing
from pathlib import Path

import pytest
from integration.simulator.helpers import Clock, Lab, error_of, png

from batcher.simulator.books import Books
from batcher.simulator.journal import Folder, Journal


def test_a_later_life_knows_everything(tmp_path: Path) -> None:
    clock = Clock()
    with closing(Folder(tmp_path)) as journal:
        lab = Lab(journal=journal, clock=clock, wallet=100, fail_prompt="cursed")
        file = lab.upload(png()).json()
        params = {"referenceMediaItems": [{"url": file["url"], "kind": "image"}]}
        done = lab.finished("a", params=params)
        failed = lab.create("b", prompt="cursed").json()["id"]
        before = lab.world.oracle()
    clock.time += 100
    with closing(Folder(tmp_path)) as journal:
        lab = Lab(journal=journal, clock=clock, wallet=7)
        after = lab.world.oracle()
        assert after.tasks == before.tasks
        assert (after.files, after.uploads, after.charges) == (before.files, before.uploads, before.charges)
        assert (before.wallet, after.wallet) == (80, 90)
        assert lab.get(f"/api/v1/generations/{failed}").json()["status"] == "failed"
        # The same task under the same key, and the same URL, which still gives the same file.
        assert lab.create("a", params=params).json() == done
        assert lab.get(done["result"]["primary_url"]).status_code == 200
        assert lab.create("c", params=params).status_code == 200
        assert lab.world.oracle().wallet == 80


def test_orders_outlive_it_too(tmp_path: Path) -> None:
    clock = Clock()
    with closing(Folder(tmp_path)) as journal:
        lab = Lab(journal=journal, clock=clock)
        file = lab.upload(png()).json()
        one, two = (lab.finished(key)["result"]["primary_url"] for key in "ab")
        lab.world.expire_results(next(iter(lab.world.oracle().tasks)))
        lab.order(credits=33, expire="uploads")
    with closing(Folder(tmp_path)) as journal:
        lab = Lab(journal=journal, clock=clock)
        assert lab.world.oracle().wallet == 33
        assert error_of(lab.get(f"/api/v1/files/{file['id']}")) == (404, "not_found")
        assert [lab.get(url).status_code for url in (one, two)] == [403, 200]


def test_a_wallet_that_is_set_does_not_get_what_came_back_before(tmp_path: Path) -> None:
    clock = Clock()
    with closing(Folder(tmp_path)) as journal:
        lab = Lab(journal=journal, clock=clock, fail_rate=1)
        lab.create()
        clock.time += 100
        lab.order(credits=50)
    with closing(Folder(tmp_path)) as journal:
        assert Lab(journal=journal, clock=clock).world.oracle().wallet == 50


def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with closing(Folder(tmp_path)) as journal:
        Lab(journal=journal).create("a")
    whole = path.read_bytes()
    for torn in (b"{", b'{"op":"task","id":"x"', b'{"op":"wallet","at":1,"credits":1}'):
        path.write_bytes(whole + torn)
        with closing(Folder(tmp_path)) as journal:
            assert list(Lab(journal=journal).world.oracle().charges) == ["a"]
        assert path.read_bytes() == whole
    path.write_bytes(whole + b"{")
    with closing(Folder(tmp_path)) as journal:
        Lab(journal=journal).create("b")
    with closing(Folder(tmp_path)) as journal:
        assert list(Lab(journal=journal).world.oracle().charges) == ["a", "b"]


def test_a_journal_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"op":"wallet","at":1,"credits":1}\nnonsense\n{}\n')
    with closing(Folder(tmp_path)) as journal, pytest.raises(ValueError, match=r"journal\.jsonl:2"):
        Books(journal)
    path.write_bytes(b'{"op":"dance","at":1}\n')
    with closing(Folder(tmp_path)) as journal, pytest.raises(ValueError, match=r"later version.*dance"):
        Books(journal)


def test_a_line_is_in_the_file_before_the_answer_is_sent(tmp_path: Path) -> None:
    seen: list[str] = []
    with closing(Folder(tmp_path)) as journal:
        lab = Lab(journal=journal)

        def look(_: int, name: str) -> None:
            lines = (tmp_path / "journal.jsonl").read_text().splitlines()
            seen.append(f"{name} {json.loads(lines[-1])['op']}")

        lab.app.on_event = look
        lab.create()
        lab.upload(png())
    assert seen == [
        "create:arrived wallet",
        "create:processed task",
        "create:answered task",
        "upload:arrived task",
        "upload:processed upload",
        "upload:answered upload",
    ]
    assert [path.read_bytes() for path in (tmp_path / "uploads").iterdir()] == [png()]


def test_a_second_simulator_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()

    class Told(io.StringIO):
        def write(self, text: str) -> int:
            told.set()
            return super().write(text)

    stderr = Told()
    monkeypatch.setattr("sys.stderr", stderr)
    first = Folder(tmp_path)
    second: list[Folder] = []
    waiter = threading.Thread(target=lambda: second.append(Folder(tmp_path)))
    waiter.start()
    assert told.wait(10)
    assert second == []
    first.close()
    waiter.join(10)
    second[0].close()
    assert "waiting for another simulator" in stderr.getvalue()


def test_bytes_that_were_never_kept(tmp_path: Path) -> None:
    with closing(Folder(tmp_path)) as journal:
        assert journal.load("0" * 64) is None
    memory = Journal()
    memory.keep("a", b"x")
    assert (memory.load("a"), memory.load("b"), list(memory.records())) == (b"x", None, [])
