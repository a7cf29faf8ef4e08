"""Where state is: the same for every command, never two ledgers for one campaign, never a foreign folder made ours."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cli.helpers import Cli, Site

from batcher.cli import places
from batcher.cli.places import Sought, find_state
from batcher.cli.terminal import Terminal

MANIFEST = """\
campaign: {}
model: grok-imagine-video
prompts: [A boat on a lake, A kite over a field]
limits: {{submit: 1000/second, requests: 1000/second}}
polling: {{first: 10ms, every: 10ms, max: 50ms}}
"""
#: Commands that name a campaign, and those that name nothing.
NAMING = (
    *(("jobs", "--campaign", "one"), ("report", "--campaign", "one"), ("results", "one"), ("cancel", "one")),
    *(("export", "--campaign", "one"), ("retry", "one"), ("resolve", "--campaign", "one", "--as", "failed", "--yes")),
    ("show", "JOB"),
)
NAMELESS = (("status",), ("jobs",), ("report",), ("watch", "--once"), ("export",), ("credits",))


def write(folder: Path, campaign: str = "one") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "m.yaml"
    path.write_text(MANIFEST.format(campaign))
    return path


def charged(place: Site) -> int:
    return len(place.world.oracle().tasks)


def rows(ledger: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(ledger)) as read:
        return read.execute(sql).fetchall()


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of this test's own list of ledgers."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg/batcher/ledgers"


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator on loopback counts as the API on the net."""
    monkeypatch.setattr("batcher.providers.addresses.is_loopback", lambda host: False)


# Finding it


def test_no_command_from_anywhere_makes_a_second_ledger(
    cli: Cli, place: Site, net: None, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bought in one folder: from a folder above, from one below, from cron's, nothing is bought again."""
    manifest = write(tmp_path / "work/project")
    monkeypatch.chdir(tmp_path / "work/project")
    assert cli("run", "m.yaml", "--quiet").code == 0
    ledger = tmp_path / "work/project/state/ledger.db"
    assert lists.read_text() == f"{ledger}\tone\n"
    assert stat.S_IMODE(lists.stat().st_mode) == 0o600
    [[job]] = rows(ledger, "SELECT id FROM jobs LIMIT 1")
    (tmp_path / "work/project/deep/er").mkdir(parents=True)
    (tmp_path / "elsewhere/state").mkdir(parents=True)
    for folder in ("work", "work/project/deep/er", "elsewhere"):
        monkeypatch.chdir(tmp_path / folder)
        assert cli("run", str(manifest), "--quiet").code == 0
        assert cli("plan", str(manifest), "--json").document["campaigns"][0]["new"] == 0
        for words in (*NAMING, *NAMELESS):
            ran = cli(*(str(job)[:12] if word == "JOB" else word for word in words))
            assert ran.code == 0, (folder, words, ran)
        assert cli("status", "--json").document["ledger"] == str(ledger)
    assert charged(place) == 2
    assert list(tmp_path.rglob("ledger.db")) == [ledger]


def test_it_is_named_where_it_is_not_the_usual_place(
    cli: Cli, place: Site, net: None, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    first = cli("run", "m.yaml", "--quiet")
    assert f"New ledger: {tmp_path}/project/state/ledger.db" in first.err
    assert "Ledger: " not in cli("run", "m.yaml", "--quiet").err
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    assert "Ledger: " not in cli("plan", str(manifest)).err, "beside the manifest is usual"
    assert f"Ledger: {tmp_path}/project/state/ledger.db (it knows one)\n" in cli("jobs", "--campaign", "one").err
    other = write(tmp_path / "project", "two").rename(tmp_path / "project/two.yaml")
    told = cli("run", str(other), "--quiet")
    assert f"Ledger: {tmp_path}/project/state/ledger.db (two is new to it)" in told.err


def test_several_ledgers_are_named_and_nothing_is_sent(
    cli: Cli, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    assert cli("run", str(manifest), "--quiet", "--state", "project/state").code == 0
    assert cli("run", str(manifest), "--quiet", "--state", "state").code == 0
    before = len(place.world.oracle().requests)
    monkeypatch.chdir(tmp_path / "project")
    for words in (("run", "m.yaml"), ("plan", "m.yaml"), ("jobs", "--campaign", "one"), ("cancel", "one")):
        ran = cli(*words)
        assert ran.code == 2, (words, ran)
        for ledger in ("project/state/ledger.db", "state/ledger.db"):
            assert f"{tmp_path}/{ledger} (knows one)" in ran.err
        assert "--state FOLDER" in ran.err
    assert len(place.world.oracle().requests) == before


def test_manifests_that_lead_to_different_ledgers(
    cli: Cli, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(write(tmp_path / name, name)) for name in ("a", "b")]
    for name in ("a", "b"):
        (tmp_path / name / "state").mkdir()
    monkeypatch.chdir(tmp_path)
    ran = cli("run", *paths)
    assert (ran.code, "several ledgers come into question" in ran.err) == (2, True)
    assert cli("run", paths[0], "--quiet").code == 0
    assert cli("run", *paths).code == 2
    assert cli("run", *paths, "--quiet", "--state", "c").code == 0


def test_a_listed_ledger_that_is_not_there_stops(cli: Cli, place: Site, lists: Path, tmp_path: Path) -> None:
    """A disk that is not mounted must not make all be bought again."""
    lists.parent.mkdir(parents=True)
    lists.write_text("/mnt/far away/state/ledger.db\ttiny other\n")
    ran = cli("run", "m.yaml")
    assert ran.code == 2
    assert "/mnt/far away/state/ledger.db knows tiny" in ran.err
    assert charged(place) == 0
    assert cli("run", "m.yaml", "--quiet", "--state", "state").code == 0
    assert cli("run", "m.yaml", "--quiet").code == 0


def test_going_up_ends_at_home_and_at_other_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "home/me/work"
    inner.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home/me"))
    assert list(places.upwards(inner)) == [inner, inner.parent]
    monkeypatch.setenv("HOME", "/nowhere")
    real = Path.stat

    def foreign(path: Path, **options: bool) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result((*found[:4], 12345, *found[5:10])) if path == inner.parent else found

    monkeypatch.setattr(Path, "stat", foreign)
    assert list(places.upwards(inner)) == [inner]


def test_a_list_that_cannot_be_written_is_told(cli: Cli, place: Site, net: None, lists: Path, tmp_path: Path) -> None:
    (tmp_path / "xdg").write_text("a file")
    ran = cli("run", "m.yaml", "--quiet")
    assert ran.code == 0
    assert "could not be written into the list of ledgers" in ran.err


def test_the_list_keeps_what_others_wrote(lists: Path, tmp_path: Path) -> None:
    terminal = Terminal([])
    for name, campaigns in (("a b", ["x"]), ("c", ["y", "z"]), ("a b", ["w"])):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "ledger.db").touch()
        places.remember(tmp_path / name / "ledger.db", campaigns, terminal)
    assert lists.read_text() == f"{tmp_path}/a b/ledger.db\tw x\n{tmp_path}/c/ledger.db\ty z\n"


# Whose it is


def test_a_ledger_belongs_to_one_place_for_good(
    cli: Cli, place: Site, lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("run", "m.yaml", "--quiet").code == 0
    assert not lists.exists(), "what is on loopback is in no list"
    before = charged(place)
    monkeypatch.setattr("batcher.providers.addresses.is_loopback", lambda host: False)
    ran = cli("run", "m.yaml")
    assert (ran.code, charged(place)) == (2, before)
    assert "is the ledger of an API on loopback, and this run would ask the API on the net" in ran.err
    assert "--state" in ran.err
    assert cli("run", "m.yaml", "--simulate", "--dry-run").code == 0
    assert cli("run", "m.yaml", "--quiet", "--state", "other").code == 0
    monkeypatch.undo()


@pytest.mark.parametrize("named", ["state", "state/simulated", "simulated", None])
def test_the_simulator_s_state_does_not_nest(
    named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = find_state(Terminal([]), Path(named) if named else None, Sought({"one": tmp_path}, simulate=True))
    assert str(found) == ("simulated" if named == "simulated" else "state/simulated")


def test_a_ledger_that_was_not_made_here_is_announced(
    cli: Cli, place: Site, net: None, lists: Path, tmp_path: Path
) -> None:
    assert "was made elsewhere" not in cli("run", "m.yaml", "--quiet").err
    lists.unlink()
    ran = cli("run", "m.yaml", "--quiet")
    assert ran.code == 0
    assert f"{tmp_path}/state/ledger.db is not in your list of ledgers: it was made elsewhere, or moved" in ran.err
    assert "It knows 4 jobs and 4 purchases of tiny" in ran.err
    assert "made elsewhere" not in cli("run", "m.yaml", "--quiet").err


# Which folder may be one


def put_into(name: str) -> Callable[[Path], None]:
    def make(state: Path) -> None:
        state.mkdir()
        (state / name).write_text("x")

    return make


def shared(state: Path) -> None:
    state.mkdir()
    state.chmod(0o1777)


def linked(state: Path) -> None:
    put_into("other")(state.with_name("common"))
    state.symlink_to("common")


@pytest.mark.parametrize("make", [put_into("photo.png"), put_into("m.yaml"), shared, linked])
@pytest.mark.parametrize("simulate", [False, True])
def test_a_foreign_folder_is_refused_and_left_as_it_is(
    cli: Cli, place: Site, tmp_path: Path, make: Callable[[Path], None], simulate: bool
) -> None:
    state = tmp_path / "foreign"
    make(state)
    before = state.stat().st_mode, sorted(path.name for path in state.iterdir())
    ran = cli("run", "m.yaml", "--state", "foreign", *["--simulate"] * simulate)
    assert ran.code == 2, ran
    assert "error: " + str(state) in ran.err
    assert (state.stat().st_mode, sorted(path.name for path in state.iterdir())) == before
    assert charged(place) == 0


def test_the_working_folder_itself_is_refused(cli: Cli, place: Site, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ran = cli("run", "m.yaml", "--state", ".")
    assert (ran.code, stat.S_IMODE(tmp_path.stat().st_mode)) == (2, 0o755)
    assert "it holds m.yaml" in ran.err


def test_an_empty_folder_is_made_private(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    for name in ("README.md", ".gitignore"):
        (tmp_path / "state" / name).write_text("")
    assert cli("run", "m.yaml", "--quiet").code == 0
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
