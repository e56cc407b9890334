"""Writing ModelOpt: names and shapes of scales, and the same facts in config.json and in the file beside it."""

from __future__ import annotations

import json
from typing import Any

from ckptkit.formats import drafting, layouts
from ckptkit.formats.base import Draft
from ckptkit.formats.modelopt.facts import CAPABILITIES, FP8, MIXED, NAME, SCHEMES, SIDE_FILE
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerGroup
from ckptkit.model.scheme import OtherScheme, Scheme

#: Whose layout it is: readers tell it by the producer's name.
PRODUCER = {"name": NAME, "version": "0.47.0"}
_NAMES = drafting.Names(attention={"k": "k_proj.k_scale", "v": "v_proj.v_scale"})
_ALGORITHMS = {scheme: name for name, scheme in SCHEMES.items()}
#: Layouts that other formats have too -> the algorithm.
_SHARED = {layouts.MXFP8.storage: "MXFP8"}
_WITH_GROUPS = "FP8"
#: ModelOpt spells one algorithm in lower case, and TensorRT-LLM compares it so.
_SPELLINGS = {"FP8_PB_WO": "fp8_pb_wo"}


def draft(checkpoint: Checkpoint, shapes: drafting.ScaleShapes) -> Draft:
    """The whole answer of the writer."""
    schemes = checkpoint.all_schemes
    ignored = _ignored(checkpoint)
    kv_scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    if len(schemes) == 1:
        (scheme,) = schemes
        block, side = _entry(checkpoint, scheme), _sized(checkpoint, scheme)
        groups = _groups(checkpoint, scheme)
        block = {**({} if groups is None else {"config_groups": groups}), "ignore": ignored, **block}
    else:
        entry = _entry if checkpoint.format == NAME else _sized
        layers = {module: entry(checkpoint, scheme) for scheme, members in schemes.items() for module in members}
        side = {"quant_algo": MIXED, "quantized_layers": layers}
        block = {"ignore": ignored, **side}
    side = {**side, "kv_cache_quant_algo": "FP8" if kv_scheme else None, "exclude_modules": ignored}
    if kv_scheme is not None:
        block["kv_cache_scheme"] = FP8
    block |= {"producer": PRODUCER, "quant_method": NAME}
    text = json.dumps({"producer": PRODUCER, "quantization": side}, indent=4, ensure_ascii=False) + "\n"
    return Draft(
        tensors=tuple(drafting.tensors(checkpoint, shapes, CAPABILITIES.scale_dtypes, _NAMES)),
        drops=tuple(drafting.module_drops(checkpoint)),
        quantization_config=block,
        side_files={SIDE_FILE: text.encode("utf-8")},
    )


def _entry(checkpoint: Checkpoint, scheme: Scheme | OtherScheme) -> dict[str, Any]:
    """What a config says of a scheme: an algorithm, and of another quantization all that ModelOpt said of it."""
    if isinstance(scheme, Scheme):
        name = _ALGORITHMS[_bare(scheme)]
        return {"quant_algo": _SPELLINGS.get(name, name)}
    if checkpoint.format == NAME and scheme.entry is not None:
        own: dict[str, Any] = json.loads(scheme.entry)
        return own
    return {"quant_algo": _SHARED[scheme.storage]}


def _sized(checkpoint: Checkpoint, scheme: Scheme | OtherScheme) -> dict[str, Any]:
    """The same, with the size of the groups of another quantization."""
    granularity = scheme.weight.granularity if isinstance(scheme, OtherScheme) and scheme.weight else None
    size = {"group_size": granularity.size} if isinstance(granularity, PerGroup) else {}
    return {**_entry(checkpoint, scheme), **size}


def _groups(checkpoint: Checkpoint, scheme: Scheme | OtherScheme) -> Any:
    """The groups of a config with one algorithm, as ModelOpt writes them beside some; None where it writes none."""
    if isinstance(scheme, OtherScheme):
        return checkpoint.raw.get("config_groups") if checkpoint.format == NAME else None
    if _ALGORITHMS[_bare(scheme)] == _WITH_GROUPS:
        return {"group_0": {"input_activations": FP8, "weights": FP8, "targets": ["Linear"]}}
    return None


def _bare(scheme: Scheme) -> Scheme:
    """A scheme as the table of algorithms has it."""
    return Scheme(scheme.weight, scheme.input)


def _ignored(checkpoint: Checkpoint) -> list[str]:
    """What stays in high precision, by exact name, embeddings among it: a part of a name is enough for readers.

    That is why the head is listed only where it is not quantized. Experts that are all left alone are listed by what
    holds them too: SGLang asks for them by that name alone.
    """
    embeddings = [tensor.module for tensor in checkpoint.plain if names.is_embedding(tensor.module)]
    left_alone = [*drafting.skip_list(checkpoint), *checkpoint.fused_experts, *_expert_layers(checkpoint), *embeddings]
    return sorted(dict.fromkeys(left_alone), key=names.natural)


def _expert_layers(checkpoint: Checkpoint) -> set[str]:
    """The containers of experts of which none is quantized."""
    plain = {names.experts_owner(name) for name in checkpoint.unquantized}
    quantized = {names.experts_owner(name) for modules in (checkpoint.modules, checkpoint.opaque) for name in modules}
    return {owner for owner in plain - quantized if owner is not None}
