"""Writing Quark: tensor names and shapes, and the two configs that amd-quark and vLLM read alike."""

from __future__ import annotations

from typing import Any

from ckptkit.errors import ConversionRefused, Fault
from ckptkit.formats import drafting
from ckptkit.formats.base import Capabilities, Draft, TensorDrop
from ckptkit.formats.quark import config
from ckptkit.formats.quark.spec import VERSION, layer_spec, tensor_spec
from ckptkit.model import names
from ckptkit.model.checkpoint import AttentionScales, Checkpoint
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import Quantization, Scheme

_DIRECT = {"k": "k_scale", "v": "v_scale"}
_STATIC = Quantization(PerTensor())


def draft(checkpoint: Checkpoint, shapes: drafting.ScaleShapes, capabilities: Capabilities, *, custom: bool) -> Draft:
    """The whole answer of the writer, in the native layout or in the ``fp8`` custom mode."""
    edits = list(drafting.module_edits(checkpoint, shapes, capabilities.scale_dtypes))
    drops = list(drafting.module_drops(checkpoint))
    for attention in checkpoint.kv_cache.attention if checkpoint.kv_cache else ():
        targets = _scale_names(checkpoint, attention, custom=custom)
        sources: dict[str, str] = {}
        for role, tensor in attention.stored().items():
            target = targets[role]
            if target in sources.values():
                if tensor.name not in sources:
                    drops.append(TensorDrop(tensor, f"{target} stands for keys and values, which are equal here"))
                continue
            edits.append(
                drafting.scale_edit(
                    tensor,
                    target,
                    drafting.attention_shape(checkpoint, tensor, shapes),
                    capabilities.scale_dtypes,
                    "KV scales sit on the attention" if custom else "KV scales are outputs of the projections",
                    duplicate=tensor.name in sources,
                )
            )
            sources[tensor.name] = target
    block = _custom_config(checkpoint) if custom else _native_config(checkpoint)
    return Draft(tuple(edits), tuple(drops), block, _notes(checkpoint, custom=custom))


def _scale_names(checkpoint: Checkpoint, attention: AttentionScales, *, custom: bool) -> dict[str, str]:
    """Where each attention scale goes. A fused projection has one output scale for keys and values."""
    module = attention.module
    found = {"prob": names.join(module, "prob_output_scale")}
    fused = [names.join(module, last) for last in sorted(names.FUSED_QKV)]
    owner = next((name for name in fused if checkpoint.has_module(name)), None)
    for role, last in names.SEPARATE_KV.items():
        if custom and role in _DIRECT:
            found[role] = names.join(module, _DIRECT[role])
        else:
            found[role] = names.join(owner or names.join(module, last), "output_scale")
    if owner and not custom:
        _refuse_distinct(checkpoint, attention, owner)
    return found


def _refuse_distinct(checkpoint: Checkpoint, attention: AttentionScales, owner: str) -> None:
    k, v = attention.k, attention.v
    if k is None or v is None or k == v or checkpoint.container.read(k) == checkpoint.container.read(v):
        return
    fault = Fault(
        "fused-kv-distinct",
        f"keys and values have scales of their own, but {owner} has one output scale for both",
        k.shard,
        k.name,
        expected=f"the same value as {v.name}",
        found="another value",
        help="use --quark-mode fp8, which stores k_scale and v_scale apart",
    )
    raise ConversionRefused("Quark's native layout cannot hold these KV scales", faults=[fault])


def _export_block(checkpoint: Checkpoint) -> dict[str, Any]:
    scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    return {
        "kv_cache_group": [f"*{last}" for last in _kv_projections(checkpoint)] if scheme else [],
        "min_kv_scale": 0.0,
        "pack_method": "reorder",
        "weight_format": "real_quantized",
        "weight_merge_groups": None,
    }


def _kv_projections(checkpoint: Checkpoint) -> list[str]:
    """The last parts of the modules whose outputs are cached: k_proj and v_proj, or the fused projection."""
    last_parts = {names.last_part(module) for module in checkpoint.linear_modules}
    fused = sorted(last_parts & names.FUSED_QKV)
    return fused or ["k_proj", "v_proj"]


def _custom_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """``ignored_layers`` is what vLLM reads, ``modules_to_not_convert`` what others read; and the explicit null
    block size keeps transformers from taking 128x128 for granted."""
    (scheme,) = checkpoint.schemes
    kv_scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    skipped = [*drafting.skip_list(checkpoint), *checkpoint.fused_experts]
    kv_name = None
    if kv_scheme is not None:
        kv_name = "dynamic" if kv_scheme.quantization.dynamic else "static"
    return {
        "quant_method": "fp8",
        "activation_scheme": "static" if scheme.has_static_input else "dynamic",
        "ignored_layers": skipped,
        "modules_to_not_convert": skipped,
        "weight_block_size": None,
        "kv_cache_scheme": kv_name,
        "export": _export_block(checkpoint),
    }


def _native_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Every key is present and none null where vLLM iterates: ``{}`` and ``[]`` instead."""
    schemes = list(checkpoint.schemes)
    default = schemes[0]
    forms = drafting.name_patterns(checkpoint.schemes, checkpoint.linear_modules)
    block = _native_block(checkpoint, default, {scheme: forms[scheme] for scheme in schemes[1:]})
    if len(schemes) > 1 and not _reads_back(checkpoint, block):
        exact = {scheme: list(checkpoint.schemes[scheme]) for scheme in schemes[1:]}
        block = _native_block(checkpoint, default, exact)
    return block


def _native_block(checkpoint: Checkpoint, default: Scheme, overrides: dict[Scheme, list[str]]) -> dict[str, Any]:
    kv_scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    output = kv_scheme.quantization if kv_scheme else None
    kv_layers = {} if output is None else _projection_specs(checkpoint, _kv_projections(checkpoint), output)
    roles = {r for a in (checkpoint.kv_cache.attention if checkpoint.kv_cache else ()) for r in a.stored()}
    query_layers = _projection_specs(checkpoint, ["q_proj"], _STATIC) if "q" in roles else {}
    layers = {pattern: layer_spec(scheme) for scheme, patterns in overrides.items() for pattern in patterns}
    return {
        "quant_method": "quark",
        "version": VERSION,
        "quant_mode": "eager_mode",
        "global_quant_config": layer_spec(default),
        "exclude": [*drafting.skip_list(checkpoint), *checkpoint.fused_experts],
        "layer_quant_config": {**kv_layers, **query_layers, **layers},
        "layer_type_quant_config": {},
        "kv_cache_quant_config": kv_layers,
        "kv_cache_post_rope": bool(kv_scheme and kv_scheme.basis == "post-rope"),
        "softmax_quant_spec": tensor_spec(_STATIC, scale_type=None) if "prob" in roles else None,
        "algo_config": None,
        "export": _export_block(checkpoint),
    }


def _projection_specs(checkpoint: Checkpoint, lasts: list[str], output: Quantization) -> dict[str, Any]:
    """Layer specs with an output for projections: one pattern each, or exact names where schemes differ."""
    specs: dict[str, Any] = {}
    for last in lasts:
        members = [module for module in checkpoint.linear_modules if names.last_part(module) == last]
        used = {
            module: checkpoint.modules[module].scheme if module in checkpoint.modules else None for module in members
        }
        if len(set(used.values())) <= 1:
            specs[f"*{last}"] = layer_spec(next(iter(used.values()), None), output)
        else:
            specs.update((module, layer_spec(scheme, output)) for module, scheme in used.items())
    return specs


def _reads_back(checkpoint: Checkpoint, block: dict[str, Any]) -> bool:
    """Whether our own reader finds the same scheme for every linear module."""
    scheme_of = config.parse_native(block, "draft").scheme_of
    return all(
        scheme_of(module) == (checkpoint.modules[module].scheme if module in checkpoint.modules else None)
        for module in checkpoint.linear_modules
    )


def _notes(checkpoint: Checkpoint, *, custom: bool) -> tuple[str, ...]:
    notes = []
    kv_cache = checkpoint.kv_cache
    if kv_cache is not None and kv_cache.scheme is not None:
        notes.append(
            "vLLM keeps the KV cache in high precision for this checkpoint unless it is told "
            "--kv-cache-dtype fp8; then it rounds the scales to the model's dtype"
        )
        if custom:
            notes.append(
                "amd-quark's own reload of the fp8 mode uses k_scale for keys and values alike; vLLM keeps them apart"
            )
    return tuple(notes)
