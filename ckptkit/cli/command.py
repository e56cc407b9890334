"""Commands as all of ours are: options that every command has, and examples at the end of the help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ckptkit.report import sink

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
            type=click.Choice(COLORS, case_sensitive=False),
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


class Command(click.Command):
    """A command with the options that all have. ``finds``: its exit code 1 says that something was found."""

    def __init__(self, *args: Any, examples: Sequence[Example] = (), finds: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.common = _common(finds)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, then those that all commands have."""
        own = super().get_params(ctx)  # the help option comes last
        return [*own[: len(self.params)], *self.common, *own[len(self.params) :]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then what all commands have in common."""
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for number, parameter in enumerate(self.get_params(ctx)):
            record = parameter.get_help_record(ctx)
            if record is not None:
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
