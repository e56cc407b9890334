"""Writing compressed-tensors: tensor names and shapes, and a config that vLLM and transformers read alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ckptkit.formats import drafting
from ckptkit.formats.base import Draft
from ckptkit.formats.compressed_tensors.other import shared_group
from ckptkit.formats.compressed_tensors.spec import MIXED, NAME, args, group
from ckptkit.formats.dialect import Capabilities
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerTensor
from ckptkit.model.scheme import OtherScheme, Quantization, Scheme
from ckptkit.model.select import Selector, regex_or_exact

Targets = dict[Scheme | OtherScheme, list[str]]
_DYNAMIC_TENSOR = Quantization(PerTensor(), dynamic=True)
_NAMES = drafting.Names(attention={"k": "k_scale", "v": "v_scale", "q": "q_scale"})


def draft(checkpoint: Checkpoint, shapes: drafting.ScaleShapes, capabilities: Capabilities) -> Draft:
    """The whole answer of the writer."""
    return Draft(
        tensors=tuple(drafting.tensors(checkpoint, shapes, capabilities.scale_dtypes, _NAMES)),
        drops=tuple(drafting.module_drops(checkpoint)),
        quantization_config=_config(checkpoint),
    )


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config in its smallest form that every reader takes: keys unknown to older readers are left out.

    ``quantization_status`` must be "compressed" for transformers; ``format`` stands globally and in each group
    for vLLM; ``type`` must be written since it defaults to "int"; ``ignore`` holds exact names, and regular
    expressions only for fused experts, whose members have no names of their own.
    """
    kv_scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    groups = _groups(checkpoint)
    formats = {body["format"] for body in groups.values()}
    return {
        "quant_method": NAME,
        "format": formats.pop() if len(formats) == 1 else MIXED,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "config_groups": groups,
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


def _groups(checkpoint: Checkpoint) -> dict[str, Any]:
    """``config_groups``: those of FP8 as we write them, others word for word as they were, targets apart."""
    return {
        f"group_{number}": group(scheme, targets)
        if isinstance(scheme, Scheme)
        else {**_other_group(checkpoint, scheme), "targets": targets}
        for number, (scheme, targets) in enumerate(_targets(checkpoint).items())
    }


def _other_group(checkpoint: Checkpoint, scheme: OtherScheme) -> dict[str, Any]:
    """A group of another quantization: as a config of this format has it, else as the library spells the layout."""
    if checkpoint.format == NAME and scheme.entry is not None:
        own: dict[str, Any] = json.loads(scheme.entry)
        return own
    return shared_group(scheme)


def _targets(checkpoint: Checkpoint) -> Targets:
    """Group targets: the class "Linear" for a single scheme, patterns by name for several.

    A quantized output head is named as well: vLLM's class match does not reach it. So are layers that engines fuse:
    SGLang asks for these. Groups of another quantization keep their targets where these are names and patterns. No
    pattern matches a module of another group, so that the order in which a reader tries them does not matter.
    """
    groups = checkpoint.all_schemes
    if len(groups) == 1:
        ((scheme, members),) = groups.items()
        return {scheme: ["Linear", *(module for module in members if names.is_head(module))]}
    kept: Targets = {scheme: list(scheme.targets) for scheme in checkpoint.other_schemes}
    if not _is_partition(kept, groups):
        kept = {}
    every = {module for members in groups.values() for module in members}
    groups = {
        scheme: members if scheme in kept else (*members, *names.whole_layers(members, every))
        for scheme, members in groups.items()
    }
    short = drafting.short_names(groups)
    forms = {scheme: list(dict.fromkeys(short[module] for module in members)) for scheme, members in groups.items()}
    for anywhere in (True, False):
        targets: Targets = {
            scheme: [drafting.as_regex(form, anywhere=anywhere) if "*" in form.split(".") else form for form in members]
            for scheme, members in forms.items()
        }
        if _is_partition({**targets, **kept}, groups):
            return {**targets, **kept}
    return {scheme: list(members) for scheme, members in groups.items()}


def _is_partition(targets: Targets, groups: Mapping[Scheme | OtherScheme, tuple[str, ...]]) -> bool:
    """Whether the patterns of each scheme match all its modules and none of another's."""
    selectors = {scheme: Selector.of(regex_or_exact(text) for text in texts) for scheme, texts in targets.items()}
    every = [module for members in groups.values() for module in members]
    return all(
        selector.matches(module) == (module in members)
        for selector, members in ((selector, frozenset(groups[scheme])) for scheme, selector in selectors.items())
        for module in every
    )
