"""How TensorRT-LLM reads skip lists: ``is_module_excluded_from_quantization``, in
``tensorrt_llm/models/modeling_utils.py`` of 2026, is asked for a fused layer by its own name and by those of its parts.

Of plain FP8 and of MXFP8 it reads ``modules_to_not_convert``, and since August 2026 ``ignored_layers`` and ``ignore``
beside it (``_torch/model_config.py``, load_hf_quant_config, at 008e0af8980f; pull request 17551). Releases 1.0 and
before knew shell patterns over the whole name only, so that no entry after ``re:`` matched. Of a compressed-tensors
config with several groups another function reads the list (``quant_config_utils.py`` at 21156a7a57ac): by the whole
name, or after ``re:`` by the start of one.
"""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import SkipLists
from ckptkit.engines.skip_lists import Reading, Style

_FP8 = Reading(
    Style.ABOVE,
    ("modules_to_not_convert", "ignored_layers", "ignore"),
    merges=True,
    whole_too=True,
    head_left_alone=True,
)

SKIP_LISTS: SkipLists = MappingProxyType(
    {
        "quark-fp8": _FP8,
        "fp8": _FP8,
        "fp8-block": _FP8,
        "fp8-transformers": _FP8,
        "mxfp8": _FP8,
        "modelopt": Reading(Style.ABOVE, ("ignore", "quantization.exclude_modules"), whole_too=True),
        "compressed-tensors": Reading(
            Style.ABOVE, ("modules_to_not_convert", "ignore"), merges=True, one_group=True, whole_too=True
        ),
    }
)
