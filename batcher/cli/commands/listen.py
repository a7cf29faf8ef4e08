"""`batcher listen`."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import closing
from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.job_actions import decisive_ledger
from batcher.cli.terminal import Terminal
from batcher.clock import SystemClock
from batcher.errors import UsageError
from batcher.install import install_hint
from batcher.listening import Listener, Signature
from batcher.state import LEDGER
from batcher.text import safe

#: The secret with which the sender signs what it posts.
SECRET = "BATCHER_WEBHOOK_SECRET"  # noqa: S105  (a variable's name)
#: Connections at a time; others are told to come back.
_CONNECTIONS = 64
_KEEP_SECONDS = 5


@click.command(short_help="Take the API's webhooks as hints, so that a run asks at once.")
@click.option(
    "--port", type=click.IntRange(0, 65535), required=True, help="Where it listens; 0 takes any that is free."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address, beyond this machine.")
@click.option(
    "--signature", metavar="HEADER", help=f"Take only what is signed there, with the secret in {SECRET} (HMAC-SHA256)."
)
@options.ledger
def command(terminal: Terminal, *, state: Path, port: int, host: str, signature: str | None) -> int:
    """Take POSTs of the API, through a tunnel or proxy of yours, as hints that a task has moved, until Ctrl-C.

    Nothing of a POST is believed: the run that goes on asks the API for the task that it names, if it waits for it.
    """
    secret = os.environ.get(SECRET, "")
    if bool(secret) != bool(signature):
        raise UsageError(f"--signature HEADER and {SECRET} go together")
    try:
        import uvicorn
    except ImportError:
        raise UsageError("listening needs a web server", hint=install_hint("listen")) from None
    with decisive_ledger(state) as ledger, closing(_socket(host, port)) as listener:
        app = Listener(ledger, SystemClock(), Signature(signature, secret) if signature else None)
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_KEEP_SECONDS,
            timeout_graceful_shutdown=1,
        )
        name, number = listener.getsockname()[:2]
        url = f"http://{f'[{name}]' if ':' in name else name}:{number}/"
        if not ipaddress.ip_address(name).is_loopback:
            terminal.warn(f"{name} can be reached from other machines; anybody there can make a run ask the API sooner")
        told = {"url": url, "pid": os.getpid(), "ledger": str((state / LEDGER).absolute())}
        terminal.answer(told, f"Listening on {url} for {safe(state / LEDGER)}, until Ctrl-C.")
        terminal.flush()
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        raise UsageError(f"--host {host!r} is no address", hint="Such as 127.0.0.1, 0.0.0.0 or ::1.") from None
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"{host} port {port}: {error.strerror}", hint="Is another program there? Try --port 0."
        ) from None
