"""CK627 quark-config-incomplete, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit, Path, RenameKey, SetKey
from ckptkit.errors import Fault
from ckptkit.model.select import glob_or_exact
from ckptkit.rules.config.block import block_path
from ckptkit.rules.kv_cache.declaration import written_kv

_OLD_SPELLINGS = {"dynamic": "is_dynamic", "axis": "ch_axis"}


@rule(
    "CK627",
    "quark-config-incomplete",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/vllm#10765",
        "vllm-project/vllm#54547",
    ),
)
def quark_config_incomplete(context: Context) -> Iterator[Fault]:
    """A Quark config is written in a way that vLLM cannot read although the tensors are right.

    Why it hurts: null where a list is iterated, ``dynamic`` for ``is_dynamic``, per-type specs that nothing applies,
    quantized outputs of linear layers, a ``kv_cache_group`` without entries of ``layer_quant_config`` that match it,
    or a default spec without ``output_tensors``, whose keys then differ from those of the KV entries.

    Example: ``"exclude": null``, as exports up to 0.8 wrote it.

    Fix: converting the checkpoint to Quark again writes every key.
    """
    yield from context.faults("quark-null-key", "quark-old-key", "quark-layer-type", "quark-kv-group")
    checkpoint = context.checkpoint
    if checkpoint is None or checkpoint.dialect != "native":
        return
    group = checkpoint.effective.get("kv_cache_group") or []
    layers = context.block.get("layer_quant_config") or {}
    for entry in group:
        if not any(glob_or_exact(entry).matches(key) or key == entry for key in layers):
            yield Fault(
                "quark-kv-group",
                "kv_cache_group names layers for which layer_quant_config has no entry: vLLM refuses that",
                "config.json",
                expected=f"layer_quant_config[{entry!r}] with output_tensors",
                found=f"keys {list(layers)!r}"[:80],
            )
    default = context.block.get("global_quant_config")
    if group and isinstance(default, dict) and "output_tensors" not in default:
        yield Fault(
            "quark-default-outputs",
            "vLLM compares the keys of the default and of the KV entries, and these differ",
            "config.json",
            expected="global_quant_config.output_tensors = null",
            found="no such key",
        )
    for scheme, members in checkpoint.schemes.items():
        if scheme.output is not None:
            message = "quantized outputs of linear layers: vLLM finds no scheme for them"
            yield Fault(
                "quark-outputs", message, "config.json", members[0], "output_tensors = null", str(scheme.output)
            )


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
