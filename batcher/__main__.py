"""`batcher` and `python -m batcher`."""

from __future__ import annotations

import sys

from batcher import __version__


def main() -> int:
    """The process's exit code. `--version` answers before anything heavy is imported."""
    argv = sys.argv[1:]
    if argv == ["--version"]:
        print(f"batcher {__version__}")
        return 0
    from batcher.cli.app import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
