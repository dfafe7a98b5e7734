"""How commands and options look and are found: examples first, options in groups, subcommands imported when called."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import takewhile
from typing import Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])

PREFIX = "SLOMO"
"""Start of every environment variable that stands for an option."""

OTHER = "Other"
"""Title of the group without a title; it stands last."""

COLUMN = 27
"""Widest option, in characters, that has its text beside it; on a narrow terminal it is two fifths of that."""

DASHES = "\u2013\u2014\u2212"
"""What text programs and web pages make of hyphens."""

CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 80,
    "show_default": True,
}


class Option(click.Option):
    """An option that belongs to a titled group of the help and may be set for all commands by ``SLOMO_<NAME>``.

    ``SLOMO_<COMMAND>_<NAME>`` (click's own) speaks of one command and wins over it. ``shared=False`` leaves only that.
    ``rivals`` are parameters that contradict it: where one of them was typed, the environment does not count.
    ``guesses`` are words that people try for it, as other commands and programs have them; they are told its own.
    """

    def __init__(
        self,
        *args: Any,
        group: str = OTHER,
        shared: bool = True,
        rivals: tuple[str, ...] = (),
        guesses: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        self.shared = shared
        self.rivals = rivals
        self.guesses = guesses

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        # What was typed has been read by now: click begins with it.
        if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in self.rivals):
            return None
        variable = self._variable(ctx)
        return super(click.Option, self).resolve_envvar_value(ctx) or (os.environ[variable] if variable else None)

    def _variable(self, ctx: click.Context) -> str | None:
        """The environment variable that speaks of it, if one does."""
        # By the option's own word: click would take the name of the function's parameter.
        word = max(self.opts, key=len).lstrip("-").replace("-", "_").upper()
        prefixes = [prefix for prefix in (ctx.auto_envvar_prefix, PREFIX if self.shared else None) if prefix]
        names = (f"{prefix}_{word}" for prefix in prefixes if self.allow_from_autoenv)
        return next((name for name in names if os.environ.get(name)), None)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """What a message about a value calls the option: the variable, where the value came from there."""
        named = ctx is not None and ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT
        variable = self._variable(ctx) if ctx is not None and named else None
        return f"'{variable}'" if variable else super().get_error_hint(ctx)


def option(*declarations: str, group: str = OTHER, **kwargs: Any) -> Callable[[F], F]:
    """``click.option`` for an ``Option`` under the title ``group``."""
    return click.option(*declarations, cls=Option, group=group, **kwargs)


class Command(click.Command):
    """A command whose help page has usage, one paragraph, examples, the rest of the text, and options by group."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = [line.strip() for line in examples.strip().splitlines()]
        self.context_settings = {**CONTEXT, **self.context_settings}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            self._refuse_dashes(ctx, args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.NoSuchOption(error.option_name, self._no_such(ctx, error.option_name), ctx=ctx) from None
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click forgets it of an option without its value
            raise

    def _refuse_dashes(self, ctx: click.Context, args: list[str]) -> None:
        """Fail where an option was pasted with dashes in place of hyphens: it would be taken for a file."""
        for word in takewhile("--".__ne__, args):
            if not word.startswith(tuple(DASHES)) or os.path.exists(word):
                continue
            name = word.lstrip(f"{DASHES}-").partition("=")[0]
            if meant := [opt for option in _options(self, ctx) for opt in option.opts if opt.lstrip("-") == name]:
                ctx.fail(f"expected '{meant[0]}' with hyphens, found the dash of '{word}': type it anew")

    def _no_such(self, ctx: click.Context, wrong: str) -> str:
        """The message about an unknown option, with those it may stand for.

        click compares the hyphens too, and so finds short words alike that are not.
        """
        word = wrong.lstrip("-")
        options = _options(self, ctx)
        known = {opt.lstrip("-"): opt for option in options for opt in option.opts + option.secondary_opts}
        meant = [max(option.opts, key=len) for option in options if word in getattr(option, "guesses", ())]
        begun = [name for name in known if name.startswith(word)]
        near = meant or [known[name] for name in begun or difflib.get_close_matches(word, known, cutoff=0.7)]
        hint = f" (did you mean {' or '.join(repr(opt) for opt in near)}?)" if near and wrong.startswith("--") else ""
        return f"No such option '{wrong}'{hint}"

    def get_help(self, ctx: click.Context) -> str:
        if ctx.terminal_width is None:  # click itself never goes below 50 columns
            ctx.terminal_width = max(20, min(CONTEXT["max_content_width"], shutil.get_terminal_size().columns) - 2)
        return super().get_help(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        first, _, rest = (self.help or "").strip().partition("\n\n")
        self.format_usage(ctx, formatter)
        _write_paragraphs(formatter, first)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
        if rest:
            _write_paragraphs(formatter, rest)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(parameter, "group", OTHER), []).append(record)
        groups = {title: groups[title] for title in sorted(groups, key=OTHER.__eq__)}
        # One column for all groups: the eye runs down it. A longer name has its text on the line below.
        most = min(COLUMN, formatter.width * 2 // 5)
        width = min(most, max(len(name) for records in groups.values() for name, _ in records))
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in records], col_max=most)


def _options(command: click.Command, ctx: click.Context) -> list[click.Option]:
    """A command's options, ``--help`` among them, without its arguments."""
    return [parameter for parameter in command.get_params(ctx) if isinstance(parameter, click.Option)]


def _write_paragraphs(formatter: click.HelpFormatter, text: str) -> None:
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(click.unstyle("\n".join(line.strip() for line in text.splitlines())))


class Group(Command, click.Group):
    """A group whose members are plain commands; alone it shows its help."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, commands = args[0], self.list_commands(ctx)
        if name not in commands and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, commands, n=1)
            known = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(commands)}"
            is_file = "convert" in commands and os.path.exists(name)
            hint = f"; to convert a file: slomo convert {name}" if is_file else ""
            ctx.fail(f"there is no command '{name}' ({known}){hint}")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


class Lazy(NamedTuple):
    """A command known by its line in the group's help, imported only when it is called."""

    module: str
    """Module whose attribute ``command`` is the click command."""
    title: str
    """Section of the group's help."""
    summary: str
    """The line in the group's help."""


class LazyGroup(Group):
    """A group that lists its commands from a table and imports a command's module only to run or explain it."""

    def __init__(self, *args: Any, table: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        command: click.Command = import_module(self.table[cmd_name].module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.table) + 2
        titles = dict.fromkeys(entry.title for entry in self.table.values())
        for title in titles:
            with formatter.section(title):
                rows = [
                    (name.ljust(width - 2), entry.summary) for name, entry in self.table.items() if entry.title == title
                ]
                formatter.write_dl(rows)
