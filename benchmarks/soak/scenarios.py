"""What is asked of whom: the manifests, the simulator's switches, how often batcher is killed. Pure but for the files.

The sizes scale with the number of jobs; the mixture stays the same.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from struct import pack

#: What every request meets, as shares: 5 % lost answers, 5 % errors (half of them after the work was done), 3 %
#: garbage, 2 % empty 202s. Downloads are cut in one of ten cases as well, and some drip, come encoded or announce no
#: length; some creates and polls hear "too many" for no reason; some creates are taken and answered by a redirect.
_DOWNLOADS = (
    *("result:cut:rate=0.1", "result:drip:seconds=0.0002,rate=0.005", "result:cut:unsized,rate=0.02"),
    *("result:unsized:rate=0.02", "result:encode:rate=0.02", "result:encode:lie,rate=0.01"),
)
FAULTS = tuple(
    fault
    for kind in ("create", "status", "upload", "credits", "result")
    for fault in (
        *(_DOWNLOADS if kind == "result" else (f"{kind}:say:after,rate=0.02",)),
        *(("create:say:status=303,location=/api/v1/credits,after,rate=0.01",) if kind == "create" else ()),
        *((f"{kind}:429:rate=0.003",) if kind in ("create", "status") else ()),
        f"{kind}:lost:rate=0.04",
        f"{kind}:lost:reset,rate=0.01",
        f"{kind}:status:status=500,rate=0.025",
        f"{kind}:status:status=503,after,rate=0.025",
        f"{kind}:garble:rate=0.02",
        f"{kind}:html:rate=0.01",
    )
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One hostile world and what is asked of batcher in it. Credits, seconds.

    `manifests` are those of the run, `caps` the campaigns' caps; `complete` says whether all jobs can be afforded.
    `outage` is the length of one outage, `outages` at which shares of the jobs bought they come: the first as
    errors and closed connections, the second with nobody listening.
    """

    name: str
    folder: Path
    seed: int
    jobs: int
    manifests: tuple[Path, ...]
    submit: int
    requests: int
    caps: dict[str, int]
    complete: bool
    wallet: int
    switches: tuple[str, ...]
    kill_every: tuple[float, float]
    outage: float
    outages: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. `times` is `retries.times`: so few that some requests use them up, and that an outage
    which burns them shows.
    """

    jobs: int
    seed: int
    kill_every: tuple[float, float]
    outage: float
    submit: int
    requests: int
    api_creates: int
    times: int = 1
    faults: tuple[str, ...] = FAULTS


def hostile(folder: Path, sizes: Sizes) -> Scenario:
    """Two campaigns of many classes with money enough: every job must come to its end."""
    folder.mkdir(parents=True)
    lines, pictures = max(1, sizes.jobs * 4 // 100), max(2, sizes.jobs * 12 // 1000)
    videos = lines * 12 + pictures * 12
    stills = sizes.jobs - videos
    if stills < 1:
        raise ValueError(f"{sizes.jobs} jobs are too few")
    _pictures(folder / "refs", pictures)
    (folder / "shots.txt").write_text("".join(f"Shot {n}: a boat on the lake\n" for n in range(lines)), "utf-8")
    rows = (_still(n, pictures) for n in range(stills))
    (folder / "stills.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    video = {
        "model": "grok-imagine-video",
        "params": {"mode": "normal"},
        "matrix": {"duration": [6, 8, 10], "resolution": ["480p", "720p"]},
        "prompts": [
            {"file": "shots.txt"},
            {"name": "pictured", "prompt": "A boat like this one, {{ duration }} s", "references": ["refs/*.png"]},
        ],
        "repeat": 2,
    }
    still = {"model": "grok-imagine", "prompts": [{"file": "stills.jsonl"}]}
    # Generous, but there to be held to: the price rises by half while the campaigns are at work.
    caps = {"soak-video": videos * 24, "soak-image": stills * 10}
    manifests = (
        _manifest(folder, "soak-video", video, caps["soak-video"], sizes),
        _manifest(folder, "soak-image", still, caps["soak-image"], sizes),
    )
    wallet = sizes.jobs * 100
    switches = (
        *("--price-factor", "1.2", "--price-rise", f"{sizes.jobs // 2}:1.5", "--set", "final_factor=1.1"),
        *("--fail-rate", "0.02", "--set", "failed_factor=0.5", "--result-lifetime", "60"),
    )
    return _scenario("hostile", folder, sizes, manifests, caps, True, wallet, switches, (0.3, 0.65))


def capped(folder: Path, sizes: Sizes) -> Scenario:
    """A tenth of the jobs under a cap that has room for about two thirds; the price rises right before it binds.

    The limits bind as well.
    """
    folder.mkdir(parents=True)
    lines = max(20, sizes.jobs // 10 // 2)
    (folder / "shots.txt").write_text("".join(f"Shot {n}: the same boat\n" for n in range(lines)), "utf-8")
    body = {
        "model": "grok-imagine-video",
        "matrix": {"resolution": ["480p", "720p"]},
        "prompts": [{"file": "shots.txt"}],
    }
    jobs, price = 2 * lines, 10
    caps = {"soak-capped": jobs * price * 2 // 3}
    # Limits that bind: more is to be asked than one minute has room for, over several runs.
    submit = max(60, jobs // 2)
    smaller = replace(sizes, jobs=jobs, seed=sizes.seed + 1, outage=0.0, submit=submit, requests=4 * submit)
    manifests = (_manifest(folder, "soak-capped", body, caps["soak-capped"], smaller),)
    rise = caps["soak-capped"] // price - 4
    switches = ("--price-rise", f"{rise}:1.7", "--set", "final_factor=0.9", "--fail-rate", "0.01")
    return _scenario("capped", folder, smaller, manifests, caps, False, jobs * 100, switches, ())


def _scenario(
    name: str,
    folder: Path,
    sizes: Sizes,
    manifests: tuple[Path, ...],
    caps: dict[str, int],
    complete: bool,
    wallet: int,
    switches: tuple[str, ...],
    outages: tuple[float, ...],
) -> Scenario:
    common = ["--queue-seconds", "0.1-0.4", "--run-seconds", "0.2-0.8", "--result-bytes", "30000"]
    common += ["--credits", str(wallet), "--seed", str(sizes.seed)]
    # Half of what was taken is named at first, and the price of a success some seconds after its end.
    common += ["--set", "reserved_says=0.5", "--set", "settle_seconds=0-3"]
    # Below what the manifest allows in a second, so that the API has to say "too many".
    common += ["--limits", f"create={sizes.api_creates}/1"]
    for fault in sizes.faults:
        common += ["--fault", fault]
    return Scenario(
        name=name,
        folder=folder,
        seed=sizes.seed,
        jobs=sizes.jobs,
        manifests=manifests,
        submit=sizes.submit,
        requests=sizes.requests,
        caps=caps,
        complete=complete,
        wallet=wallet,
        switches=(*common, *switches),
        kill_every=sizes.kill_every,
        outage=sizes.outage,
        outages=outages,
    )


def _manifest(folder: Path, campaign: str, body: Mapping[str, object], cap: int, sizes: Sizes) -> Path:
    """A manifest; JSON is YAML too."""
    content = {
        "campaign": campaign,
        **body,
        "limits": {
            "submit": f"{sizes.submit}/minute",
            "requests": f"{sizes.requests}/minute",
            "in_flight": 100,
            "downloads": 24,
        },
        "polling": {"first": "500ms", "every": "1s", "max": "4s"},
        "retries": {"times": sizes.times},
        "budget": {"campaign": cap},
    }
    path = folder / f"{campaign}.yaml"
    path.write_text(json.dumps(content, indent=1), "utf-8")
    return path


def _still(number: int, pictures: int) -> dict[str, str]:
    row = {
        "prompt": f"Still {number}: a lighthouse",
        "aspect_ratio": ("1:1", "16:9")[number % 2],
        "enable_pro": ("false", "true")[number // 2 % 2],
    }
    if number % 5 == 0:
        row["reference"] = f"refs/{number // 5 % pictures:03}.png"
    return row


def _pictures(folder: Path, number: int) -> None:
    folder.mkdir()
    for n in range(number):
        (folder / f"{n:03}.png").write_bytes(_png(n))


def _png(shade: int) -> bytes:
    """A picture of one pixel, by hand: each shade is another file."""

    def chunks() -> Iterator[bytes]:
        pixel = b"\x00" + shade.to_bytes(3, "big")
        for name, data in (
            (b"IHDR", pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(pixel)),
            (b"IEND", b""),
        ):
            yield pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks())
