"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ckptkit.errors import UsageError, printable
from ckptkit.report import sink

if TYPE_CHECKING:
    from ckptkit.conversion.plan import Plan

Function = TypeVar("Function", bound=Callable[..., Any])

PLAN_HELP = "make it with: ckptkit convert --dry-run --json SRC DST > plan.json"

#: A folder, or the URL of a remote checkpoint. Shells complete it; whether it is there, the reader finds out.
CHECKPOINT = click.Path(readable=False)


def read_plan(path: str) -> Plan:
    """The plan in a file that ``convert --dry-run --json`` has written. Raises UsageError when it cannot be read."""
    from ckptkit.conversion.plan import Plan
    from ckptkit.storage.index import MAX_JSON_BYTES
    from ckptkit.storage.untrusted import parse_json

    try:
        with open(path, "rb") as file:
            return Plan.from_json(parse_json(file.read(MAX_JSON_BYTES + 1), most=MAX_JSON_BYTES))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}", help=PLAN_HELP) from error


@contextmanager
def telling(done: str) -> Iterator[None]:
    """What is printed about work that is done. If nobody can take that, the work is done all the same.

    It is then said on standard error, and the exit code is that of the work.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        drop_output()
        reason = error.strerror or error
        print(f"{printable(done)}; but standard output could not be written: {reason}", file=sys.stderr)


def tell(done: str) -> None:
    """Print one line about work that is done."""
    from ckptkit.report.layout import print_line

    with telling(done):
        print_line(sink.console(), done)


def drop_output() -> None:
    """Let what is still buffered for stdout go nowhere, or the interpreter fails on it once more at exit."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def words_option(variable: str, complete: Any) -> dict[str, Any]:
    """What options have that take words with commas between them, once or several times."""
    return {"multiple": True, "envvar": f"CKPTKIT_{variable}", "shell_complete": complete}


def json_option(function: Function) -> Function:
    """``--json``: one JSON document on standard output, nothing else, errors included."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.", callback=_promise_json)
    return option(function)


def _promise_json(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    if value:
        sink.configure(machine=True)
    return value


def print_json(document: Mapping[str, Any], schema: str) -> None:
    """Print a JSON document for machines, with its schema's name and our version."""
    from ckptkit.report.document import document_text

    click.echo(document_text(document, schema))


def print_json_list(documents: Iterable[Mapping[str, Any]], schema: str) -> None:
    """Print a list of JSON documents, each with its schema's name and our version."""
    from ckptkit.report.document import stamped
    from ckptkit.storage.json_text import json_text

    click.echo(json_text([stamped(document, schema) for document in documents]))
