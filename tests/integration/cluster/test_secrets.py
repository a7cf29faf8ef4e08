"""The key of the API is in nothing that a cluster leaves behind: tables, notices, folders, what workers say."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest
from integration.cluster.helpers import Machines

from batcher.cluster.overview import overview
from batcher.simulator.switches import DEFAULT_KEY

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]
_TABLES = (
    "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
    " WHERE schemaname IN ('batcher', 'procrastinate', 'public')"
)


class Watch:
    """Keeps, until the end of the block, what every table of a database held and every notice that was given."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.texts = set[str]()
        self.tables = set[str]()
        self.notices = list[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as here:
            here.execute("LISTEN procrastinate_any_queue_v1")
            here.add_notify_handler(lambda notice: self.notices.append(notice.payload))
            while not self._over.wait(0.05):
                self._look(here)

    def _look(self, here: psycopg.Connection[tuple[str]]) -> None:
        for (name,) in here.execute(_TABLES).fetchall():
            rows = here.execute(f"SELECT x::text FROM {name} AS x".encode()).fetchall()
            self.tables |= {name} if rows else set()
            self.texts |= {row[0] for row in rows}

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def test_the_key_is_in_no_table_notice_file_or_word(machines: Machines, tmp_path: Path) -> None:
    with Watch(machines.conninfo) as seen:
        async with machines.worker(concurrency=2):
            with machines.starting(machines.workload(8)) as start:
                ending = await machines.ended(await start.begin(machines.tables))
        with psycopg.connect(machines.conninfo, autocommit=True) as there:
            seen._look(there)
    assert ending["kind"] == "done"
    assert {"batcher.attempts", "batcher.cluster_runs", "procrastinate.procrastinate_jobs"} <= seen.tables
    assert seen.notices
    words = [*seen.texts, *seen.notices, *machines.said, str(overview(machines.conninfo)), str(ending)]
    files = contents(tmp_path)
    assert any(b"SQLite format 3" in data for data in files), "the mirrors are among them"
    for form in (DEFAULT_KEY, DEFAULT_KEY.encode().hex()):  # as text, and as a dump shows bytes
        assert not [word for word in words if form in word]
        assert not [data for data in files if form.encode() in data]
