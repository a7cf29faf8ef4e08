"""A ledger on PostgreSQL from the command line: set up, looked at by a mirror, decided about, moved in, copied out."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.helpers import Cli, Site
from core_helpers import Shelf, StoreShelf, job_name, make_spec, make_task

from batcher.cluster.store import PostgresLedger
from batcher.jobs import Status

PASSWORD = "hidden-word"


@pytest.fixture
def database(cli: Cli, postgres: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database, as a user names it, with a password that no page may show."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(postgres)
    host = str(parts.get("host", "")).replace("/", "%2F")
    url = f"postgresql://{parts.get('user', '')}:s3cret@{host}/{parts['dbname']}"
    monkeypatch.setenv("BATCHER_LEDGER", url)
    return url


def with_jobs(url: str) -> None:
    """A failed job and a planned one."""
    shelf = StoreShelf(lambda clock, observe: PostgresLedger.connect(url, clock, observe))
    shelf.enrol([make_spec(1), make_spec(2, price_class="other"), make_spec(3, price_class="third")])
    saved = shelf.buy(3)
    shelf.ledger.submitted(saved, make_task(3, Status.SUCCEEDED, final_credits=9, urls=("https://x/1",)))
    shelf.ledger.claim_file(saved.attempt_id, 0, target="results/a", sha256="0" * 64, size=1)
    shelf.ledger.file_saved(job_name(3), saved.attempt_id, 0)
    shelf.ledger.submitted(shelf.buy(1), make_task(1, Status.FAILED, reserved_credits=10, final_credits=0))
    shelf.ledger.close()


def test_what_looks_reads_a_mirror_and_decisions_go_to_the_database(
    cli: Cli, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_jobs(database)
    found = cli("status", "--json").document
    assert found["campaigns"][0]["statuses"] == {"failed": 1, "planned": 1, "succeeded": 1}
    assert found["missing_files"] == []  # they are where the workers keep them
    assert "A run is going." in cli("status").out, "no lock says so, but that it has not ended"
    assert cli("retry", "spring", "--json").code == 0
    assert cli("cancel", job_name(2)[:31] + "2", "--json").code == 0
    listed = cli("jobs", "--json").document["jobs"]
    assert {job["status"] for job in listed} == {"planned", "cancelled", "succeeded"}
    assert cli("retry", "nobody").code == 2
    shown = cli("cluster", "status")
    assert (shown.code, "3 jobs, 0 jobs under way" in shown.err) == (0, True)
    assert cli("results", "spring").out == "results/a\n", "the mirror's folder has none"
    monkeypatch.setenv("BATCHER_RESULTS", "s3://films/")
    assert cli("results", "spring").out == "s3://films/results/a\n"
    for words in (("report",), ("show", "0" * 31 + "1"), ("watch", "--once"), ("export", "jobs"), ("doctor",)):
        ran = cli(*words)
        assert ran.code in (0, 1), ran
        assert "s3cret" not in ran.out + ran.err
    assert not (tmp_path / "state").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_a_copy_does_not_buy(cli: Cli, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_jobs(database)
    Path("state").mkdir()
    assert cli("export", "sqlite", "--output", "state/ledger.db").code == 0
    monkeypatch.delenv("BATCHER_LEDGER")
    assert cli("jobs", "--json").code == 0
    ran = cli("retry", "spring")
    assert (ran.code, "is a copy of the ledger in postgresql://" in ran.err) == (7, True)
    assert "--accept-old-ledger" in ran.err


def test_a_ledger_moves_in_and_refuses_from_then_on(cli: Cli, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("state").mkdir()
    shelf = Shelf(Path("state/ledger.db"))
    shelf.enrol([make_spec(1)])
    shelf.buy(1)
    shelf.ledger.close()
    ran = cli("cluster", "import", "state/ledger.db")
    assert ran.code == 0, ran
    assert "1 job and 1 purchase, with their keys" in ran.err
    assert cli("status", "--json").document["campaigns"][0]["statuses"] == {"submitting": 1}
    monkeypatch.delenv("BATCHER_LEDGER")
    ran = cli("cancel", "spring")
    assert (ran.code, "has moved to postgresql://" in ran.err, "s3cret" in ran.err) == (7, True, False)


def test_init_makes_the_tables_once(cli: Cli, bare_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(bare_postgres)
    host = str(parts.get("host", "")).replace("/", "%2F")
    monkeypatch.setenv("BATCHER_LEDGER", f"postgresql://{parts.get('user', '')}@{host}/{parts['dbname']}")
    before = cli("status")
    assert (before.code, "`batcher cluster init` makes its tables" in before.err) == (7, True)
    assert "is ready" in cli("cluster", "init").err
    assert "was ready" in cli("cluster", "init").err
    assert cli("status").code == 0


@pytest.mark.parametrize(
    ("ledger", "words", "told"),
    [
        ("postgresql://x@127.0.0.1:1/b", ("status", "--state", "state"), "name two ledgers"),
        ("mysql://x", ("status",), "no postgresql://"),
        ("", ("cluster", "init"), "BATCHER_LEDGER is not set"),
        ("postgresql://x@127.0.0.1:1/b", ("cluster", "import"), "LEDGER goes with import"),
    ],
)
def test_what_is_meant_is_refused_where_it_is_not_clear(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, ledger: str, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.setenv("BATCHER_LEDGER", ledger)
    ran = cli(*words)
    assert (ran.code, told in ran.err) == (2, True), ran


@pytest.mark.parametrize(
    "words", [("status",), ("run", "m.yaml"), ("retry", "spring"), ("doctor",), ("plan", "m.yaml")]
)
def test_a_ledger_named_twice_is_refused_by_whatever_reads_or_writes_one(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("BATCHER_LEDGER", "postgresql://x@127.0.0.1:1/b")
    assert cli(*words, "--state", "state").code == 2
    monkeypatch.setenv("BATCHER_STATE", "state")
    ran = cli(*words)
    assert (ran.code, "name two ledgers" in ran.err) == (2, True), ran


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hid/den@127.0.0.1:1/b",
        "postgresql://me:hid@den@127.0.0.1:1/b",
        "postgresql://me:hid%den@127.0.0.1:1/b",  # %de alone is no character
        "postgresql://me:hid%xden@127.0.0.1:1/b",
        "postgresql://me:hid den@127.0.0.1:1/b",
        "postgresql://me:hidden",
        "postgresql://me:hidden@127.0.0.1:x/b",
        "postgresql://me@127.0.0.1:1/b?password=hid&den",
        "postgresql://me@127.0.0.1:1/b?pasword=hidden&hidden=1",
        "postgresql://me@127.0.0.1:1/b#hidden",
    ],
)
def test_no_part_of_a_password_is_told_where_its_url_is_wrong(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """libpq would take a part of it for a host, and say that it finds none of that name."""
    pytest.importorskip("psycopg")
    monkeypatch.setenv("BATCHER_LEDGER", url)
    ran = cli("status", "--json")
    assert ran.code == 2, ran
    assert not {"hid", "den"} & set(re.findall(r"hid|den", ran.out + ran.err)), ran


@pytest.fixture
def locked(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A database that asks for a password; give it one by the way of that name."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    if "BATCHER_TEST_POSTGRES" in os.environ:
        pytest.skip("how a server that is not ours asks for passwords is not ours to change")
    parts = conninfo_to_dict(postgres)
    host, dbname = str(parts["host"]), str(parts["dbname"])
    with psycopg.connect(postgres, autocommit=True) as there:
        [[rules]] = there.execute("SHOW hba_file").fetchall()
        before = Path(rules).read_text()
        there.execute(f"CREATE ROLE locked SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        Path(rules).write_text(f"local all locked scram-sha-256\n{before}")
        there.execute("SELECT pg_reload_conf()")

    def give(way: str, password: str = PASSWORD) -> None:
        url = f"postgresql://locked@{host.replace('/', '%2F')}/{dbname}"
        private = Path("private")
        private.touch(mode=0o600)
        match way:
            case "url":
                url = url.replace("locked@", f"locked:{password}@")
            case "query":
                url += f"?password={password}"
            case "variable":
                monkeypatch.setenv("PGPASSWORD", password)
            case "passfile":
                private.write_text(f"*:*:{dbname}:locked:{password}\n")
                monkeypatch.setenv("PGPASSFILE", str(private.absolute()))
            case "service":
                private.write_text(f"[night]\nhost={host}\ndbname={dbname}\nuser=locked\npassword={password}\n")
                monkeypatch.setenv("PGSERVICEFILE", str(private.absolute()))
                url = "postgresql:///?service=night"
        monkeypatch.setenv("BATCHER_LEDGER", url)

    yield give
    with psycopg.connect(postgres, autocommit=True) as there:
        Path(rules).write_text(before)
        there.execute("SELECT pg_reload_conf()")
        there.execute("DROP ROLE locked")


@pytest.mark.parametrize("way", ["url", "query", "variable", "passfile", "service"])
def test_a_password_comes_by_every_way_that_libpq_knows_and_is_in_no_text(
    cli: Cli, locked: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    locked(way)
    for words in (("cluster", "status"), ("jobs", "--json")):
        ran = cli(*words)
        assert ran.code == 0, ran
        assert PASSWORD not in ran.out + ran.err

    def fail(conninfo: str) -> None:
        raise RuntimeError(f"{conninfo} {os.environ.get('PGPASSWORD')}")

    with monkeypatch.context() as patch:
        patch.setattr("batcher.cluster.overview.overview", fail)
        ran = cli("cluster", "status")
    assert (ran.code, "RuntimeError: " in ran.err, PASSWORD in ran.err) == (1, True, False)
    Path("private").unlink()
    assert [path for path in tmp_path.rglob("crash-*.txt") if "RuntimeError" in path.read_text()]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    locked(way, "wr0ng-one")
    ran = cli("status", "--json")
    assert (ran.code, "password authentication failed" in ran.err, "wr0ng-one" in ran.out + ran.err) == (7, True, False)


def test_a_database_that_is_not_there_is_told_without_its_password(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("BATCHER_LEDGER", "postgresql://me:s3cret@127.0.0.1:1/batcher")
    ran = cli("status")
    assert (ran.code, "s3cret" in ran.out + ran.err) == (7, False)
    assert "postgresql://me@127.0.0.1:1/batcher" in ran.err


def test_without_the_extra_it_says_how_to_get_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "batcher.cluster.postgres", raising=False)
    monkeypatch.setenv("BATCHER_LEDGER", "postgresql://me@127.0.0.1:1/batcher")
    ran = cli("status")
    assert (ran.code, "[cluster]" in ran.err) == (2, True)


def test_a_copy_goes_on_where_a_person_accepts_it_and_that_is_an_event(cli: Cli, place: Site) -> None:
    assert cli("run", "m.yaml", "--limit", "1").code == 0
    Path("other").mkdir(mode=0o700)
    assert cli("export", "sqlite", "--output", "other/ledger.db").code == 0
    ran = cli("run", "m.yaml", "--state", "other", "--limit", "1")
    assert (ran.code, "is a copy of the ledger in" in ran.err) == (7, True), ran
    accepted = ("run", "m.yaml", "--state", "other", "--limit", "1", "--accept-old-ledger")
    assert cli(*accepted).code == 0
    assert "old_ledger_accepted" in cli("export", "events", "--state", "other").out
    assert len(cli("export", "attempts", "--state", "other", "--format", "jsonl").out.splitlines()) == 2
    assert cli("run", "m.yaml", "--state", "other", "--limit", "1").code == 0
