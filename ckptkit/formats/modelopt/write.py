"""Writing ModelOpt: names and shapes of scales, and the same facts in config.json and in the file beside it."""

from __future__ import annotations

import json
from typing import Any

from ckptkit.formats import drafting
from ckptkit.formats.base import Draft
from ckptkit.formats.modelopt.facts import CAPABILITIES, MIXED, NAME, SCHEMES, SIDE_FILE
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.scheme import Scheme

#: Whose layout it is: readers tell it by the producer's name.
PRODUCER = {"name": NAME, "version": "0.47.0"}
_NAMES = drafting.Names(attention={"k": "k_proj.k_scale", "v": "v_proj.v_scale"})
_ALGORITHMS = {scheme: name for name, scheme in SCHEMES.items()}
_FP8 = {"dynamic": False, "num_bits": 8, "type": "float"}
_WITH_GROUPS = "FP8"
#: ModelOpt spells one algorithm in lower case, and TensorRT-LLM compares it so.
_SPELLINGS = {"FP8_PB_WO": "fp8_pb_wo"}


def draft(checkpoint: Checkpoint, shapes: drafting.ScaleShapes) -> Draft:
    """The whole answer of the writer."""
    algorithms = {scheme: _ALGORITHMS[_bare(scheme)] for scheme in checkpoint.schemes}
    ignored = _ignored(checkpoint)
    kv_scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    name = next(iter(algorithms.values())) if len(algorithms) == 1 else MIXED
    written = _SPELLINGS.get(name, name)
    layers = {
        module: {"quant_algo": algorithms[scheme]}
        for scheme, members in checkpoint.schemes.items()
        for module in members
        if name == MIXED
    }
    block: dict[str, Any] = {}
    if name == _WITH_GROUPS:
        block["config_groups"] = {"group_0": {"input_activations": _FP8, "weights": _FP8, "targets": ["Linear"]}}
    block |= {"ignore": ignored, "quant_algo": written}
    side: dict[str, Any] = {
        "quant_algo": written,
        "kv_cache_quant_algo": "FP8" if kv_scheme else None,
        "exclude_modules": ignored,
    }
    if layers:
        block["quantized_layers"] = side["quantized_layers"] = layers
    if kv_scheme is not None:
        block["kv_cache_scheme"] = _FP8
    block |= {"producer": PRODUCER, "quant_method": NAME}
    text = json.dumps({"producer": PRODUCER, "quantization": side}, indent=4, ensure_ascii=False) + "\n"
    return Draft(
        tensors=tuple(drafting.tensors(checkpoint, shapes, CAPABILITIES.scale_dtypes, _NAMES)),
        drops=tuple(drafting.module_drops(checkpoint)),
        quantization_config=block,
        notes=_notes(checkpoint),
        side_files={SIDE_FILE: text.encode("utf-8")},
    )


def _bare(scheme: Scheme) -> Scheme:
    """A scheme as the table of algorithms has it."""
    return Scheme(scheme.weight, scheme.input)


def _ignored(checkpoint: Checkpoint) -> list[str]:
    """What stays in high precision, by exact name, embeddings among it: a part of a name is enough for readers.

    That is why the head is listed only where it is not quantized.
    """
    embeddings = [tensor.module for tensor in checkpoint.plain if names.is_embedding(tensor.module)]
    left_alone = [*drafting.skip_list(checkpoint), *checkpoint.fused_experts, *embeddings]
    return sorted(dict.fromkeys(left_alone), key=names.natural)


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    notes = ["transformers has no reader for this layout: it takes codes for values"]
    if checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None:
        notes.append(
            "vLLM turns the FP8 KV cache on by itself for this checkpoint (kv_cache_scheme); pass "
            "--kv-cache-dtype bfloat16 to keep it off"
        )
    return tuple(notes)
