"""Writing compressed-tensors: tensor names and shapes, and a config that vLLM and transformers read alike."""

from __future__ import annotations

import re
from typing import Any

from ckptkit.formats import drafting
from ckptkit.formats.base import Capabilities, Draft, TensorEdit
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import (
    Granularity,
    PerBlock,
    PerChannel,
    PerGroup,
    PerHead,
    PerTensor,
    PerToken,
)
from ckptkit.model.scheme import Quantization, Scheme

_FORMAT = "float-quantized"
_STRATEGIES: dict[type[Any], str] = {
    PerTensor: "tensor",
    PerChannel: "channel",
    PerToken: "token",
    PerGroup: "group",
    PerBlock: "block",
    PerHead: "attn_head",
}
_KV_NAMES = {"k": "k_scale", "v": "v_scale", "q": "q_scale"}


def draft(checkpoint: Checkpoint, shapes: drafting.ScaleShapes, capabilities: Capabilities) -> Draft:
    """The whole answer of the writer."""
    edits = list(drafting.module_edits(checkpoint, shapes, capabilities.scale_dtypes))
    edits += _attention_edits(checkpoint, shapes, capabilities)
    return Draft(
        edits=tuple(edits),
        drops=tuple(drafting.module_drops(checkpoint)),
        quantization_config=_config(checkpoint),
        notes=_notes(checkpoint),
    )


def _attention_edits(
    checkpoint: Checkpoint, shapes: drafting.ScaleShapes, capabilities: Capabilities
) -> list[TensorEdit]:
    edits: list[TensorEdit] = []
    for attention in checkpoint.kv_cache.attention if checkpoint.kv_cache else ():
        used: set[str] = set()
        for role, tensor in attention.stored().items():
            if role not in _KV_NAMES:
                continue
            reason = "attention scales sit beside the attention, not on its projections"
            if tensor.name in used:
                reason = "one stored scale stood for keys and values; each gets its own"
            edits.append(
                drafting.scale_edit(
                    tensor,
                    names.join(attention.module, _KV_NAMES[role]),
                    drafting.attention_shape(checkpoint, tensor, shapes),
                    capabilities.scale_dtypes,
                    reason,
                    duplicate=tensor.name in used,
                )
            )
            used.add(tensor.name)
    return edits


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config in its smallest form that every reader takes: keys unknown to older readers are left out.

    ``quantization_status`` must be "compressed" for transformers; ``format`` stands globally and in each group
    for vLLM; ``type`` must be written since it defaults to "int"; ``ignore`` holds exact names, and regular
    expressions only for fused experts, whose members have no names of their own.
    """
    scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    return {
        "quant_method": "compressed-tensors",
        "format": _FORMAT,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "config_groups": {
            f"group_{number}": {
                "format": _FORMAT,
                "targets": targets,
                "weights": _args(group.weight),
                "input_activations": None if group.input is None else _args(group.input),
                "output_activations": None,
            }
            for number, (group, targets) in enumerate(_targets(checkpoint).items())
        },
        "ignore": [
            *drafting.skip_list(checkpoint),
            *(f"re:^{re.escape(owner)}(\\.|$)" for owner in checkpoint.fused_experts),
        ],
        "kv_cache_scheme": None if scheme is None else _args(scheme.quantization),
    }


def _targets(checkpoint: Checkpoint) -> dict[Scheme, list[str]]:
    """Group targets: the class "Linear" for a single scheme, anchored patterns for several.

    A quantized output head is named as well: vLLM's class match does not reach it.
    """
    if len(checkpoint.schemes) == 1:
        (scheme,) = checkpoint.schemes
        head = [names.LM_HEAD] if names.LM_HEAD in checkpoint.modules else []
        return {scheme: ["Linear", *head]}
    forms = drafting.name_patterns(checkpoint.schemes, checkpoint.linear_modules)
    return {
        scheme: [drafting.as_regex(form) if "*" in form.split(".") else form for form in members]
        for scheme, members in forms.items()
    }


def _args(quantization: Quantization) -> dict[str, Any]:
    granularity: Granularity = quantization.granularity
    args: dict[str, Any] = {
        "num_bits": 8,
        "type": "float",
        "symmetric": True,
        "strategy": _STRATEGIES[type(granularity)],
        "dynamic": quantization.dynamic,
    }
    if isinstance(granularity, PerGroup):
        args["group_size"] = granularity.size
    if isinstance(granularity, PerBlock):
        args["block_structure"] = [granularity.rows, granularity.columns]
    return args


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    notes = []
    kv_cache = checkpoint.kv_cache
    if kv_cache is not None and kv_cache.scheme is not None:
        notes.append(
            "vLLM turns the FP8 KV cache on by itself for this checkpoint (kv_cache_scheme); pass "
            "--kv-cache-dtype bfloat16 to keep it off"
        )
    return tuple(notes)
