"""Fixes of Quark configs: nulls that vLLM iterates over, older spellings, KV entries that vLLM looks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.fixers import fix
from ckptkit.edits.changes import Edit, Path, RenameKey, SetKey
from ckptkit.errors import CkptkitError
from ckptkit.formats.base import WriteOptions
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.select import glob_or_exact
from ckptkit.rules.fixes.config import block_path

#: The parts of a native config in which the KV cache is declared.
_KV_KEYS = ("layer_quant_config", "kv_cache_quant_config", "export")
_OLD_SPELLINGS = {"dynamic": "is_dynamic", "axis": "ch_axis"}


@fix("safe", "CK627")
def complete_config(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write empty lists and objects for null, today's spellings, and an entry for each member of the KV group."""
    if context.method != "quark":
        return
    block, path = context.block, block_path(context)
    for key, empty in (("exclude", []), ("layer_type_quant_config", {}), ("layer_quant_config", {})):
        if block.get(key) is None:
            yield SetKey((*path, key), empty)
    default = block.get("global_quant_config")
    if isinstance(default, Mapping) and "output_tensors" not in default:
        yield SetKey((*path, "global_quant_config", "output_tensors"), None)
    export = block.get("export")
    if isinstance(export, Mapping) and export.get("kv_cache_group") is None:
        yield SetKey((*path, "export", "kv_cache_group"), [])
    for way, spec in _tensor_specs(block):
        for old, new in _OLD_SPELLINGS.items():
            if old in spec and new not in spec:
                yield RenameKey((*path, *way, old), new)
    if _group_without_entries(block) and context.checkpoint is not None:
        yield from written_kv(context, context.checkpoint)


def written_kv(context: Context, checkpoint: Checkpoint) -> Iterator[Edit]:
    """The declarations of the KV cache as our own writer spells them for this checkpoint; all else stays."""
    if context.format is None:
        return
    try:
        written = context.format.write(checkpoint, WriteOptions()).quantization_config or {}
    except CkptkitError:
        return
    path, block = block_path(context), context.block
    for key in _KV_KEYS:
        old, new = block.get(key) or {}, written.get(key) or {}
        kept = {name: value for name, value in old.items() if name not in new}
        if {**kept, **new} != old:
            yield SetKey(
                (*path, key), {**new, **kept} if key != "export" else {**old, "kv_cache_group": new["kv_cache_group"]}
            )


def without_kv(context: Context) -> Iterator[Edit]:
    """No KV cache: an empty group, and no outputs in the layers that it named, so that q, k and v are alike again."""
    path, block = block_path(context), context.block
    group = [glob_or_exact(entry) for entry in (block.get("export") or {}).get("kv_cache_group") or ()]
    yield SetKey((*path, "export", "kv_cache_group"), [])
    if block.get("kv_cache_quant_config"):
        yield SetKey((*path, "kv_cache_quant_config"), {})
    for name, spec in (block.get("layer_quant_config") or {}).items():
        matched = any(pattern.text == name or pattern.matches(name) for pattern in group)
        if matched and isinstance(spec, Mapping) and spec.get("output_tensors") is not None:
            yield SetKey((*path, "layer_quant_config", name, "output_tensors"), None)


def _group_without_entries(block: Mapping[str, Any]) -> bool:
    group = (block.get("export") or {}).get("kv_cache_group") or ()
    layers = block.get("layer_quant_config") or {}
    return any(not any(key == entry or glob_or_exact(entry).matches(key) for key in layers) for entry in group)


def _tensor_specs(block: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every tensor spec of a native config, with the way to it."""
    layers: list[tuple[Path, Any]] = [(("global_quant_config",), block.get("global_quant_config"))]
    for key in ("layer_quant_config", "kv_cache_quant_config"):
        layers += [((key, name), spec) for name, spec in (block.get(key) or {}).items()]
    for way, layer in layers:
        for role, spec in layer.items() if isinstance(layer, Mapping) else ():
            if isinstance(spec, Mapping):
                yield (*way, role), spec
