"""Where the key goes and where it does not; base URLs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx2 as httpx
import pytest
from unit.providers.helpers import API, INTENT, KEY, PICTURE, TASK, always, ask
from virtual_time import VirtualClock

from batcher.errors import UsageError
from batcher.jobs import Status, TaskState
from batcher.providers import Fatal, Gone, Incoming, Redirected, Retryable
from batcher.providers.registry import RIVYA
from batcher.providers.rivya import Rivya, account_of
from batcher.providers.transport import Transport, check_base_url

# Secrets


def everything(provider: Rivya) -> Any:
    async def use() -> list[object]:
        found: list[object] = [
            await provider.submit(INTENT),
            await provider.poll("t"),
            await provider.upload(PICTURE, b"x", "m"),
            await provider.credits(),
            await provider.models(),
        ]
        async with provider.result(f"{API}/r", offset=0, validator=None) as incoming:
            found.append(incoming)
        return found

    return use()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, json={"error": {"code": f"bad {KEY}", "message": f"Wrong key {KEY}", "requestId": KEY}}),
        httpx.Response(400, json={"error": {"code": "x", "message": f"Wrong key {KEY}"}}),
        httpx.Response(200, json=TASK | {"id": KEY, "status": KEY, "result": {"primary_url": f"https://m/?key={KEY}"}}),
        httpx.Response(200, json={"url": f"https://cdn.test/{KEY}", "data": [{"id": KEY}]}),
        httpx.Response(307, headers={"location": f"https://elsewhere.test/?key={KEY}"}),
    ],
)
def test_a_key_that_the_api_repeats_goes_no_further(answer: httpx.Response) -> None:
    assert KEY not in repr(ask(always(answer), everything))


def test_a_key_in_what_the_transport_raises_goes_no_further() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError(f"Illegal header value {request.headers['authorization']!r}")

    found = ask(handler, everything)
    assert all(isinstance(each, Retryable) for each in found)
    assert KEY not in repr(found)


@pytest.mark.parametrize("key", ["", " ", "rvya_sk_a\n", "rvya sk", "rvya_sk_é", "rvya_sk_\x7f", "rvya_sk_\x00"])
def test_a_key_that_cannot_be_a_header_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        Rivya(API, key, VirtualClock())
    assert not key.strip() or key.strip() not in str(caught.value)


@pytest.mark.parametrize("key", ["k", "1", "task_1", "rvya_sk"])
def test_a_key_that_stands_in_any_text_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="shorter than 8"):
        Rivya(API, key, VirtualClock())


@pytest.mark.parametrize("key", ["processing", "SUCCEEDED", "generation", "task_123", "primary_url"])
def test_what_is_acted_on_is_not_masked(key: str) -> None:
    """A key that is a word of the API: its states, codes and names are read all the same."""
    body = {"id": "task_1", "status": "succeeded", "result": {"primary_url": "https://m.test/1"}, "model": "m"}

    async def use(provider: Rivya) -> list[object]:
        return [await provider.poll("task_1"), await provider.credits()]

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("credits"):
            return httpx.Response(403, json={"error": {"code": "api_scope_denied", "message": "x"}})
        return httpx.Response(200, json=body)

    task, wallet = ask(handler, use, key=key)
    assert isinstance(task, TaskState)
    assert task.status is Status.SUCCEEDED
    assert task.urls == ("https://m.test/1",)
    assert isinstance(wallet, Fatal)


def test_neither_provider_nor_account_show_the_key() -> None:
    provider = Rivya(API, KEY, VirtualClock())
    assert KEY not in repr(provider) + repr(provider.account) + repr(Transport(API, KEY, RIVYA))
    assert provider.account == account_of(API, KEY)
    assert account_of(API, KEY, "simulated").text.startswith("simulated#")
    assert len(provider.account.fingerprint) == 12
    assert account_of(API, KEY) != account_of(API, KEY + "x")


@pytest.mark.parametrize(
    ("url", "with_key"),
    [
        ("https://api.test/results/1", True),
        ("https://API.test:443/results/1", True),
        ("https://api.test.evil.test/1", False),
        ("https://evil.test/api.test", False),
        ("https://api.test:444/1", False),
        ("https://sub.api.test/1", False),
    ],
)
def test_the_key_goes_to_the_apis_own_origin_only(url: str, with_key: bool) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(302, headers={"location": "https://evil.test/2"})

    async def use(provider: Rivya) -> bool:
        async with provider.result(url, offset=0, validator=None) as found:
            assert found == Redirected("https://evil.test/2")
        return provider.is_own_host(url)

    assert ask(handler, use) is with_key
    [request] = seen  # not followed by itself: asking elsewhere is a request of its own
    assert (request.headers.get("authorization") == f"Bearer {KEY}") is with_key
    assert with_key or KEY not in repr(request.headers.raw)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.test/1",
        "http://m.test/1",
        "ftp://m.test/1",
        "file:///etc/passwd",
        "//m.test/1",
        "",
        "https://",
        "https://m.test\n/",
        "1.mp4",
        "data:,x",
        "https://api.test@evil.test/1",
        "https://evil.test\\@api.test/1",
        "https://api.test\\.evil.test/1",
        "https://@api.test/1",
        "https://api.test%2eevil.test/1",
        "https://api.test:0/1",
        "https://api.test:65536/1",
        "https://api.test:4_43/1",
        "https://api.test/a b",
        "https://api.test/a\u2003b",
        "https://api.test/\x00",
        f"https://evil.test/?key={KEY}",
        f"https://api.test/?key={KEY.upper()}",
        "https:api.test/1",
        "https:///api.test/1",
        "HTTP://api.test/1",
    ],
)
def test_a_result_url_that_is_not_fit_is_not_asked(url: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    async def use(provider: Rivya) -> object:
        async with provider.result(url, offset=0, validator=None) as found:
            return found

    assert isinstance(ask(handler, use), Gone)


def test_http_results_are_taken_from_an_http_api_only() -> None:
    async def use(provider: Rivya) -> object:
        async with provider.result("http://127.0.0.1:8/r", offset=0, validator=None) as found:
            return found

    assert isinstance(ask(always(httpx.Response(200)), use, base_url="http://127.0.0.1:8"), Incoming)
    assert isinstance(ask(always(httpx.Response(200)), use), Gone)


@pytest.mark.parametrize("location", ["http://[", "https://m.test:99x/", "", "\\\\evil"])
def test_a_redirect_to_nowhere(location: str) -> None:
    async def use(provider: Rivya) -> object:
        async with provider.result("https://m.test/1", offset=0, validator=None) as found:
            if not isinstance(found, Redirected):
                return found
        async with provider.result(found.url, offset=0, validator=None) as found:
            return found

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "m.test"
        return httpx.Response(302, headers={"location": location}) if request.url.path == "/1" else httpx.Response(404)

    assert isinstance(ask(handler, use), Gone)


# Base URLs


@pytest.mark.parametrize(
    "url",
    [
        *("http://rivya.ai", "ftp://rivya.ai", "rivya.ai", "", "https://", "https://[::1", "https://rivya.ai:x"),
        *(
            "https://rivya.ai:99999",
            "https://ri vya.ai",
            "https://rivya.ai\n",
            "https://a:b@rivya.ai",
            "https://rivya.ai?x=1",
        ),
        *(
            "https://rivya.ai#x",
            "http://127.0.0.1.evil.test",
            "http://localhost.evil.test",
            "http://127.0.0.1%2eevil.test",
        ),
        *(
            "https://rivya.ai/api/v1",
            "https://rivya.ai//",
            "https://rivya.ai?",
            "https://rivya.ai#",
            "https://@rivya.ai",
        ),
        *(KEY, f"http://{KEY}@rivya.ai", "https://rivya.ai\\@evil.test"),
    ],
)
def test_what_cannot_be_a_base_url(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Rivya(url, KEY, VirtualClock())
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://rivya.ai",
        "https://rivya.ai/",
        "http://localhost:8",
        "http://127.0.0.9",
        "http://[::1]:80",
    ],
)
def test_what_can_be_a_base_url(url: str) -> None:
    assert check_base_url(url, RIVYA) == url.rstrip("/")


def test_the_proxy_of_the_environment_does_not_get_a_key_meant_for_loopback() -> None:
    code = (
        "import anyio, socket\n"
        "from batcher.clock import SystemClock\n"
        "from batcher.providers.rivya import Rivya\n"
        "from batcher.jobs import Intent, JobId\n"
        "async def main():\n"
        "    provider = Rivya('http://127.0.0.1:9', 'rvya_sk_x', SystemClock())\n"
        "    print((await provider.credits()).code)\n"
        "    await provider.aclose()\n"
        "proxy = socket.create_server(('127.0.0.1', 0))\n"
        "import os\n"
        "os.environ['HTTP_PROXY'] = os.environ['ALL_PROXY'] = f'http://127.0.0.1:{proxy.getsockname()[1]}'\n"
        "anyio.run(main)\n"
        "proxy.setblocking(False)\n"
        "try:\n    proxy.accept()\n    print('asked')\nexcept BlockingIOError:\n    print('not asked')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["unreachable", "not", "asked"]
