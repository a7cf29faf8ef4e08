"""Where the user's own model files lie, unless an option names another folder."""

from __future__ import annotations

import os
from pathlib import Path


def model_folder() -> Path | None:
    """The folder, whether it is there or not; None where nobody can tell."""
    named, home = os.environ.get("XDG_CONFIG_HOME", ""), os.environ.get("HOME", "")
    base = Path(named) if named.startswith("/") else Path(home, ".config")
    folder = base / "batcher/models"
    return folder if folder.is_absolute() else None
