"""CK629 config-schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.checks.schema import UNKNOWN_KEY, config_faults
from ckptkit.errors import CkptkitError, Fault
from ckptkit.formats.base import where_of
from ckptkit.formats.dialect import Dialect
from ckptkit.storage.index import parse_json_object

#: What our own readers have said already, in other words.
_TOLD = (
    *("config-value", "pattern-invalid", "quark-null-key", "quark-old-key", "ct-preset-group", "ct-type-missing"),
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
    told = {where_of(fault) for fault in context.faults(*_TOLD)}
    knows_keys = any(True for _ in context.faults(*_KEYS))
    for fault in _departures(context, dialect, dialect.schema):
        path = where_of(fault)
        unknown = knows_keys and fault.kind == UNKNOWN_KEY
        within = path.partition(".")[2] if context.located is None else path  # readers begin at what a file holds
        if told.isdisjoint((path, within)) and not unknown:
            missing_list = path in dialect.skip_list.keys and path not in context.block
            variant = f"{dialect.key}-missing-list" if missing_list else _variant(path, context.block, dialect.key)
            yield Observation.of(fault, variant=variant)


def _departures(context: Context, dialect: Dialect, schema: str | Mapping[str, Any]) -> Iterator[Fault]:
    """Where the config departs from its schema: that of config.json or, where there is none, of the file beside it."""
    if context.located is not None:
        yield from config_faults(_as_read(context.block), schema)
        return
    for name in dialect.side_files:
        data = _side_file(context, name)
        document = None if data is None else parse_json_object(name, data)[0]
        if document is not None:
            yield from config_faults(document, schema, name)


def _side_file(context: Context, name: str) -> bytes | None:
    """A file beside config.json; None where there is none that can be read."""
    try:
        return context.container.side_file(name)
    except CkptkitError:
        return None


def _variant(path: str, block: Mapping[str, Any], dialect: str) -> str:
    """What engines tell apart: a status of another word or of none, and the scheme of the KV cache."""
    if path == "quantization_status":
        return "status" if block.get(path) is not None else "status-null"
    if path.startswith("export"):
        return f"{dialect}-export"
    return f"{dialect}-kv-cache" if path.startswith("kv_cache_scheme") else dialect


def _as_read(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with words in lower case that readers take in any."""

    def spec(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        words = {key: value[key].lower() for key in ("type", "strategy") if isinstance(value.get(key), str)}
        return {**value, **words}

    def group(value: Any) -> Any:
        return {key: spec(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value

    method = block.get("quant_method")
    block = {**block, "quant_method": method.lower()} if isinstance(method, str) else block
    groups = block.get("config_groups")
    if not isinstance(groups, Mapping):
        return block
    read = {**block, "config_groups": {name: group(value) for name, value in groups.items()}}
    return {**read, "kv_cache_scheme": spec(block["kv_cache_scheme"])} if "kv_cache_scheme" in block else read
