"""A target of alerts that keeps what it is told, and sends at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from batcher.alerts.targets import NotDelivered
from batcher.ledger import Caps

CAPS = Caps(campaigns={"spring": 100})


def at_once(work: Any) -> Future[None]:
    """Done by the time it is returned."""
    future: Future[None] = Future()
    try:
        work()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(None)
    return future


@dataclass
class Target:
    """Keeps what it is told; `dead` refuses it."""

    name: str = "phone"
    dead: bool = False
    got: list[dict[str, Any]] = field(default_factory=list)
    tries: int = 0

    def takes(self, kind: str) -> bool:
        return True

    def send(self, document: Mapping[str, Any]) -> None:
        self.tries += 1
        if self.dead:
            raise NotDelivered("nobody at home")
        self.got.append(json.loads(json.dumps(document)))

    def close(self) -> None:
        pass

    @property
    def causes(self) -> list[str]:
        return [each["cause"] for each in self.got]
