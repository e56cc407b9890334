"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

#: A folder, or the URL of a remote checkpoint. Shells complete it; whether it is there, the reader finds out.
CHECKPOINT = click.Path(readable=False)


def json_option(function: Function) -> Function:
    """``--json``: one JSON document on standard output, nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def print_json(document: Any) -> None:
    """Print a JSON document for machines."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
