"""Writing plain ``fp8``: names of scales, and a config that vLLM, transformers and TensorRT-LLM read alike."""

from __future__ import annotations

from typing import Any

from ckptkit.formats import drafting
from ckptkit.formats.base import Draft
from ckptkit.formats.dialect import Capabilities, Dialect
from ckptkit.formats.fp8.config import POWERS_OF_TWO, SCALE_FORMAT
from ckptkit.formats.fp8.facts import BARE_SCALE, EXPERT_KEYS, NAME
from ckptkit.formats.fp8_fields import BLOCK_SIZE
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerBlock
from ckptkit.model.scheme import Scheme

_ATTENTION = {"k": "k_scale", "v": "v_scale", "q": "q_scale", "prob": "prob_output_scale"}


def draft(checkpoint: Checkpoint, shapes: drafting.ScaleShapes, dialect: Dialect, capabilities: Capabilities) -> Draft:
    """The whole answer of the writer."""
    scale = BARE_SCALE if _has_bare_scales(checkpoint) else dialect.weight_scale.written
    names = drafting.Names(scale, dialect.input_scale.written, _ATTENTION)
    return Draft(
        tensors=tuple(drafting.tensors(checkpoint, shapes, capabilities.scale_dtypes, names)),
        drops=tuple(drafting.module_drops(checkpoint)),
        quantization_config=_config(checkpoint),
    )


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The skip list stands under both keys: vLLM reads the first, transformers and TensorRT-LLM the second.

    A block size is always given, null for scales of whole tensors: transformers takes 128x128 for granted.
    """
    (scheme,) = checkpoint.schemes
    skipped = [*drafting.skip_list(checkpoint), *checkpoint.fused_experts]
    kv_scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    block: dict[str, Any] = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "static" if scheme.has_static_input else "dynamic",
        BLOCK_SIZE: _block_size(scheme),
        "ignored_layers": skipped,
        "modules_to_not_convert": skipped,
    }
    if _has_powers_of_two(checkpoint):
        block[SCALE_FORMAT] = POWERS_OF_TWO
    if checkpoint.opaque:
        block |= {key: checkpoint.raw[key] for key in EXPERT_KEYS if key in checkpoint.raw}
    if kv_scheme is not None:
        block["kv_cache_scheme"] = "dynamic" if kv_scheme.quantization.dynamic else "static"
    return block


def _has_powers_of_two(checkpoint: Checkpoint) -> bool:
    """Whether scales are powers of two: of the type that holds no others, or declared to be and not made anew."""
    scales = [module.weight_scale for module in checkpoint.modules.values() if module.weight_scale is not None]
    if any(scale.dtype == "F8_E8M0" for scale in scales):
        return True
    declared = checkpoint.format == NAME and checkpoint.raw.get(SCALE_FORMAT) == POWERS_OF_TWO
    stored = checkpoint.container.tensors
    return declared and all(stored.get(scale.name) is scale for scale in scales)


def _has_bare_scales(checkpoint: Checkpoint) -> bool:
    """Whether scales are called as in DeepSeek's own files: the classes that read those map these names."""
    stored = [module.weight_scale for module in checkpoint.modules.values() if module.weight_scale is not None]
    own = checkpoint.format == NAME and bool(checkpoint.opaque) and bool(stored)
    return own and all(scale.name.endswith(f".{BARE_SCALE}") for scale in stored)


def _block_size(scheme: Scheme) -> list[int] | None:
    granularity = scheme.weight.granularity
    return [granularity.rows, granularity.columns] if isinstance(granularity, PerBlock) else None
