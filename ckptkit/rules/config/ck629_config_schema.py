"""CK629 config-schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.checks.schema import UNKNOWN_KEY, config_faults
from ckptkit.engines.dialects import keys_of
from ckptkit.errors import Fault
from ckptkit.formats.base import KINDS_NOT_VALID, where_of
from ckptkit.formats.dialect import Dialect
from ckptkit.formats.keys import changed_at, values_at
from ckptkit.storage.container import CONFIG_FILE

#: What our own readers have said already, in other words.
_TOLD = (
    *KINDS_NOT_VALID,
    "pattern-invalid",
    *("quark-null-key", "quark-old-key", "ct-preset-group", "ct-type-missing"),
    "fp8-fields",
)
#: How a reader that knows every key says that one is unknown: CK619 speaks of them.
_KEYS = ("config-unknown-key",)


@rule(
    "CK629",
    "config-schema",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    unreported="the formats' own definition: what the libraries' classes refuse",
)
def config_schema(context: Context) -> Iterator[Fault]:
    """The quantization config is not one that its format's own library would read.

    Why it hurts: the library's classes check types, values and what goes together, and refuse the whole config at the
    first thing they do not like. Engines that read single keys may load it all the same, each in its own way.

    Example: ``strategy: token`` with ``dynamic: false``, or a Quark layer without the key ``bias``.

    Fix: write the value that the finding asks for. Keys that nobody knows are CK619, nulls are CK627. A file beside
    config.json counts where that one holds no config.
    """
    dialect = context.dialect
    if dialect is None or dialect.schema is None:
        return
    key = keys_of(dialect.key)[-1]
    told = {where_of(fault) for fault in context.faults(*_TOLD)}
    knows_keys = any(True for _ in context.faults(*_KEYS))
    for fault in _departures(context, dialect, dialect.schema):
        path = where_of(fault)
        unknown = knows_keys and fault.kind == UNKNOWN_KEY
        within = path if context.section.file == CONFIG_FILE else path.partition(".")[2]  # of a file: without its name
        if told.isdisjoint((path, within)) and not unknown:
            missing_list = path in dialect.skip_list.keys and path not in context.block
            section = "missing-list" if missing_list else _section(path, context.block, dialect.keys.sections)
            yield Observation.of(fault, variant=f"{key}-{section}" if section else key)


def _section(path: str, block: Mapping[str, Any], sections: Mapping[str, tuple[str, str]]) -> str:
    """What engines tell the place of a fault apart by; empty where they do not."""
    said, null = sections.get(path.partition(".")[0], ("", ""))
    return null if None in values_at(block, tuple(path.split("."))) else said


def _departures(context: Context, dialect: Dialect, schema: str | Mapping[str, Any]) -> Iterator[Fault]:
    """Where the config departs from its schema: that of config.json or, where there is none, of the file beside it."""
    if context.located is None:
        return
    read = reduce(lambda block, way: changed_at(block, way, _in_lower_case), dialect.keys.any_case, context.block)
    place = () if context.section.file == CONFIG_FILE else (context.section.file,)
    yield from config_faults(read, schema, *place)


def _in_lower_case(word: Any) -> Any:
    return word.lower() if isinstance(word, str) else word
