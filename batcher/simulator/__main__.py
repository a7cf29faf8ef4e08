"""`python -m batcher.simulator`: the simulator as a process of its own.

Prints one line of JSON on stdout when it listens: `{"base_url": "http://127.0.0.1:8765", "pid": 4711}`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

from batcher import own_models

from .app import Media, Simulator
from .faults import Faults, parse_all
from .journal import Folder, Journal
from .media import Studio, plain
from .requestlog import RequestLog
from .serve import running
from .switches import DEFAULT_KEY, Switches
from .world import World

#: Options that set the switch of the same name (`--queue-seconds` sets `queue_seconds`).
_SWITCHES = {
    "queue-seconds": "how long tasks wait, such as 0.5-2",
    "run-seconds": "how long tasks take, such as 1-4",
    "fail-rate": "share of tasks that fail, 0 to 1",
    "fail-prompt": "tasks whose prompt contains this text fail",
    "price-factor": "prices are the catalogue's times this",
    "price-rise": "N:FACTOR: after N creates prices rise by this factor",
    "upload-lifetime": "seconds until an uploaded file is gone",
    "result-lifetime": "seconds until a result's URL is dead",
    "key-lifetime": "seconds until an Idempotency-Key is forgotten: the same one buys again",
    "unknown-model": "what a model without a file makes: video, image or audio; else it is refused",
    "limits": "requests in a window of seconds, such as create=30/60,*=120/60",
    "retry-after": "what a 429 says: seconds, date or none",
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="batcher simulator",
        description="The Rivya Public API v1 on loopback, simulated; nothing costs anything.",
        epilog="Example: batcher simulator --port 8000 --fail-rate 0.1",
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="keep the account here and go on with it at the next start")
    parser.add_argument("--seed", type=int, default=1, help="decides ids, times and failures (default: %(default)s)")
    parser.add_argument("--credits", type=int, default=1000, help="the wallet of a new account (default: %(default)s)")
    parser.add_argument("--key", default=DEFAULT_KEY, help="the API key to accept (default: %(default)s)")
    for name, text in _SWITCHES.items():
        parser.add_argument(f"--{name}", help=text)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other switch")
    parser.add_argument("--fault", action="append", default=[], help="a rule such as create:lost:rate=0.05")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="rules as a JSON list")
    parser.add_argument("--result-bytes", type=int, metavar="N", help="N plain bytes each: no picture is drawn")
    parser.add_argument("--catalog", type=Path, action="append", default=[], metavar="DIR", help="more model files")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append every request and how it ended, as JSON lines")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when stdin does (and not with Ctrl-C)")
    parser.add_argument("--verbose", action="store_true", help="every event on stderr")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT, SIGTERM or the end of stdin. 0, or 2 for wrong arguments or an unusable folder or port."""
    options = make_parser().parse_args(argv)
    try:
        with ExitStack() as stack:
            _run(options, stack)
    except (ValueError, OSError, OverflowError) as error:
        print(f"batcher simulator: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace, stack: ExitStack) -> None:
    own_models.use(options.catalog)
    switches = Switches()
    switches.set(_changes(options))
    rules = parse_all([*_rules_in(options.faults), *options.fault])
    folder: Path | None = options.folder
    journal = Journal() if folder is None else stack.enter_context(closing(Folder(folder)))
    media: Media
    if options.result_bytes is not None:
        media = plain(options.result_bytes)
    else:
        media = Studio((folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))) / "results")
    world = World(now=time.time, seed=options.seed, wallet=options.credits, switches=switches, journal=journal)
    app = Simulator(world, Faults(rules, seed=options.seed), media)
    if options.log is not None:
        app.log = stack.enter_context(closing(RequestLog(options.log)))
    if options.verbose:
        app.on_event = lambda number, name: print(number, name, file=sys.stderr)
    base_url = stack.enter_context(running(app, options.host, options.port))
    signal.signal(signal.SIGTERM, _leave)
    # Ctrl-C reaches every process of the terminal. A simulator that belongs to a run must outlive its last requests.
    signal.signal(signal.SIGINT, signal.SIG_IGN if options.exit_with_stdin else _leave)
    print(json.dumps({"base_url": base_url, "pid": os.getpid()}), flush=True)
    if options.exit_with_stdin:
        while os.read(0, 4096):
            pass
    else:
        threading.Event().wait()


def _changes(options: argparse.Namespace) -> dict[str, object]:
    changes: dict[str, object] = {"api_key": options.key}
    for name in (option.replace("-", "_") for option in _SWITCHES):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: must look like NAME=VALUE")
        changes[name] = value
    return changes


def _rules_in(path: Path | None) -> list[object]:
    if path is None:
        return []
    try:
        rules = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(rules, list):
        raise ValueError(f"{path}: must be a list of rules")
    return rules


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
