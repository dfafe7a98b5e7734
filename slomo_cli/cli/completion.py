"""``slomo completion``: the script that completes commands and options in a shell."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from slomo_cli.cli.help import Command
from slomo_cli.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    cls=Command,
    short_help="Print the completion script of a shell.",
    examples="""
    source <(slomo completion bash)      now, or as a line in ~/.bashrc
    source <(slomo completion zsh)       the same for ~/.zshrc
    slomo completion fish > ~/.config/fish/completions/slomo.fish
    """,
)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def command(shell: str | None) -> None:
    """Print the script that completes slomo's commands and options in bash, zsh or fish.

    Without SHELL, the one you are in (by $SHELL).
    """
    from slomo_cli.cli.main import cli

    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    kind = get_completion_class(name)
    if kind is None or name not in SHELLS:
        raise UsageError(f"expected bash, zsh or fish, found $SHELL '{name}': name the shell")
    click.echo(kind(cli, {}, "slomo", "_SLOMO_COMPLETE").source())
