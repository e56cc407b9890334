"""Fixes of compressed-tensors configs: the keys without which one of the readers goes wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.fixers import fix
from ckptkit.edits.changes import Edit, Path, RemoveKey, RenameKey, SetKey
from ckptkit.errors import CkptkitError
from ckptkit.formats.base import WriteOptions
from ckptkit.formats.compressed_tensors.config import FP8_FORMATS
from ckptkit.rules.fixes.config import block_path

#: Arguments that every reader knows.
_OLDEST_ARGS = frozenset(
    {
        *("num_bits", "type", "symmetric", "group_size", "strategy", "block_structure"),
        *("dynamic", "actorder", "observer", "observer_kwargs"),
    }
)
_ROLES = ("weights", "input_activations", "output_activations")


@fix("safe", "CK618")
def fill_keys(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write format, type and status, and a preset's scheme instead of its name.

    The config was understood as FP8 without them; now every reader understands it so.
    """
    block, path = context.block, block_path(context)
    groups = block.get("config_groups")
    if context.method != "compressed-tensors" or not isinstance(groups, Mapping):
        return
    if any(isinstance(group, list) for group in groups.values()):
        written = _written_groups(context)
        if written is not None:
            yield SetKey((*path, "config_groups"), written)
    else:
        own = [group.get("format") for group in groups.values() if isinstance(group, Mapping)]
        if block.get("format") not in FP8_FORMATS and not (own and all(own)):
            yield SetKey((*path, "format"), "float-quantized")
        for way, args in _all_args(block):
            if args.get("type") is None:
                yield SetKey((*path, *way, "type"), "float")
    if block.get("quantization_status") != "compressed":
        yield SetKey((*path, "quantization_status"), "compressed")


@fix("safe", "CK616")
def name_single_group(context: Context, finding: Finding) -> Iterator[Edit]:
    """Call the only group ``group_0``, under which some readers look for it."""
    groups = context.block.get("config_groups")
    if isinstance(groups, Mapping) and len(groups) == 1 and "group_0" not in groups:
        (name,) = groups
        yield RenameKey((*block_path(context), "config_groups", name), "group_0")


@fix("safe", "CK619")
def leave_out_null_keys(context: Context, finding: Finding) -> Iterator[Edit]:
    """Leave out keys that some reader does not know where they say nothing."""
    for way, args in _all_args(context.block):
        for key, value in args.items():
            if value is None and key not in _OLDEST_ARGS:
                yield RemoveKey((*block_path(context), *way, key))


def _written_groups(context: Context) -> Any:
    if context.checkpoint is None or context.format is None:
        return None
    try:
        return (context.format.write(context.checkpoint, WriteOptions()).quantization_config or {})["config_groups"]
    except (CkptkitError, KeyError):
        return None


def _all_args(block: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every QuantizationArgs of a block, with the way to it."""
    groups = block.get("config_groups")
    for name, group in groups.items() if isinstance(groups, Mapping) else ():
        for role in _ROLES:
            if isinstance(group, Mapping) and isinstance(group.get(role), Mapping):
                yield ("config_groups", name, role), group[role]
    if isinstance(block.get("kv_cache_scheme"), Mapping):
        yield ("kv_cache_scheme",), block["kv_cache_scheme"]
