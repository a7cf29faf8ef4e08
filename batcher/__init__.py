"""batcher: a batch job runner for paid, asynchronous generation APIs.

    import batcher

    manifest = batcher.load("campaign.yaml")    # or batcher.Manifest(campaign=…, model=…, prompts=[…])
    with batcher.Ledger("state") as ledger:
        print(ledger.plan(manifest).credits)
        outcome = ledger.run(manifest, budget=200)

docs/python.md has more. What is named here is imported when it is asked for (PEP 562), so that commands start quickly.
"""

TYPE_CHECKING = False  # type checkers know it by its name; `typing` would take as long to import as all of this

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import errors
    from .api import Ledger
    from .errors import BatcherError, Kind
    from .ledger import Change
    from .manifest import Manifest, load
    from .planning import Plan
    from .records import JobRecord
    from .run import RunOutcome
    from .statuses import Status

__all__ = [
    "BatcherError",
    "Change",
    "JobRecord",
    "Kind",
    "Ledger",
    "Manifest",
    "Plan",
    "RunOutcome",
    "Status",
    "errors",
    "load",
]

_HOME = {
    "BatcherError": "errors",
    "Change": "ledger",
    "JobRecord": "records",
    "Kind": "errors",
    "Ledger": "api",
    "Manifest": "manifest",
    "Plan": "planning",
    "RunOutcome": "run",
    "Status": "statuses",
    "load": "manifest",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "errors":
        return import_module(".errors", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]
