"""``ckptkit rule``."""

from __future__ import annotations

import click

from ckptkit.cli import completing
from ckptkit.cli.command import Command
from ckptkit.cli.options import json_option, print_json, print_json_list
from ckptkit.errors import UsageError
from ckptkit.report import sink


@click.command(
    "rule",
    cls=Command,
    examples=[
        ("ckptkit rule CK301", "by code; 'ckptkit rule channel-scale-rank' by name"),
        ("ckptkit rule --all", "every rule in two lines"),
    ],
)
@click.argument("rules", nargs=-1, metavar="[RULE...]", shell_complete=completing.RULE)
@click.option("--all", "show_all", is_flag=True, help="List every rule.")
@json_option
def command(rules: tuple[str, ...], show_all: bool, as_json: bool) -> None:
    """Explain a RULE, given by code or name: what it checks, why it hurts, whom, and how to fix it."""
    from ckptkit.checks import registry
    from ckptkit.report import rule_text

    if show_all == bool(rules):
        raise UsageError("give the codes of rules, or --all", help="ckptkit rule CK301")
    chosen = registry.all_rules() if show_all else tuple(registry.by_code(rule) for rule in rules)
    if as_json:
        documents = [rule.to_json() for rule in chosen]
        if show_all or len(documents) > 1:
            print_json_list(documents, "rules")
        else:
            print_json(documents[0], "rules")
    elif show_all:
        rule_text.show_rules(chosen)
    else:
        for number, rule in enumerate(chosen):
            if number and not sink.manner().quiet:
                click.echo()
            rule_text.show_rule(rule)
