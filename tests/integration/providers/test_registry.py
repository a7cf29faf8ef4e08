"""Every provider of the registry keeps the same bargain; only there is one made (tests/unit/test_architecture.py)."""

from __future__ import annotations

import re

import anyio
import pytest
from core_helpers import ManualClock

from batcher.catalog import get_model, model_ids
from batcher.errors import UsageError
from batcher.providers import Capabilities
from batcher.providers.registry import KNOWN, RIVYA, KnownProvider, only

each = pytest.mark.parametrize("known", KNOWN.values(), ids=list(KNOWN))


@each
def test_how_it_is_asked_is_told_whole(known: KnownProvider) -> None:
    assert KNOWN[known.name] is known
    assert known.capabilities.unit
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*_KEY", known.key_variable)
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*_URL", known.base_url_variable)
    names = [name for one in KNOWN.values() for name in (one.key_variable, one.base_url_variable)]
    assert len(set(names)) == len(names), "no provider's key goes to another"


@each
def test_what_is_made_has_the_account_that_is_told(known: KnownProvider) -> None:
    """And by its own base URL, which is as good as any that is given."""
    key = "a-key-that-is-long-enough"
    provider = known.connect(known.base_url, key, ManualClock())
    assert provider.account == known.account(known.base_url, key)
    assert (provider.account.provider, provider.account.unit) == (known.name, known.capabilities.unit)
    assert provider.capabilities is known.capabilities
    assert key not in provider.account.text
    anyio.run(provider.aclose)
    assert known.account(known.base_url, key, "elsewhere").text.startswith("elsewhere#")
    with pytest.raises(UsageError):
        known.connect("http://api.example", key, ManualClock())


def test_what_rivya_can_do() -> None:
    """The same key twice is one purchase; `reserved_credits` comes with the answer to the create (rivya-api.md, 2)."""
    assert RIVYA.capabilities == Capabilities(repeat="replay", unit="credits")


def test_every_model_is_of_a_known_provider() -> None:
    assert {get_model(model).provider for model in model_ids()} <= KNOWN.keys()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], RIVYA),
        (["rivya", "rivya"], RIVYA),
        (["rivia"], "unknown provider 'rivia'"),
        (["rivya", "higgsfield"], "unknown provider 'higgsfield'"),
    ],
)
def test_a_run_has_one_provider(names: list[str], found: KnownProvider | str) -> None:
    if isinstance(found, KnownProvider):
        assert only(names) is found
    else:
        with pytest.raises(UsageError, match=found):
            only(names)


def test_models_of_two_providers_are_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "other", RIVYA)
    with pytest.raises(UsageError, match="several providers in one run: other, rivya"):
        only(["rivya", "other"])
