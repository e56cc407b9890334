"""Which schemes Quark's own importer takes back, as run on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.engines.base import Demands
from ckptkit.engines.layers import Layer
from ckptkit.engines.quark.classes import MODULES
from ckptkit.engines.releases import Evidence
from ckptkit.engines.support import Answer, Support

_KINDS = ("per-tensor", "per-channel", "per-block")

_MODULES = tuple(layer for layer in Layer if layer is not Layer.KV_CACHE)

#: Classes without a head, and those with another: ``_resolve_model_class`` in quark/torch/utils/llm/device_mapping.py
#: takes what generates text, or has an ``auto_map``.
_HEADS = ("ForCausalLM", "ForConditionalGeneration")
_STEMS = sorted({name.removesuffix(head) for name in MODULES for head in _HEADS if name.endswith(head)})
_OF_OTHER_KINDS = tuple(
    f"{stem}{kind}" for stem in _STEMS for kind in ("Model", "ForSequenceClassification", "ForTokenClassification")
)

SUPPORT: tuple[Support, ...] = (
    Support(
        Answer.REFUSED,
        _MODULES,
        ("quark", "quark-fp8"),
        architectures=_OF_OTHER_KINDS,
        how=Evidence.RUN,
        words="ValueError: Cannot determine model class",
    ),
    Support(
        Answer.REFUSED,
        _MODULES,
        ("quark", "quark-fp8"),
        architectures=("Qwen2_5_VLFor",),
        how=Evidence.RUN,
        words="ValueError: The loaded checkpoint misses the keys: stored names are not those in memory",
    ),
    Support(
        Answer.REFUSED,
        _MODULES,
        ("quark", "quark-fp8"),
        architectures=("Ministral3For",),
        how=Evidence.RUN,
        words="TypeError: unsupported operand type(s) for /: 'Tensor' and 'dict'; at the first request",
    ),
    Support(Answer.SUPPORTED, (Layer.LINEAR, Layer.FUSED, Layer.EXPERT), ("quark",), _KINDS, how=Evidence.RUN),
    Support(
        Answer.SUPPORTED, (Layer.LINEAR, Layer.FUSED, Layer.EXPERT), ("quark-fp8",), ("per-tensor",), how=Evidence.RUN
    ),
    Support(Answer.SUPPORTED, (Layer.HEAD, Layer.TOWER), ("quark",), _KINDS, how=Evidence.RUN),
    Support(
        Answer.REFUSED,
        (Layer.EMBEDDING,),
        ("quark",),
        how=Evidence.RUN,
        words="RuntimeError: Promotion for Float8 Types is not supported; at the first request",
    ),
    Support(
        Answer.REFUSED,
        (Layer.ROUTER, Layer.GATE),
        ("quark",),
        architectures=("Qwen3MoeFor", "MixtralFor"),
        how=Evidence.RUN,
        words="RuntimeError: expected m1 and m2 to have the same dtype; at the first request",
    ),
    Support(Answer.SUPPORTED, (Layer.KV_CACHE,), ("quark", "quark-fp8"), ("per-tensor",), how=Evidence.RUN),
)

#: Scales upon scales are numbered (``_fix_loaded_weights_key_mismatch`` in quark/torch/export/utils.py).
_NUMBERED = tuple(
    f"{role}_{what}_" for role in ("weight", "bias", "input", "output") for what in ("scale", "zero_point")
)
_CACHED = ("k_proj", "v_proj", "qkv_proj")
#: What its readers of a config take without asking (``PretrainedConfig`` in quark/torch/export/main_import,
#: ``from_custom_config`` in main_export/quant_config_parser.py and ``preprocess_import_info`` in export/utils.py).
DEMANDS: Mapping[str, tuple[Demands, ...]] = MappingProxyType(
    {
        "quark": (
            Demands(
                keys=("export", "export.weight_format", "export.pack_method"),
                numbered=_NUMBERED,
                single=tuple(f"{name}.output_scale" for name in _CACHED),
            ),
        ),
        "quark-fp8": (
            Demands(
                keys=("activation_scheme", "ignored_layers", "export.pack_method", "export.kv_cache_group"),
                numbered=_NUMBERED,
                single=("k_scale",),
            ),
        ),
    }
)
