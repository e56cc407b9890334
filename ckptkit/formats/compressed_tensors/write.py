"""Writing compressed-tensors: tensor names and shapes, and a config that vLLM and transformers read alike."""

from __future__ import annotations

from typing import Any

from ckptkit.formats import drafting
from ckptkit.formats.base import Draft
from ckptkit.formats.compressed_tensors.spec import STORAGE, args, group
from ckptkit.formats.dialect import Capabilities
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import Quantization, Scheme
from ckptkit.model.select import Selector, regex_or_exact

_DYNAMIC_TENSOR = Quantization(PerTensor(), dynamic=True)
_NAMES = drafting.Names(attention={"k": "k_scale", "v": "v_scale", "q": "q_scale"})


def draft(checkpoint: Checkpoint, shapes: drafting.ScaleShapes, capabilities: Capabilities) -> Draft:
    """The whole answer of the writer."""
    return Draft(
        tensors=tuple(drafting.tensors(checkpoint, shapes, capabilities.scale_dtypes, _NAMES)),
        drops=tuple(drafting.module_drops(checkpoint)),
        quantization_config=_config(checkpoint),
        notes=_notes(checkpoint),
    )


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config in its smallest form that every reader takes: keys unknown to older readers are left out.

    ``quantization_status`` must be "compressed" for transformers; ``format`` stands globally and in each group
    for vLLM; ``type`` must be written since it defaults to "int"; ``ignore`` holds exact names, and regular
    expressions only for fused experts, whose members have no names of their own.
    """
    kv_scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    return {
        "quant_method": "compressed-tensors",
        "format": STORAGE,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "config_groups": {
            f"group_{number}": group(scheme, targets)
            for number, (scheme, targets) in enumerate(_targets(checkpoint).items())
        },
        "ignore": [*drafting.skip_list(checkpoint), *_fused_experts(checkpoint)],
        "kv_cache_scheme": None if kv_scheme is None else args(kv_scheme.quantization),
    }


def _fused_experts(checkpoint: Checkpoint) -> list[str]:
    """Patterns for modules with fused experts. vLLM asks for them as ``OWNER.0.gate_proj``, transformers as OWNER."""
    found = []
    for owner in checkpoint.fused_experts:
        pattern = drafting.as_regex(owner, anywhere=True, children=True)
        taken = any(regex_or_exact(pattern).matches(module) for module in checkpoint.modules)
        found.append(drafting.as_regex(owner, children=True) if taken else pattern)
    return found


def _targets(checkpoint: Checkpoint) -> dict[Scheme, list[str]]:
    """Group targets: the class "Linear" for a single scheme, patterns by name for several.

    A quantized output head is named as well: vLLM's class match does not reach it. No pattern matches a module of
    another group, so that the order in which a reader tries them does not matter.
    """
    if len(checkpoint.schemes) == 1:
        ((scheme, members),) = checkpoint.schemes.items()
        return {scheme: ["Linear", *(module for module in members if names.is_head(module))]}
    short = drafting.short_names(checkpoint.schemes)
    forms = {
        scheme: list(dict.fromkeys(short[module] for module in members))
        for scheme, members in checkpoint.schemes.items()
    }
    for anywhere in (True, False):
        targets = {
            scheme: [drafting.as_regex(form, anywhere=anywhere) if "*" in form.split(".") else form for form in members]
            for scheme, members in forms.items()
        }
        if _is_partition(targets, checkpoint):
            return targets
    return {scheme: list(members) for scheme, members in checkpoint.schemes.items()}


def _is_partition(targets: dict[Scheme, list[str]], checkpoint: Checkpoint) -> bool:
    """Whether the patterns of each scheme match all its modules and none of another's."""
    selectors = {scheme: Selector.of(regex_or_exact(text) for text in texts) for scheme, texts in targets.items()}
    return all(
        selectors[scheme].matches(module) == (module in members)
        for scheme, members in ((scheme, frozenset(members)) for scheme, members in checkpoint.schemes.items())
        for module in checkpoint.modules
    )


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    notes = []
    kv_cache = checkpoint.kv_cache
    if kv_cache is not None and kv_cache.scheme is not None:
        notes.append(
            "vLLM turns the FP8 KV cache on by itself for this checkpoint (kv_cache_scheme); pass "
            "--kv-cache-dtype bfloat16 to keep it off"
        )
    if _DYNAMIC_TENSOR in {scheme.input for scheme in checkpoint.schemes}:
        notes.append("vLLM runs dynamic per-tensor activations of this format per token, which is finer")
    return tuple(notes)
