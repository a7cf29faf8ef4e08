"""`--order` and `--sample`: which jobs are bought where not all of them are."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.helpers import MANIFEST, Cli, Site


@pytest.fixture(autouse=True)
def other(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(MANIFEST.replace("tiny", "other"))


def bought(cli: Cli) -> list[tuple[str, str]]:
    found = cli("jobs", "--json").document["jobs"]
    return sorted((job["campaign"], job["prompt"]) for job in found if job["attempt"] and job["campaign"] != "seen")


@pytest.mark.parametrize(("order", "each"), [("fair", {"tiny": 2, "other": 2}), ("listed", {"tiny": 4})])
def test_campaigns_take_turns_in_plan_and_run(cli: Cli, place: Site, order: str, each: dict[str, int]) -> None:
    cap = ("m.yaml", "b.yaml", "--budget", "40", "--order", order)
    Path("seen.yaml").write_text(MANIFEST.replace("tiny", "seen"))
    assert cli("run", "seen.yaml").code == 0  # the first of an unseen class goes alone, and others pass it meanwhile
    planned = [job for job in cli("plan", *cap, "--jobs", "--json").document["jobs"] if not job["stopped_by"]]
    assert {name: sum(job["campaign"] == name for job in planned) for name in each} == each
    limited = cli("plan", "m.yaml", "b.yaml", "--limit", "4", "--order", order, "--json").document["campaigns"]
    assert {part["campaign"]: part["new"] for part in limited if part["new"]} == each
    assert cli("run", *cap).code == 3
    assert bought(cli) == sorted((job["campaign"], job["prompt"]) for job in planned)


def test_a_sample_is_bought_once_and_the_rest_goes_on(cli: Cli, place: Site) -> None:
    asked = ("m.yaml", "b.yaml", "--sample", "4")
    plan = cli("plan", *asked, "--json").document
    assert [(part["new"], part["unselected"]) for part in plan["campaigns"]] == [(2, 2), (2, 2)]
    assert cli("run", *asked).code == 0
    first = bought(cli)
    assert len(first) == 4
    page = Path("state/sample.html")
    assert "Gallery" in page.read_text()
    page.unlink()
    assert cli("run", *asked).code == 0
    assert not page.exists(), "nothing new to look at"
    assert bought(cli) == first
    assert cli("run", "m.yaml", "b.yaml").code == 0
    assert len(bought(cli)) == len(place.world.oracle().charges) == 8
