"""The fixtures of the terminal's tests, for what comes from outside."""

from __future__ import annotations

from cli.conftest import cli as cli
from cli.conftest import place as place
