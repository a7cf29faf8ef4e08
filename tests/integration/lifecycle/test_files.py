"""References go up once, results come down whole (promise 6): over cuts, garbling, expiry, crashes and collisions."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import attempts, done, faults, manifest, seen, statuses
from support import Bench

from batcher.errors import Kind, StorageError
from batcher.ledger import Change, LedgerWriter

# Results


def results(bench: Bench) -> list[str]:
    folder = bench.state / "results"
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_cut_download_goes_on_where_it_stopped(bench: Bench) -> None:
    ranges: list[str | None] = []

    def look(request: httpx.Request) -> None:
        if "/results/" in request.url.path:
            ranges.append(request.headers.get("range"))

    real = bench.api.handle_async_request

    async def half(request: httpx.Request) -> httpx.Response:
        """In process a cut loses the whole answer; this one gives the first half and then breaks off."""
        look(request)
        if "/results/" not in request.url.path or len(ranges) > 1:
            return await real(request)
        whole = await _inner(bench, request)

        async def chunks() -> Any:
            yield whole.content[: len(whole.content) // 2]
            raise httpx.ReadError("cut", request=request)

        return httpx.Response(200, headers=whole.headers, content=chunks())

    bench.api.handle_async_request = half  # type: ignore[method-assign]
    done(bench.run(manifest(bench, "Boat")))
    bench.check()
    assert ranges[0] is None
    assert ranges[1] is not None
    assert int(ranges[1].removeprefix("bytes=").removesuffix("-")) > 100


async def _inner(bench: Bench, request: httpx.Request) -> httpx.Response:
    response = await bench.api.inner.handle_async_request(request)
    await response.aread()
    return response


@pytest.mark.parametrize(("etags", "ranges"), [("weak", True), ("none", True), ("strong", False)])
def test_without_a_strong_etag_a_cut_download_begins_anew(bench: Bench, etags: str, ranges: bool) -> None:
    bench.switches.etags, bench.switches.ranges = etags, ranges
    asked: list[str | None] = []
    real = bench.api.handle_async_request

    async def cut(request: httpx.Request) -> httpx.Response:
        if "/results/" not in request.url.path:
            return await real(request)
        asked.append(request.headers.get("range"))
        whole = await _inner(bench, request)
        if len(asked) > 1:
            return whole

        async def chunks() -> Any:
            yield whole.content[:500]
            raise httpx.RemoteProtocolError("cut", request=request)

        return httpx.Response(200, headers=whole.headers, content=chunks())

    bench.api.handle_async_request = cut  # type: ignore[method-assign]
    done(bench.run(manifest(bench, "Boat")))
    bench.check()
    assert asked == [None, None if etags != "strong" else "bytes=500-"]


@pytest.mark.parametrize("deed", ["garble", "expire", "html", "status", "lost"])
def test_a_download_that_goes_wrong_is_asked_for_again(bench: Bench, deed: str) -> None:
    faults(bench, {"on": "result", "do": deed, "nth": [1, 2]})
    done(bench.run(manifest(bench, "Boat")))
    bench.check()
    assert len(results(bench)) == 1


def test_an_expired_url_is_asked_for_again_also_in_a_later_run(bench: Bench) -> None:
    path = manifest(bench, "Boat", "Ship")
    bench.run(manifest(bench, "Boat", "Ship", more="results: {download: false}\n"))
    assert (statuses(bench), results(bench)) == (["succeeded"] * 2, [])
    asked = len(seen(bench, "status"))
    bench.world.expire_results()
    done(bench.run(manifest(bench, "Boat", "Ship")))
    assert path.exists()
    assert len(seen(bench, "status")) == asked + 2
    assert len(results(bench)) == 2
    bench.check()


def test_a_result_that_never_comes_is_left_to_the_next_run(bench: Bench) -> None:
    faults(bench, {"on": "result", "do": "garble"})
    path = manifest(bench, "Boat", more="retries: {times: 2}\n")
    ending = bench.run(path)
    assert (ending.kind, ending.reason) == (Kind.UNFINISHED, "1 without file")
    assert any("no file yet" in why for why in ending.left)
    faults(bench)
    done(bench.run(path))
    assert len(seen(bench, "create")) == 1
    bench.check()


@pytest.mark.parametrize(("status", "kind"), [(401, Kind.KEY), (404, Kind.UNFINISHED), (429, Kind.UNFINISHED)])
def test_what_the_api_says_when_it_is_asked_for_a_fresh_url(bench: Bench, status: int, kind: Kind) -> None:
    path = manifest(bench, "Boat", more="results: {download: false}\nretries: {times: 2}\n")
    done(bench.run(path))
    bench.world.expire_results()
    faults(bench, {"on": "status", "do": "status", "status": status, "code": "odd"})
    path = manifest(bench, "Boat", more="retries: {times: 2}\n")
    ending = bench.run(path)
    assert ending.kind is kind
    assert statuses(bench) == ["succeeded"]
    faults(bench)
    done(bench.run(path))
    bench.check()


def test_a_result_without_a_url_is_asked_for_again(bench: Bench) -> None:
    faults(bench, {"on": "status", "do": "patch", "body": {"result": None}, "times": 6})
    done(bench.run(manifest(bench, "Boat")))
    bench.check()


def test_other_refusals_of_a_result(bench: Bench) -> None:
    faults(
        bench,
        {"on": "result", "do": "status", "status": 400, "nth": [1]},
        {"on": "result", "do": "429", "nth": [1], "seconds": 30},
    )
    done(bench.run(manifest(bench, "Boat")))
    bench.check()


def redirecting(bench: Bench, hops: int) -> list[str]:
    """The media host sends us on so many times."""
    asked: list[str] = []
    real = bench.api.handle_async_request

    async def redirect(request: httpx.Request) -> httpx.Response:
        if "/results/" in request.url.path:
            asked.append(str(request.url))
            if len(asked) <= hops:
                return httpx.Response(
                    302, headers={"location": f"{request.url.copy_with(query=None)}?hop={len(asked)}"}
                )
        return await real(request)

    bench.api.handle_async_request = redirect  # type: ignore[method-assign]
    return asked


def test_redirects_are_followed_but_not_for_ever(bench: Bench) -> None:
    asked = redirecting(bench, 3)
    done(bench.run(manifest(bench, "Boat")))
    assert len(asked) == 4
    asked = redirecting(bench, 8)
    done(bench.run(manifest(bench, "Boat", "Ship")))
    assert len(asked) > 8
    bench.check()


def test_results_in_several_files(bench: Bench) -> None:
    extra = {
        "urls": ["https://media.test/1.mp4", "https://media.test/2.mp4"],
        "primary_url": "https://media.test/1.mp4",
    }
    faults(bench, {"on": "status", "do": "patch", "body": {"result": extra, "status": "succeeded"}})
    real = bench.api.handle_async_request

    async def media(request: httpx.Request) -> httpx.Response:
        if request.url.host == "media.test":
            assert "authorization" not in request.headers
            return httpx.Response(200, content=b"\x00\x00\x00\x18ftypmp42" + request.url.path.encode())
        return await real(request)

    bench.api.handle_async_request = media  # type: ignore[method-assign]
    path = manifest(bench, "Boat")
    done(bench.run(path))
    names = results(bench)
    assert [name.rpartition("-")[2] for name in names if name.endswith("-2.mp4")] == ["2.mp4"]
    assert len(names) == 2
    assert bench.jobs()[0]["result_path"].endswith(".mp4")
    for name in names:
        (bench.state / "results" / name).write_bytes(b"edited")
    for _ in range(2):  # the second time what was there at first stands beside each already
        done(bench.run(path, buys=False))
        assert len(results(bench)) == 4


def test_a_name_that_is_taken_is_left_to_its_owner(bench: Bench) -> None:
    done(bench.run(manifest(bench, "Boat", "Ship", "Raft", more="results: {name: same, download: false}\n")))
    folder = bench.state / "results" / "spring"
    folder.mkdir(parents=True)
    (folder / "same.mp4").write_bytes(b"mine")
    done(bench.run(manifest(bench, "Boat", "Ship", "Raft", more="results: {name: same}\n")))
    assert (folder / "same.mp4").read_bytes() == b"mine"
    assert len({job["result_path"] for job in bench.jobs()}) == 3
    bench.check()


def test_a_name_that_is_taken_many_times_over(bench: Bench) -> None:
    path = manifest(bench, "Boat", more="results: {name: same, download: false}\n")
    done(bench.run(path))
    job_id = bench.jobs()[0]["id"]
    folder = bench.state / "results" / "spring"
    folder.mkdir(parents=True)
    for name in ("same", f"same-{job_id[:12]}", f"same-{job_id}-1"):
        (folder / f"{name}.mp4").write_bytes(b"mine")
    done(bench.run(manifest(bench, "Boat", more="results: {name: same}\n")))
    assert bench.jobs()[0]["result_path"].endswith(f"same-{job_id}-2.mp4")
    bench.check()


# Crashes


class Died(Exception):
    """The process is gone at this point."""


def killed(bench: Bench, method: str) -> Path:
    """A run that dies when it comes to this method of the ledger."""
    path = manifest(bench, "Boat")

    def die(*args: Any, **kwargs: Any) -> None:
        raise Died

    bench.ledger_type = type("Mortal", (LedgerWriter,), {method: die})
    with pytest.raises(Died):
        bench.run(path)
    bench.ledger_type = LedgerWriter
    return path


def test_a_whole_part_file_after_a_kill_is_not_fetched_twice_over(bench: Bench) -> None:
    """Killed before the claim: the part is whole, its range is empty (416), and it completes all the same."""
    path = killed(bench, "claim_file")
    [part] = (bench.state / "results" / ".parts").iterdir()
    assert part.stat().st_size > 100
    done(bench.run(path))
    bench.check()


def test_a_file_that_was_named_and_not_recorded_is_adopted(bench: Bench) -> None:
    path = killed(bench, "file_saved")
    fetched = len(seen(bench, "result"))
    done(bench.run(path))
    assert len(seen(bench, "result")) == fetched
    assert len(results(bench)) == 1
    bench.check()


@pytest.mark.parametrize("what", ["part lost", "name taken"])
def test_a_claim_whose_file_is_not_there_is_fetched_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = manifest(bench, "Boat")

    def die(*args: Any) -> bool:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr("batcher.storage.Artifacts.name", die)
        with pytest.raises(Died):
            bench.run(path)
    with bench.reader() as reader:
        [row] = reader.rows("SELECT target FROM files")
    if what == "part lost":
        for part in (bench.state / "results" / ".parts").iterdir():
            part.unlink()
    else:
        target = bench.state / row["target"]
        target.parent.mkdir(parents=True)
        target.write_bytes(b"mine")
    done(bench.run(path))
    bench.check()
    if what == "name taken":
        assert (bench.state / row["target"]).read_bytes() == b"mine"


def test_a_model_that_left_the_catalogue_still_gets_its_file(bench: Bench) -> None:
    done(bench.run(manifest(bench, "Boat", more="results: {download: false}\n")))
    bench.edit("UPDATE wanted SET model = 'gone-model'")
    ending = bench.run(manifest(bench, "Boat"))
    assert ending.kind is Kind.DONE
    assert len(results(bench)) == 1


def test_a_results_folder_that_is_a_file_ends_the_run_with_words(bench: Bench) -> None:
    (bench.state / "results").write_text("mine")
    path = manifest(bench, "Boat")
    with pytest.raises(StorageError, match="results"):
        bench.run(path)
    (bench.state / "results").unlink()
    done(bench.run(path))
    bench.check()


def test_a_result_that_is_too_long_is_not_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest(bench, "Boat", more="retries: {times: 1}\n")
    with monkeypatch.context() as patch:
        patch.setattr("batcher.storage.RESULT_BYTES", 100)
        assert bench.run(path).kind is Kind.UNFINISHED
    done(bench.run(path))
    bench.check()


def test_a_body_names_every_param_and_the_ledger_keeps_them(bench: Bench) -> None:
    done(bench.run(manifest(bench, "Boat", more="params: {duration: 10}\n")))
    [attempt], [job] = attempts(bench), bench.jobs()
    whole = {"mode": "normal", "duration": 10, "resolution": "480p", "aspect_ratio": "2:3"}
    assert json.loads(attempt["body"])["params"] == whole
    assert json.loads(attempt["params"]) == json.loads(job["params"]) == whole


def test_what_a_person_forgets_meanwhile_is_not_fetched(bench: Bench) -> None:
    def forget(change: Change) -> None:
        if change.event == "succeeded" and change.job_id:
            with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as other:
                assert other.forget(change.job_id) == 1

    bench.observe = forget
    done(bench.run(manifest(bench, "Boat")))
    assert (seen(bench, "result"), statuses(bench)) == ([], ["succeeded"])
