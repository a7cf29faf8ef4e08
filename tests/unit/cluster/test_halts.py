"""What a worker tells of a halt."""

from __future__ import annotations

import pytest

from batcher.cluster.runs import HeardHalt
from batcher.errors import Kind


@pytest.mark.parametrize(
    ("said", "message", "code"),
    [
        ('{"message": "gone", "code": "api_key_revoked"}', "gone", "api_key_revoked"),
        ("api_key_revoked: gone", "api_key_revoked: gone", ""),  # of an older worker
        ('{"message": 1}', '{"message": 1}', ""),
    ],
)
def test_a_halt_keeps_its_code(said: str, message: str, code: str) -> None:
    assert HeardHalt.read("key", said) == (Kind.KEY, message, code)
