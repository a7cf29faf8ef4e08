"""`batcher simulator`."""

from __future__ import annotations

import click

from batcher.simulated import need_extra


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
    options_metavar="[OPTIONS]",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="")
def command(words: tuple[str, ...]) -> int:
    """Run the simulator of the API on loopback, until Ctrl-C."""
    need_extra()
    from batcher.simulator.__main__ import main

    try:
        return main(words)
    except SystemExit as end:  # argparse's --help and usage errors
        return int(end.code or 0)
