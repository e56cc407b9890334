"""Commands as all of ours are: options that every command has, and examples at the end of the help."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ckptkit.errors import UsageError, did_you_mean
from ckptkit.report import sink
from ckptkit.report.encoding import shown_as

#: A line to type, and what it does.
Example = tuple[str, str]

COLORS = ("auto", "always", "never")


def _configured(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value and value != "auto":
        sink.configure(**{str(parameter.name): value})


def _into_file(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and not context.resilient_parsing:
        sink.to_file(Path(value))


def _common(finds: bool) -> list[click.Parameter]:
    """The options of every command; those that find something can be told to exit with 0 all the same."""
    own: dict[str, Any] = {"expose_value": False, "callback": _configured}
    options: list[click.Parameter] = [
        click.Option(
            ["-q", "--quiet"], is_flag=True, envvar="CKPTKIT_QUIET", help="Print the answer and nothing else.", **own
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            envvar="CKPTKIT_VERBOSE",
            help="Print all of what is counted otherwise.",
            **own,
        ),
        click.Option(
            ["--color"],
            type=Word(COLORS),
            default="auto",
            envvar="CKPTKIT_COLOR",
            help="When to colour. [default: auto; NO_COLOR and FORCE_COLOR count]",
            **own,
        ),
        click.Option(
            ["--output-file"],
            metavar="FILE",
            expose_value=False,
            callback=_into_file,
            envvar="CKPTKIT_OUTPUT_FILE",
            help="Write what would be printed into FILE, whole or not at all.",
        ),
    ]
    if finds:
        help_text = "Exit with 0 in spite of findings or differences."
        options.append(click.Option(["--exit-zero"], is_flag=True, envvar="CKPTKIT_EXIT_ZERO", help=help_text, **own))
    return options


def named(param: click.Parameter, ctx: click.Context | None) -> str:
    """What a value was given by: an option, an argument, or a variable of the environment."""
    source = ctx.get_parameter_source(param.name) if ctx and param.name else None
    if source is click.core.ParameterSource.ENVIRONMENT:
        return str(param.envvar)
    return param.human_readable_name if isinstance(param, click.Argument) else max(param.opts, key=len)


class Word(click.Choice[str]):
    """One of a few words, written large or small; who types nearly one is asked whether it is meant."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words, case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word. Raises UsageError for another one."""
        known = [str(word) for word in self.choices]
        typed = str(value)
        if typed.casefold() not in known and param is not None and not (ctx and ctx.resilient_parsing):
            message = f"{named(param, ctx)} must be one of {', '.join(known)}, not {typed!r}"
            raise UsageError(message, help=did_you_mean(typed, known, "") or None)
        return super().convert(value, param, ctx)


class Formatter(click.HelpFormatter):
    """Help whose words are broken at blanks only: an option that is cut at one of its hyphens cannot be copied."""

    def write(self, string: str) -> None:
        """Write text that was wrapped."""
        super().write(string.replace(_HYPHEN, "-"))

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(_unbroken(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        """Write terms and what they mean."""
        super().write_dl([(term, _unbroken(meaning)) for term, meaning in rows], *args, **kwargs)


#: A hyphen where nothing is wrapped, while text is being laid out.
_HYPHEN = "\u2011"


def _unbroken(text: str) -> str:
    return re.sub(r"(?<=\S)-(?=\S)|-(?=-)", _HYPHEN, text)


class Context(click.Context):
    """The context of a command line, whose help is laid out so."""

    formatter_class = Formatter


class Command(click.Command):
    """A command with the options that all have. ``finds``: its exit code 1 says that something was found."""

    context_class = Context

    def __init__(self, *args: Any, examples: Sequence[Example] = (), finds: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.common = _common(finds)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, then those that all commands have."""
        own = super().get_params(ctx)  # the help option comes last
        return [*own[: len(self.params)], *self.common, *own[len(self.params) :]]

    def get_help(self, ctx: click.Context) -> str:
        """The help in what standard output can show."""
        return shown_as(sys.stdout, super().get_help(ctx))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then what all commands have in common."""
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for number, parameter in enumerate(self.get_params(ctx)):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                (own if number < len(self.params) else common).append(record)
        for title, records in (("Options", own), ("Every command", common)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each in two lines that are never broken: what it does, and what to type."""
        if self.examples:
            with formatter.section("Examples"):
                for line, meaning in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}# {meaning}\n")
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
        super().format_epilog(ctx, formatter)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
    context_class = Context

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with the whole first sentence of its help."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        listed = [(name, command) for name, command in found.items() if command and not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in listed])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names. Raises UsageError with the one that may be meant."""
        word = args[0]
        known = self.list_commands(ctx)
        if word not in known and not word.startswith("-") and not ctx.resilient_parsing:
            listed = f"'{ctx.command_path} --help' lists the commands"
            meant = self.meant(word)
            raise UsageError(
                f"there is no command {word!r}",
                help=f"did you mean {meant!r}? {listed}" if meant else did_you_mean(word, known, listed),
            )
        return super().resolve_command(ctx, args)

    def meant(self, word: str) -> str | None:
        """The command that people mean by another tool's word; None where none is known."""
        return None

    def get_help(self, ctx: click.Context) -> str:
        """The help in what standard output can show."""
        return shown_as(sys.stdout, super().get_help(ctx))
