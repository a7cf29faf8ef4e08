"""The recipes of docs/cluster.md: unit, compose file and Kubernetes' objects, as their tools read them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import yaml
from cli.helpers import ROOT

from batcher.cli import app
from batcher.cli.database import LEDGER_VARIABLE, RESULTS_VARIABLE
from batcher.engine import GRACE_SECONDS
from batcher.providers.registry import RIVYA

RECIPES = ROOT / "recipes/cluster"
UNIT = (RECIPES / "batcher-worker.service").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((RECIPES / "compose.yaml").read_text("utf-8"))
SECRET, INIT, DEPLOYMENT = yaml.safe_load_all((RECIPES / "kubernetes.yaml").read_text("utf-8"))
POD: dict[str, Any] = DEPLOYMENT["spec"]["template"]["spec"]
[WORKER], [INITIAL] = POD["containers"], INIT["spec"]["template"]["spec"]["containers"]
#: What a worker needs; obstore reads AWS_… by itself.
NEEDED = {RIVYA.key_variable, LEDGER_VARIABLE, RESULTS_VARIABLE}
KNOWN = NEEDED | {RIVYA.base_url_variable, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}
#: Open paid requests, the tasks of a part, what the database may take to answer (docs/cluster.md).
LEAVING_SECONDS = GRACE_SECONDS + 5 + 20


def commands() -> list[list[str]]:
    """Every command line of batcher in the recipes, without the program."""
    [line] = re.findall(r"^ExecStart=\S+/batcher (.*)$", UNIT, re.MULTILINE)
    found = [shlex.split(line)]
    found += [each["command"] for each in COMPOSE["services"].values() if each["image"] == "batcher-worker"]
    found += [WORKER["args"], INITIAL["args"], WORKER["readinessProbe"]["exec"]["command"][1:]]
    comments = "".join((RECIPES / name).read_text("utf-8") for name in ("compose.yaml", "kubernetes.yaml"))
    runs = re.findall(r"(?:batcher|worker) run (\S+\.yaml)$", comments, re.MULTILINE)
    return [*found, *(["run", name] for name in runs)]


def test_every_command_of_the_recipes_is_taken_by_batcher() -> None:
    lines = commands()
    assert len(lines) >= 6
    for name, *words in lines:
        command = app.cli.get_command(click.Context(app.cli), name)
        assert command, name
        command.make_context(name, list(words), obj=SimpleNamespace())  # raises where an option or a value is none


def test_every_variable_is_one_that_somebody_reads_and_none_is_missing() -> None:
    written = set(re.findall(r"\b([A-Z]+_[A-Z_]+)=", re.findall(r"^# (RIVYA_API_KEY.*)$", UNIT, re.MULTILINE)[0]))
    composed = set(COMPOSE["services"]["worker"]["environment"])
    deployed = {each["name"] for each in WORKER["env"]} | set(SECRET["stringData"])
    for found in (written, composed, deployed):
        assert NEEDED <= found <= KNOWN
    assert not any("_KEY" in each["name"] or "SECRET" in each["name"] for each in WORKER["env"]), "by Secret only"


def test_all_give_a_worker_the_time_that_it_needs_to_leave() -> None:
    [unit] = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    composed = COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("s")
    for seconds in (unit, composed, POD["terminationGracePeriodSeconds"]):
        assert int(seconds) > LEAVING_SECONDS


def test_the_objects_of_kubernetes_fit_together() -> None:
    assert [each["kind"] for each in (SECRET, INIT, DEPLOYMENT)] == ["Secret", "Job", "Deployment"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert {each["name"] for each in WORKER["volumeMounts"]} == {each["name"] for each in POD["volumes"]}
    assert WORKER["args"][WORKER["args"].index("--spool") + 1] in {each["mountPath"] for each in WORKER["volumeMounts"]}
    for each in INITIAL["env"]:
        named = each["valueFrom"]["secretKeyRef"]
        assert (named["name"], named["key"] in SECRET["stringData"]) == (SECRET["metadata"]["name"], True)
    assert [each["secretRef"]["name"] for each in WORKER["envFrom"]] == [SECRET["metadata"]["name"]]
    assert "livenessProbe" not in WORKER, "a database that is away would kill those that hold its answers"


def test_the_services_of_the_compose_file_fit_together(tmp_path: Path) -> None:
    services = COMPOSE["services"]
    for each in services.values():
        assert set(each.get("depends_on", {})) <= set(services)
        assert {volume.partition(":")[0] for volume in each["volumes"]} <= set(COMPOSE["volumes"])
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return
    env = {"RIVYA_API_KEY": "k", "POSTGRES_PASSWORD": "p", "HOME": str(tmp_path)}
    words = [docker, "compose", "--file", str(RECIPES / "compose.yaml"), "config", "--quiet"]
    ran = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = UNIT.replace("/opt/batcher/bin/batcher", "/usr/bin/env batcher").replace("User=batcher\n", "")
    (tmp_path / "batcher-worker.service").write_text(unit)
    words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / "batcher-worker.service")]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_page_links_each_recipe_and_the_image_has_what_they_need() -> None:
    page = (ROOT / "docs/cluster.md").read_text("utf-8")
    assert {f"../recipes/cluster/{path.name}" for path in RECIPES.iterdir()} <= set(re.findall(r"\]\(([^)]+)\)", page))
    assert "ARG EXTRAS=" in (ROOT / "recipes/Dockerfile").read_text("utf-8")
