"""CK629 config-schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.checks.schema import UNKNOWN_KEY, config_faults
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.errors import Fault

#: Schema -> the engines that read the config through the library it describes.
_READERS: Mapping[str, tuple[str, ...]] = {
    "compressed-tensors": ("vllm", "sglang", "transformers"),
    "quark": ("quark", "transformers"),
    "quark-fp8": ("quark", "vllm"),
    "fp8": ("vllm", "transformers"),
    "modelopt": ("vllm",),
}

#: What our own readers have said already, in other words.
_TOLD = ("config-value", "pattern-invalid", "quark-null-key", "quark-old-key", "ct-preset-group", "ct-type-missing")

_QUOTED = re.compile(r'\["(.*?)"\]')


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

    Fix: write the value that the finding asks for. Keys that nobody knows are CK619, nulls are CK627.
    """
    dialect = schema_of(context)
    if dialect is None:
        return
    told = {fault.message.partition(" ")[0] for fault in context.faults(*_TOLD)}
    engines = tuple(
        Effect(name, ENGINES[name].version, Outcome.ERROR, "refuses the config") for name in _READERS[dialect]
    )
    for fault in config_faults(_as_read(context.block), dialect):
        path = _QUOTED.sub(r".\1", fault.message.partition(" ")[0])
        covered = dialect == "fp8" and path in ("activation_scheme", "weight_block_size")
        unknown = dialect == "compressed-tensors" and UNKNOWN_KEY in fault.message
        if path not in told and not covered and not unknown:
            yield Observation(
                fault.kind, fault.message, fault.file, None, fault.expected, fault.found, fault.help, engines=engines
            )


def _as_read(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with two words in lower case, as compressed-tensors takes them in any."""

    def spec(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        words = {key: value[key].lower() for key in ("type", "strategy") if isinstance(value.get(key), str)}
        return {**value, **words}

    def group(value: Any) -> Any:
        return {key: spec(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value

    groups = block.get("config_groups")
    if not isinstance(groups, Mapping):
        return block
    read = {**block, "config_groups": {name: group(value) for name, value in groups.items()}}
    return {**read, "kv_cache_scheme": spec(block["kv_cache_scheme"])} if "kv_cache_scheme" in block else read


def schema_of(context: Context) -> str | None:
    """The schema for the block that was found; None when no schema is known for its method."""
    if context.method == "fp8" and isinstance(context.block.get("export"), Mapping):
        return "quark-fp8"
    return context.method if context.method in _READERS else None
