"""The house rules of docs/architecture.md that a machine can hold: who imports whom, and what stands in one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import batcher
from batcher.events import Event

ROOT = Path(batcher.__file__).parent
BASE = {"errors", "events", "statuses", "jobs", "clock", "canary", "controls", "settings", "spelling", "windows"}

# room: rooms that it may import. `clock`, `settings`, `spelling`, `filetypes` are values that anybody may need.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "clock": set(),
    "filetypes": set(),
    "measures": {"filetypes"},
    "text": set(),
    "redact": set(),
    "statuses": set(),
    "jobs": {"statuses", "clock"},
    "settings": {"errors", "spelling", "windows"},
    "windows": {"clock"},
    "spelling": set(),
    "events": set(),
    "install": set(),
    "own_models": set(),
    "catalog": {"errors", "jobs", "measures", "own_models", "text"},
    "manifest": BASE | {"catalog", "containers", "file_names", "filetypes", "install", "own_models", "text"},
    "providers": BASE | {"redact"},
    "fs": {"errors"},
    "containers": {"filetypes"},
    "storage": {"filetypes", "containers", "fs", "measures"},
    "damage": BASE | {"fs", "ledger", "storage"},
    "ledger": BASE | {"fs", "measures"},
    "planning": BASE | {"ledger"},
    "limits": BASE | {"ledger", "providers"},
    "lifecycle": BASE | {"filetypes", "fs", "catalog", "ledger", "limits", "measures", "providers", "storage"},
    "engine": BASE | {"damage", "ledger", "lifecycle", "limits", "providers"},
    "alerts": BASE | {"fs", "install", "ledger", "text"},
    "log_bridge": {"events", "ledger", "statuses"},
    "telemetry": BASE | {"ledger"},
    "listening": {"clock", "errors", "ledger"},
    "file_names": set(),
    "fonts": set(),
    "marks": {"errors", "ledger", "statuses"},
    "report": BASE
    | {"text", "install", "file_names", "filetypes", "fonts", "fs", "catalog", "ledger", "marks", "planning"},
    "simulator": {"catalog", "fonts", "own_models"},
    "state": {"errors", "fs", "ledger"},
    "saved_plan": BASE | {"catalog", "fs", "ledger", "planning"},
    "workload": BASE | {"ledger", "manifest", "marks", "planning", "providers", "saved_plan"},
    "canary": {"errors"},
    "judging": BASE | {"engine", "ledger"},
    "controls": {"errors", "settings"},
    "request": BASE | {"engine", "ledger", "planning", "providers", "workload"},
    "edits": {"errors", "manifest", "settings"},
    "enrolling": {"jobs", "ledger", "manifest"},
    "run": BASE
    | {
        "damage",
        "edits",
        "enrolling",
        "storage",
        "engine",
        "judging",
        "ledger",
        "lifecycle",
        "limits",
        "log_bridge",
        "providers",
        "request",
        "state",
    },
    "access": {"errors", "ledger", "providers"},
    "records": {"statuses"},
    "simulated": {"access", "errors", "fs", "install", "own_models"},
    "cluster": BASE
    | {"fs", "ledger", "lifecycle", "limits", "providers", "engine", "storage", "workload"}
    | {"damage", "enrolling", "judging", "planning", "request"},
    "api": BASE
    | {"access", "ledger", "manifest", "planning", "providers", "records", "redact", "run", "simulated"}
    | {"own_models", "state", "workload"},
    "cli": BASE
    | {
        "alerts",
        "listening",
        "log_bridge",
        "telemetry",
        "cluster",
        "catalog",
        "marks",
        "manifest",
        "providers",
        "storage",
        "ledger",
        "planning",
        "lifecycle",
        "engine",
        "damage",
        "measures",
        "report",
        "simulator",
    }
    | {
        "install",
        "own_models",
        "redact",
        "fs",
        "text",
        "access",
        "simulated",
        "run",
        "saved_plan",
        "state",
        "workload",
    },
    "__main__": {"cli"},
}
ONLY_IN = {
    "sqlite3": {"ledger"},
    "sqlite_utils": {"ledger"},
    "httpx2": {"providers"},
    "httpx": set(),
    "yaml": {"manifest"},
    "jinja2": {"manifest", "report"},
    "openpyxl": {"manifest"},
    "click": {"cli"},
    "obstore": {"cluster"},
    "procrastinate": {"cluster"},
    "psycopg": {"cluster"},
    "rich": {"cli"},
    "apprise": {"alerts"},
    "mcp": {"cli"},
    "opentelemetry": {"telemetry", "cli"},
}


@cache
def modules() -> list[tuple[str, Path, ast.Module]]:
    """Room, path and tree of each module, read once."""
    return [
        (path.relative_to(ROOT).parts[0].removesuffix(".py"), path, ast.parse(path.read_text("utf-8")))
        for path in sorted(ROOT.rglob("*.py"))
    ]


@cache
def nodes(tree: ast.Module) -> list[ast.AST]:
    return list(ast.walk(tree))


def imports(tree: ast.Module) -> Iterator[str]:
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def rooms_of(room: str) -> set[str]:
    """The other rooms that a room's modules import, by whole names or from `.` up."""
    found: set[str] = set()
    for name, path, tree in modules():
        if name == room:
            here = path.relative_to(ROOT.parent).parent.parts
            for node in nodes(tree):
                if isinstance(node, ast.ImportFrom) and node.level:
                    above = [*here[: len(here) - node.level + 1], *filter(None, (node.module or "").split("."))]
                    found |= {".".join((*above, alias.name)) for alias in node.names}
            found |= set(imports(tree))
    return {name.split(".")[1] for name in found if name.startswith("batcher.")} - {room, "__version__"}


def names(tree: ast.Module) -> Iterator[str]:
    for node in nodes(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name


def test_each_room_imports_what_it_may_and_may_nothing_else() -> None:
    """A room that may have the values of `BASE` takes of them what it likes; any other grant is used."""
    rooms = {room for room, _, _ in modules()} - {"__init__"}
    assert {room: found for room in rooms if (found := rooms_of(room) - ALLOWED[room])} == {}
    spare = {room: may - rooms_of(room) - (BASE if may >= BASE else set()) for room, may in ALLOWED.items()}
    assert {room: unused for room, unused in spare.items() if unused} == {}


def test_the_table_of_rooms_holds_all_of_them_and_tells_no_import_that_is_not_there() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text("utf-8")
    table = re.findall(r"^\| `(\w+)/?` \|.*\| (.+) \|$", page.partition("\n## The way of a run")[0], re.MULTILINE)
    assert {room for room, _ in table} == set(ALLOWED) - {"__main__"}
    told = {room: set(re.findall(r"\w+", rests)) & set(ALLOWED) for room, rests in table if "everything" not in rests}
    assert {room: spare for room, rooms in told.items() if (spare := rooms - rooms_of(room))} == {}


def test_the_page_names_nothing_that_the_code_lacks() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text("utf-8").partition("\n## Tests")[0]
    told = set(re.findall(r"[A-Za-z_]\w*", " ".join(re.findall(r"`([^`/\n]*[._][^`/\n]*)`", page))))
    there = {word for _, path, _ in modules() for word in [path.stem, *re.findall(r"\w+", path.read_text("utf-8"))]}
    assert told - there == {"test_query_plans"}


def test_each_library_has_its_rooms() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room, path, tree in modules()
        for name in imports(tree)
        if (rooms := ONLY_IN.get(name.split(".")[0])) is not None and room not in rooms
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("call", "rooms"),
    [
        ("Intent", {"ledger"}),  # the only maker of an intent
        ("Rivya", {"providers"}),  # the registry makes providers
        ("submit", {"lifecycle"}),  # the only caller of Provider.submit
        ("intend", {"lifecycle", "cluster"}),  # a store of its own
        ("print", {"simulator"}),  # the library never prints …
        ("exit", set()),  # … nor exits
        # Waiting is data; a display, a slow server, an outage and what was written down ahead may.
        ("sleep", {"simulator", "cli", "engine", "limits", "alerts", "cluster"}),
    ],
)
def test_what_happens_in_one_place_only(call: str, rooms: set[str]) -> None:
    exempt = rooms | {"cli", "__main__"} if call in ("print", "exit") else rooms
    wrong = {
        str(path.relative_to(ROOT))
        for room, path, tree in modules()
        if room not in exempt and not (room == "simulator" and path.name == "__main__.py")
        for name in names(tree)
        if name == call and (call, path.name) != ("sleep", "group_commit.py")  # commits wait for another program's lock
    }
    assert wrong == set()


#: A statement, or a part of one, as SQL is written here: words in capitals.
SQL = re.compile(
    r"^(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|PRAGMA|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|WITH) "
    r"|\b(FROM|WHERE|ORDER BY|GROUP BY|INNER JOIN|LEFT JOIN|SET|VALUES|UNION ALL|IS NULL|IS NOT NULL) "
)


def test_no_sql_outside_the_ledger() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value!r}"
        for room, path, tree in modules()
        if room not in ("ledger", "cluster")  # the cluster has what only its database needs
        for node in nodes(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value)
    ]
    assert wrong == []


def test_events_are_named_by_their_enum() -> None:
    """As far as a machine can tell: a word such as `settled` or `maybe_received` is a column too."""
    long = "|".join(event for event in Event if "_" in event and event != Event.MAYBE_RECEIVED)
    bare = re.compile(rf"^({long})$|'({long})'|\bevent (=|<>|IS|IS NOT|IN|NOT IN) \(?'\w")
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value!r}"
        for room, path, tree in modules()
        if room != "events" and path.parent.name != "migrations"
        for node in nodes(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and bare.search(node.value)
    ]
    assert wrong == []


def test_the_ledger_has_no_circles() -> None:
    """Not even for types: whoever needs another's type needs what stands below both."""
    here = ROOT / "ledger"
    trees = {
        (*path.relative_to(here).parent.parts, path.stem): tree for room, path, tree in modules() if room == "ledger"
    }
    needs: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for name, tree in trees.items():
        found = needs.setdefault(name, set())
        for node in nodes(tree):
            if isinstance(node, ast.ImportFrom):
                whole = node.module or ""
                base = ("batcher", "ledger", *name[:-1])[: 2 + len(name) - node.level] if node.level else ()
                start = (*base, *filter(None, whole.split(".")))[2:]
                for alias in node.names:
                    found |= {each for each in ((*start, alias.name), start) if each in trees} - {name}
    TopologicalSorter(needs).prepare()  # raises CycleError


def test_limits_lifecycle_and_engine_know_a_store_by_its_port_only() -> None:
    """What stands behind it is the ledger's own affair; files are looked at before the run, in SQLite's ledger."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room, path, tree in modules()
        if room in ("limits", "lifecycle", "engine") and path.name != "damage.py"
        for name in imports(tree)
        if name.startswith(("batcher.ledger.store", "batcher.ledger.queries"))
        or name in ("batcher.ledger.LedgerWriter", "batcher.ledger.LedgerReader")
    ]
    assert wrong == []


def test_no_two_public_classes_share_a_name() -> None:
    found: dict[str, list[str]] = {}
    for _, path, tree in modules():
        for node in nodes(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_modules_fit_in_the_head() -> None:
    long = {str(p.relative_to(ROOT)): n for _, p, _ in modules() if (n := len(p.read_text("utf-8").splitlines())) > 400}
    assert long == {}


def test_nobody_but_the_command_reads_the_environment() -> None:
    wrong = {
        str(path.relative_to(ROOT))
        for room, path, tree in modules()
        # TZ is how a process is told its time zone; routes reads the settings of this machine's network.
        if room not in ("cli", "clock", "api", "simulated") and path.name != "routes.py"
        for node in nodes(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert wrong == set()
