"""A real HTTP server for the simulator, on loopback only, with connections that can be cut."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import Simulator

#: Seconds that requests under way get to end when the server stops.
GRACE = 0.5


class _Connection(H11Protocol):
    """HTTP/1.1 that lets the app close the connection under an answer: `scope["state"]["abort"](how)`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state = {**self.app_state, "abort": self._abort}

    def _abort(self, how: str) -> None:
        # The app is done with this request; without the mark uvicorn would answer 500 in its place.
        self.cycle.disconnected = True
        if how == "flush":
            self.transport.close()
            return
        if how == "reset":
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _Server(uvicorn.Server):
    """A server that tells when it listens and stops at once; uvicorn's own polls ten times a second for both."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.listening.set()

    async def main_loop(self) -> None:
        await self._stop.wait()

    def stop(self) -> None:
        """End the server; may be called from any thread, once it listens."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        for server in self.servers:
            server.close()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=GRACE)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        # Connections learn of it in the loop's next round; only then may what still runs be ended quietly.
        await asyncio.sleep(0)
        for task in (left := list(self.server_state.tasks)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@contextmanager
def running(app: Simulator, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve the app from a thread while the block runs; gives the base URL, such as `http://127.0.0.1:8765`.

    Port 0 means any that is free. Raises ValueError for a host that is not loopback, OSError for a port in use.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ValueError(f"{host!r} is not an address") from None
    if not address.is_loopback:
        raise ValueError(f"the simulator listens on loopback only, not on {host}")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's delay off; without, each answer takes 40 ms.
    with closing(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        config = uvicorn.Config(
            app,
            http=_Connection,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
        )
        server = _Server(config)
        failures: list[BaseException] = []

        def serve() -> None:
            try:
                asyncio.run(server.serve(sockets=[listener]))
            except (Exception, SystemExit) as error:  # uvicorn ends the interpreter where it cannot start
                failures.append(error)
            finally:
                server.listening.set()

        thread = threading.Thread(target=serve, name="simulator", daemon=True)
        thread.start()
        server.listening.wait()
        if not server.started:
            thread.join()
            raise RuntimeError("the simulator's server could not start") from next(iter(failures), None)
        try:
            bound = listener.getsockname()[1]
            yield f"http://[{address}]:{bound}" if address.version == 6 else f"http://{address}:{bound}"
        finally:
            server.stop()
            thread.join()
