"""`batcher init`."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

import click

from batcher.cli.terminal import Terminal, dumps
from batcher.errors import StorageError, UsageError
from batcher.install import install_hint
from batcher.providers.registry import RIVYA
from batcher.simulated import missing_extra
from batcher.text import safe

NAME = "campaign.yaml"
#: As the starter's first lines name it for editors.
SCHEMA = "manifest.schema.json"


@click.command(short_help="Write a commented manifest to begin with.")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.pass_obj
def command(terminal: Terminal, *, folder: Path) -> int:
    """Write a commented manifest to begin with into DIR (default: here), and its schema for editors."""
    from batcher.manifest import STARTER, json_schema

    path, schema = folder / NAME, folder / SCHEMA
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER)
        with suppress(FileExistsError), schema.open("x", encoding="utf-8") as file:
            file.write(dumps(json_schema()) + "\n")
    except FileExistsError:
        raise UsageError(
            f"{path} exists already", hint="It stays as it is; `batcher init DIR` writes elsewhere."
        ) from None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}", hint="Name a folder that can be written.") from error
    name = safe(shlex.quote(str(path)))
    missing = missing_extra()
    needs = [f"  {install_hint('simulator')}   what the simulator needs"] if missing else []
    terminal.show(
        f"Wrote {safe(path)} (and {SCHEMA} for editors). Look at it, then:",
        f"  batcher plan {name}             what it would do and cost",
        *needs,
        f"  batcher run {name} --simulate   try it: no key, no cost",
        f"  batcher run {name}              do it, with {RIVYA.key_variable} set",
    )
    return 0
